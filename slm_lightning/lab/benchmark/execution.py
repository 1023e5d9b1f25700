"""Runs the rows of a benchmark as trials: only what is missing, several at once, none twice."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from slm_lightning.errors import LabError, LockedError, StorageError
from slm_lightning.lab.benchmark.results import Trials, ended
from slm_lightning.lab.benchmark.sets import Row
from slm_lightning.lab.changes import changes
from slm_lightning.lab.disk import check_disk
from slm_lightning.lab.preflight import check, device_of
from slm_lightning.lab.reproduce.original import SETTLED
from slm_lightning.lab.result import Result
from slm_lightning.lab.running.job import Job, Outcome, Reached, Status
from slm_lightning.lab.running.launch import Engine, Launcher
from slm_lightning.lab.trial import CHANGED, Trial
from slm_lightning.provenance import Provenance
from slm_lightning.spec.blanks import refuse_blanks
from slm_lightning.tracking import Courier, Record, RunInfo

Standing = Literal["there", "missing", "interrupted", "running"]
"""How a row stands before it is run: its result counts, it was never begun, it goes on where it was
interrupted, or another process works on it."""


@dataclass(frozen=True)
class RowOutcome:
    """What became of a row."""

    row: Row
    status: Status | Literal["there", "running", "refused"]
    """As of a trial; or it was there already, another process runs it, or it cannot run here."""
    run_id: str = ""
    reason: str = ""
    score: float | None = None
    exit_code: int = 0

    @property
    def is_result(self) -> bool:
        return self.status in ("done", "there")


class Watcher(Protocol):
    """Who wants to see how the rows come on."""

    def begun(self, row: Row, trial: Trial, resumed: bool) -> None: ...

    def reached(self, row: Row, job: Job, reached: Reached) -> None: ...

    def ended(self, outcome: RowOutcome) -> None: ...


class Execution:
    """Rows on their way. One that fails does not stop the others.

    A row that has a result is left alone, unless it is to be run ``again``. One that was interrupted
    goes on; where code, packages or machine have changed since, its trial is tagged as inexact.
    """

    def __init__(self, record: Record, watcher: Watcher, device: str = "auto", again: bool = False):
        self.record, self.watcher, self.device, self.again = record, watcher, device, again
        self.outcomes: dict[str, RowOutcome] = {}
        """By id of the row."""
        self.open: dict[str, tuple[Row, Trial]] = {}
        """Trials whose sessions have not all ended, by the folder of each of these."""
        self.halted: StorageError | None = None
        """Why nothing more is begun, while what runs may end."""

    def run(self, rows: Iterable[Row], engine: Engine, cores: float) -> str | None:
        """Runs what is missing of ``rows``, and begins a row whenever fewer sessions than ``cores`` are
        to be run. Returns the signal that ended it early. Raises StorageError where the record fails;
        what is on its way then can be resumed."""
        self.record.sweep()
        self.trials, self.cores = Trials(self.record), cores
        self.waiting = deque(rows)
        self.launcher = Launcher(engine, self._reached, self._on_end)
        try:
            with Courier(self.record) as self.courier, self.launcher.stop:
                self._advance()
                stop = self.launcher.run()
        except BaseException as error:
            for trial in {trial.run_id: trial for _, trial in self.open.values()}.values():
                trial.give_up("stopped" if isinstance(error, KeyboardInterrupt) else "failed")
            raise
        if self.halted:
            raise self.halted
        return stop.received.name if stop.received else None

    def _advance(self) -> None:
        """Begins rows as long as there are cores for their sessions."""
        while self.waiting and not self.launcher.stop() and len(self.open) < self.cores:
            row = self.waiting.popleft()
            try:
                self._begin(row)
            except LockedError as error:
                self._settled(RowOutcome(row, "running", exit_code=error.exit_code))
            except StorageError as error:
                self.halted = error
                self.waiting.clear()
            except LabError as error:
                self._settled(RowOutcome(row, "refused", "", str(error), exit_code=error.exit_code))

    def _begin(self, row: Row) -> None:
        standing, run = self.standing(row)
        if standing == "running":
            raise LockedError(f"run {run.run_id[:8] if run else ''} of it is under way")
        if run and standing == "there":
            score = run.metrics.get("score")
            self._settled(RowOutcome(row, "there", run.run_id, score=score))
            return
        refuse_blanks(row.spec.to_dict())
        check(row.spec)
        device_of(row.spec, 0, self.device)
        check_disk(row.spec, self.record.root)
        trial = self._reopened(run) if run else self._created(row)
        jobs = trial.jobs(self.device)
        self.open |= {job.folder: (row, trial) for job in jobs}
        self.courier.add(*(trial.session_ids[s] for s in trial.todo))
        self.watcher.begun(row, trial, run is not None)
        self.launcher.add(jobs)
        if not jobs:
            self._close(row, trial)

    def standing(self, row: Row) -> tuple[Standing, RunInfo | None]:
        """How a row stands, and the trial that says so."""
        found = self.trials.of(row)
        if running := next((run for run in found if ended(run) == "running"), None):
            return "running", running
        if not self.again and (run := self.trials.result(row)):
            return "there", run
        if found and ended(found[0]) not in SETTLED:
            return "interrupted", found[0]
        return "missing", None

    def _created(self, row: Row) -> Trial:
        """A new trial, recorded with the command that runs it by itself."""
        provenance = replace(Provenance.collect(), command=row.command)
        return Trial.create(row.raw, row.spec, self.record, provenance=provenance)

    def _reopened(self, run: RunInfo) -> Trial:
        if changes(run, self.record):
            Trial.doubt(run, self.record, CHANGED)
        return Trial.reopen(run, self.record)

    def _reached(self, job: Job, reached: Reached) -> None:
        self.watcher.reached(self.open[job.folder][0], job, reached)

    def _on_end(self, job: Job, outcome: Outcome) -> None:
        row, trial = self.open.pop(job.folder)
        trial.ended(job.session, outcome)
        if not trial.todo:
            self._close(row, trial)
        self._advance()

    def _close(self, row: Row, trial: Trial) -> None:
        stopped_by = self.launcher.stop.received
        result = trial.result(stopped_by.name if stopped_by else None)
        trial.close(result)
        self._settled(_outcome(row, result))

    def _settled(self, outcome: RowOutcome) -> None:
        self.outcomes[outcome.row.id] = outcome
        self.watcher.ended(outcome)


def _outcome(row: Row, result: Result) -> RowOutcome:
    return RowOutcome(
        row=row,
        status=result.status,
        run_id=result.run_id,
        reason=result.reason,
        score=result.scalars.get("score"),
        exit_code=result.exit_code,
    )
