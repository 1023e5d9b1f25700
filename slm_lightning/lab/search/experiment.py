"""An Experiment: a study whose trials are Trials, recorded as one.

Settings are drawn in the order of their numbers, and what became of them is told in that order: trial
``n`` is drawn when all up to ``n - batch`` are told, and knows no other. So neither which session ended
first nor a kill at any moment changes what is tried (``order: batch``). With ``order: async`` a setting
is drawn whenever there is room, and knows what is known by then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from slm_lightning.core import Keys, Stream
from slm_lightning.errors import LabError, StorageError, UsageError
from slm_lightning.lab.preflight import check_agent, look_at
from slm_lightning.lab.running.job import Job, Outcome, Reached, Status
from slm_lightning.lab.running.launch import Engine, Launcher
from slm_lightning.lab.search.objectives import ended, session_values
from slm_lightning.lab.search.pruning import rungs
from slm_lightning.lab.search.study import Ended, Study
from slm_lightning.lab.trial import Trial, run_tags, write_json
from slm_lightning.lab.trial_record import RUN_STATUS
from slm_lightning.provenance import Provenance
from slm_lightning.registry import REGISTRY
from slm_lightning.spec.load import RawSpec, load_spec
from slm_lightning.spec.model import Spec
from slm_lightning.spec.resolve import resolve
from slm_lightning.spec.space import Space, base_of, substituted
from slm_lightning.spec.wording import listed
from slm_lightning.tracking import RESOLVED, Courier, Record, RunInfo, flatten, save_trials_view
from slm_lightning.tracking.draft import ID

SETTLED: tuple[Status, ...] = ("done", "failed", "diverged", "pruned")
"""How sessions of a search end for good: from the same seed one would fail in the same way again."""
REFUSED = "slm.refused"
"""Tag of a trial whose setting cannot run."""


class Watcher(Protocol):
    """Who wants to see how the search goes."""

    def begun(self, trial: Trial) -> None: ...

    def reached(self, job: Job, reached: Reached) -> None: ...

    def ended(self, number: int, drawn: Mapping[str, Any], end: Ended, reason: str) -> None: ...


class Experiment:
    """One experiment on its way through the record."""

    def __init__(
        self, raw: RawSpec, spec: Spec, record: Record, run_id: str, storage: Any, is_new: bool
    ):
        self.raw, self.spec, self.record, self.run_id = raw, spec, record, run_id
        self.name = spec.name
        self.space = Space.of(spec.search or {})
        self.base = base_of(raw, spec)
        self.study = Study(spec, self.space, storage, run_id, is_new)
        self.provenance = Provenance.collect()
        self.open: dict[int, Trial] = {}
        """Trials whose sessions have not all ended."""
        self.jobs: dict[tuple[int, int], Job] = {}
        """Their sessions that were handed to the launcher, by trial and session."""
        self.over: dict[int, tuple[Ended, str]] = {}
        """Trials that have ended and are not told yet, each with the reason where it failed."""
        self.halted: StorageError | None = None
        """Why nothing more is begun, while what runs may end."""
        self.stopped: Outcome | None = None
        """How a trial ended that is to be resumed; one that an error stopped goes before others."""
        self.judged: set[tuple[int, int]] = set()
        """Trials and numbers of first sessions that were looked at and not given up."""

    @classmethod
    def create(
        cls, raw: RawSpec, spec: Spec, record: Record, storage: Any, confirm: int = 0
    ) -> Experiment:
        """A new experiment with its run; ``confirm`` sessions repeat the winner at the end."""
        _refuse_to_confirm_one_model(spec, confirm)
        provenance = Provenance.collect()
        tags = provenance.tags() | run_tags(spec, "search")
        tags |= {"slm.native": str(raw.native)} | ({"slm.confirm": str(confirm)} if confirm else {})
        run_id = record.create_run(
            experiment=spec.name,
            name=spec.name,
            kind="experiment",
            tags=tags,
            params=flatten(spec.to_dict()),
        )
        record.set_tags(run_id, {"slm.study": run_id})
        folder = record.folder(run_id)
        write_json(folder / "spec.json", {raw.name: raw.data})
        write_json(folder / RESOLVED, spec.to_dict())
        provenance.write(folder)
        record.log_artifacts(run_id, folder)
        experiment = cls(raw, spec, record, run_id, storage, is_new=True)
        paths = [dimension.path for dimension in experiment.space.dimensions]
        save_trials_view(record, record.get(run_id), paths, spec.meta.search.objectives)
        return experiment

    @classmethod
    def reopen(
        cls, info: RunInfo, record: Record, storage: Any, confirm: int | None = None
    ) -> Experiment:
        """A recorded experiment, to go on with; ``confirm`` as in :meth:`create`, None: as it was said
        then. Raises LockedError where it is running."""
        record.hold(info.run_id)
        written = load_spec(record.download(info.run_id, "spec.json"))
        raw = RawSpec(written.name, written.data, native=info.tags["slm.native"] == "True")
        spec = resolve(load_spec(record.download(info.run_id, RESOLVED)), REGISTRY)
        experiment = cls(raw, spec, record, info.run_id, storage, is_new=False)
        if confirm is not None:
            _refuse_to_confirm_one_model(spec, confirm)
            record.set_tags(info.run_id, {"slm.confirm": str(confirm)})
        record.set_status(info.run_id, "RUNNING")
        return experiment

    @property
    def confirm(self) -> int:
        """Sessions that repeat the winner with fresh seeds; 0: it is not repeated."""
        return int(self.record.get(self.run_id).tags.get("slm.confirm", 0))

    def run(self, engine: Engine, watcher: Watcher, device: str = "auto") -> str | None:
        """Runs what is left to run, and the confirmation. Returns the signal that ended it early.

        A trial that fails does not stop the others. What is on its way when the lab itself fails stays
        as it is, to be resumed.
        """
        self.watcher, self.device = watcher, device
        self.launcher = Launcher(engine, watcher.reached, self._on_end)
        with Courier(self.record) as self.courier, self.launcher.stop:
            if left := self.study.running():
                recorded = self.record.children(self.run_id)
                for number in left:
                    self._take_up(number, recorded)
            self._advance()
            stop = self.launcher.run()
            is_over = not (stop() or self.halted or self.stopped)
            if is_over and self.confirm and self.study.best() is not None:
                self._confirm()
                stop = self.launcher.run()
        if self.halted:
            raise self.halted
        return stop.received.name if stop.received else None

    def give_up(self, status: Status) -> None:
        """Says in the record that the lab itself broke off; what is there can be resumed."""
        for trial in self.open.values():
            trial.give_up(status)
        with suppress(LabError):
            self.record.set_tags(self.run_id, {"slm.status": status})
            self.record.finish(self.run_id, RUN_STATUS[status])

    def _advance(self) -> None:
        """Draws and tells as far as the order allows, and as long as the record answers."""
        try:
            self._go_on()
        except StorageError as error:
            self.halted = error

    def _go_on(self) -> None:
        while not (self.launcher.stop() or self.halted):
            if self.study.has_room():
                self._begin(self.study.ask())
            elif (number := self.study.next_to_tell(self.over)) is not None:
                end, reason = self.over.pop(number)
                self.study.tell(number, end)
                self.watcher.ended(number, self.study.drawn(number), end, reason)
            else:
                return

    def _begin(self, number: int) -> None:
        """Creates the trial of a setting, and starts it where the setting can run."""
        drawn = self.study.drawn(number)
        tags = {"slm.study": self.run_id, "slm.drawn": json.dumps(drawn)}
        try:
            raw, spec = self._setting(number, drawn)
        except LabError as error:
            self._refuse(number, tags, str(error))
            return
        trial = self._create(raw, spec, "search", number, tags)
        self.study.set_run(number, trial.run_id)
        self._launch(trial)

    def _create(
        self, raw: RawSpec, spec: Spec, mode: str, number: int, tags: Mapping[str, str]
    ) -> Trial:
        return Trial.create(
            raw,
            spec,
            self.record,
            mode,
            parent=self.run_id,
            number=number,
            tags=tags,
            provenance=self.provenance,
        )

    def _setting(self, number: int, drawn: Mapping[str, Any], **meta: Any) -> tuple[RawSpec, Spec]:
        """The spec of a trial, complete and with a seed of its own, so that it can run by itself.
        Raises SpecError where it cannot."""
        data = substituted(self.base, drawn)
        seed = Keys(self.spec.meta.seed).seed_for(Stream.TRIAL, number)
        data["meta"] = {**data["meta"], "seed": seed, **meta}
        raw = RawSpec(self.name, data, native=True)
        spec = resolve(raw, REGISTRY)
        check_agent(spec, look_at(spec.env).info)
        role = "confirm" if meta else f"t{number}"
        return RawSpec(f"{self.name}_{role}", data, native=True), spec

    def _refuse(self, number: int, tags: Mapping[str, str], reason: str) -> None:
        """Records a setting that cannot run as a failed trial without sessions."""
        run_id = self.record.create_run(
            experiment=self.name,
            name=f"{self.name}_t{number}",
            kind="trial",
            parent=self.run_id,
            tags=self.provenance.tags()
            | run_tags(self.spec, "search")
            | {**tags, "slm.trial": str(number), "slm.status": "failed"}
            | {"slm.reason": reason, REFUSED: "true"},
            params=self.study.drawn(number),
        )
        self._refused(number, run_id, reason)

    def _refused(self, number: int, run_id: str, reason: str) -> None:
        self.record.finish(run_id, "FAILED")
        self.study.set_run(number, run_id)
        self.over[number] = Ended(None), reason

    def _take_up(self, number: int, recorded: Sequence[RunInfo]) -> None:
        """A trial that was on its way when the lab ended: what of it is ``recorded`` counts."""
        for run in recorded:
            if run.tags["slm.trial"] != str(number) or run.tags["slm.mode"] == "confirm":
                continue
            if REFUSED in run.tags:
                self._refused(number, run.run_id, run.tags["slm.reason"])
                return
            ids = run.run_id, run.tags.get(ID, run.run_id)  # the lab's, where the server was away
            if self.study.run_of(number) in ids and Trial.is_whole(run, self.record):
                self.study.set_run(number, run.run_id)
                if run.status == "FINISHED":
                    self._settle(Trial.recorded(run, self.record, SETTLED))
                else:
                    self._launch(Trial.reopen(run, self.record, SETTLED))
                return
            self.record.discard(run.run_id)  # the lab ended while it was made
        self._begin(number)

    def _launch(self, trial: Trial) -> None:
        self.open[trial.number] = trial
        self.courier.add(*(trial.session_ids[s] for s in trial.todo))
        self.watcher.begun(trial)
        searched = trial.mode == "search"
        known = self.study.reached(trial.number) if searched else []
        jobs = trial.jobs(self.device, rungs(self.spec, trial.number, known) if known else ())
        self.jobs |= {(job.trial, job.session): job for job in jobs}
        self.launcher.add(jobs)
        self._judge(trial)
        if not trial.todo:
            self._close(trial)

    def _on_end(self, job: Job, outcome: Outcome) -> None:
        trial = self.open[job.trial]
        trial.ended(job.session, outcome)
        self._judge(trial)
        if not trial.todo:
            self._close(trial)
            self._advance()

    def _judge(self, trial: Trial) -> None:
        """Gives a trial up whose first sessions show that it is hopeless. They are looked at in their
        order, and those behind do not count, however far they have come."""
        pruner = self.spec.pruner
        if pruner is None or pruner.by_frame or trial.mode != "search":
            return
        values = session_values(trial, next(iter(self.study.search.objectives)))
        for count in range(2, min(len(values), len(trial.session_ids) - 1) + 1):
            if (trial.number, count) in self.judged:
                continue
            self.judged.add((trial.number, count))
            if self.study.is_hopeless(trial.number, values[:count]):
                for session in range(count, len(trial.session_ids)):
                    if session in trial.todo:
                        self.launcher.cancel(self.jobs[trial.number, session])
                    trial.ended(session, Outcome("pruned", f"the first {count} sessions were worse"))
                return

    def _close(self, trial: Trial) -> None:
        stopped_by = self.launcher.stop.received
        result = trial.result(stopped_by.name if stopped_by else None)
        end = ended(result, self.spec, trial.number if trial.mode == "search" else None)
        reason, tags = result.reason, {}
        if end.values is not None:
            tags["slm.values"] = json.dumps(end.values)
        elif result.status in ("done", "pruned"):
            reason = f"{listed(self.spec.meta.search.objectives)}: not a finite value"
            tags["slm.status"] = "failed"
        del self.open[trial.number]
        trial.close(result, {**tags, "slm.reason": reason})  # also none, where it had stopped before
        if result.status == "stopped":
            if self.stopped is None or not self.stopped.exit_code:
                self.stopped = Outcome("stopped", f"{trial.name}: {reason}", result.exit_code)
        elif trial.mode == "search":
            self.over[trial.number] = end, reason

    def _settle(self, trial: Trial) -> None:
        """A trial that was closed, and not told, when the lab ended."""
        result = trial.result()
        self.over[trial.number] = ended(result, self.spec, trial.number), result.reason

    def _confirm(self) -> None:
        """Repeats the best setting with seeds that neither the search nor a confirmation with another
        number of sessions has seen."""
        best, number = self.study.best(), self.study.limit
        assert best is not None
        for run in self.record.children(self.run_id):
            if run.tags["slm.mode"] != "confirm":
                continue
            if not Trial.is_whole(run, self.record):
                self.record.discard(run.run_id)
            elif len(self.record.children(run.run_id)) != self.confirm:
                number += 1
            elif run.status == "FINISHED":
                return
            else:
                self._launch(Trial.reopen(run, self.record, SETTLED))
                return
        drawn = self.study.drawn(best)
        raw, spec = self._setting(number, drawn, max_session=self.confirm)
        tags = {"slm.study": self.run_id, "slm.drawn": json.dumps(drawn), "slm.confirms": str(best)}
        self._launch(self._create(raw, spec, "confirm", number, tags))


def _refuse_to_confirm_one_model(spec: Spec, confirm: int) -> None:
    if confirm and spec.meta.distributed:
        raise UsageError(
            "a trial with meta.distributed trains one model, so there are no seeds to confirm it with",
            "leave out --confirm, and run the best trial's spec with other values of --seed",
        )
