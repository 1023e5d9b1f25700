"""A Trial: several sessions of one fixed spec with different seeds, recorded as one.

This is the parent's side. It creates the runs, says which jobs there are to run, hears how they ended,
and closes the trial when all have.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from slm_lightning.envs import make_single
from slm_lightning.errors import LabError
from slm_lightning.lab.analysis import session_scalars, trial_scalars
from slm_lightning.lab.baselines import Baseline, arguments_of, measure, random_baseline
from slm_lightning.lab.preflight import devices_of, has_display, look_at
from slm_lightning.lab.result import Result, SessionResult
from slm_lightning.lab.running.admission import needs_of
from slm_lightning.lab.running.apart import apart
from slm_lightning.lab.running.job import Job, Outcome, Reached, Rung, Status
from slm_lightning.lab.running.launch import Engine, Launcher
from slm_lightning.lab.trial_record import RUN_STATUS, draw, store
from slm_lightning.provenance import Provenance
from slm_lightning.redact import redact
from slm_lightning.registry import REGISTRY
from slm_lightning.spec.blanks import refuse_blanks
from slm_lightning.spec.load import RawSpec, load_spec
from slm_lightning.spec.model import Spec
from slm_lightning.spec.resolve import resolve
from slm_lightning.tracking import COMPILED, RESOLVED, Courier, Record, RunInfo, flatten, read_rows
from slm_lightning.tracking.creation import Kind
from slm_lightning.updates import decision

EXACT, APPROXIMATE, EXTENDED, CHANGED = "slm.exact", "approximate", "extended", "false"
"""The tag of a run whose numbers need not come again: its environment cannot be brought back as it
was; something depended on its first budget; code, packages or machine have changed on the way."""
ALONE = 0
"""Number of a trial that is not part of an experiment."""
OF_SEARCH = ("search", "meta.search", "meta.max_trial")
"""Beginnings of keys that say nothing of a trial."""
IN_SEARCH = ("search", "confirm")
"""Modes of the trials of an experiment, whose graphs are in its page and not in runs of their own."""


class Trial:
    """One trial on its way through the record."""

    def __init__(self, spec: Spec, record: Record, info: RunInfo, session_ids: list[str]):
        self.spec, self.record, self.session_ids = spec, record, session_ids
        self.run_id, self.name, self.mode = info.run_id, info.name, info.tags["slm.mode"]
        self.number = int(info.tags["slm.trial"])
        self.exact = info.tags.get(EXACT) != APPROXIMATE
        self.compiled = info.tags.get(COMPILED, "")
        """Whether its updates are compiled, and why."""
        self.baseline = _baseline(spec, record)
        self.outcomes: dict[int, Outcome] = {}
        """How sessions ended, by index; those that are here are not run again."""

    @classmethod
    def create(
        cls,
        raw: RawSpec,
        spec: Spec,
        record: Record,
        mode: str = "train",
        parent: str | None = None,
        number: int = ALONE,
        tags: Mapping[str, str] | None = None,
        provenance: Provenance | None = None,
    ) -> Trial:
        """A new trial with its runs: one of its own, below run ``parent`` where it is part of an
        experiment, and one below it for each session."""
        provenance = provenance or Provenance.collect()
        tags = provenance.tags() | run_tags(spec, mode) | {"slm.trial": str(number)} | dict(tags or {})
        tags[COMPILED] = decision(spec)
        if look_at(spec.env).doubt:
            tags[EXACT] = APPROXIMATE
        params = {k: v for k, v in flatten(spec.to_dict()).items() if not k.startswith(OF_SEARCH)}
        name = f"{spec.name}_confirm" if mode == "confirm" else f"{spec.name}_t{number}"

        def new(name: str, kind: Kind, parent: str | None, **more: str) -> str:
            return record.create_run(
                experiment=spec.name,
                name=name,
                kind=kind,
                parent=parent,
                tags=tags | {f"slm.{key}": value for key, value in more.items()},
                params=params,
            )

        run_id = new(name, "trial", parent)
        session_ids = [
            new(f"{name}_s{s}", "session", run_id, session=str(s)) for s in range(spec.meta.sessions)
        ]
        for session_id in session_ids:
            write_json(record.folder(session_id) / RESOLVED, spec.to_dict())
        folder = record.folder(run_id)
        write_json(folder / RESOLVED, spec.to_dict())
        provenance.write(folder)
        record.log_artifacts(run_id, folder)
        write_json(folder / "spec.json", {raw.name: raw.data})
        record.log_artifacts(run_id, folder / "spec.json")
        return cls(spec, record, record.get(run_id), session_ids)

    @staticmethod
    def is_whole(info: RunInfo, record: Record) -> bool:
        """Whether nothing of a trial is missing because the lab ended while it was made: its spec is
        stored last."""
        return "spec.json" in record.artifacts(info.run_id)

    @classmethod
    def recorded(cls, info: RunInfo, record: Record, settled: Sequence[Status] = ("done",)) -> Trial:
        """A trial as it is recorded; sessions that have not ended in a ``settled`` way are still to be
        run."""
        spec = resolve(load_spec(record.download(info.run_id, RESOLVED)), REGISTRY)
        sessions = record.children(info.run_id)
        trial = cls(spec, record, info, [run.run_id for run in sessions])
        for index, run in enumerate(sessions):
            status = run.tags.get("slm.status")
            if status in settled:
                trial.outcomes[index] = Outcome(status, run.tags.get("slm.reason", ""))  # type: ignore[arg-type]
        return trial

    @classmethod
    def reopen(cls, info: RunInfo, record: Record, settled: Sequence[Status] = ("done",)) -> Trial:
        """The same, to go on with. Raises LockedError where it is running, SpecError where its spec
        could not be recorded whole."""
        trial = cls.recorded(info, record, settled)
        refuse_blanks(trial.spec.to_dict())
        for run_id in [info.run_id, *(trial.session_ids[i] for i in trial.todo)]:
            record.hold(run_id)
            record.set_status(run_id, "RUNNING")
        return trial

    @staticmethod
    def doubt(info: RunInfo, record: Record, why: str) -> None:
        """Tags a run as inexact. That its environment is approximate stays said."""
        if record.get(info.run_id).tags.get(EXACT) != APPROXIMATE:
            record.set_tags(info.run_id, {EXACT: why})

    @property
    def todo(self) -> list[int]:
        """The sessions that have not ended."""
        return [s for s in range(len(self.session_ids)) if s not in self.outcomes]

    def jobs(self, device: str = "auto", rungs: Sequence[Rung] = ()) -> list[Job]:
        """The sessions that have not ended, to be run."""
        look = look_at(self.spec.env)
        needs = needs_of(self.spec, look.info)
        return [
            Job(
                spec=self.spec.to_dict(),
                trial=self.number,
                session=s,
                folder=str(self.record.working_folder(self.session_ids[s])),
                devices=devices_of(self.spec, self.number * len(self.session_ids) + s, device),
                needs=needs,
                rungs=tuple(rungs),
                exact=self.exact and not look.doubt,
                debug=self.mode == "dev",
                render=self.mode == "dev" and has_display(),
            )
            for s in self.todo
        ]

    def run(
        self,
        engine: Engine,
        on_progress: Callable[[Job, Reached], None],
        device: str,
        on_end: Callable[[int, Outcome], None] = lambda session, outcome: None,
    ) -> Result:
        """Runs the sessions and records them. A session that fails does not stop the others."""

        def ended(job: Job, outcome: Outcome) -> None:
            self.ended(job.session, outcome)
            on_end(job.session, outcome)

        try:
            launcher = Launcher(engine, on_progress, ended)
            launcher.add(self.jobs(device))
            with Courier(self.record, [self.session_ids[s] for s in self.todo]):
                stop = launcher.run()
            stop.obey()
            result = self.result(stop.received.name if stop.received else None)
            self.close(result)
            return result
        except BaseException as error:
            self.give_up("stopped" if isinstance(error, KeyboardInterrupt) else "failed")
            raise

    def ended(self, session: int, outcome: Outcome) -> None:
        """Session ``session`` has ended."""
        self.outcomes[session] = outcome
        tags = {"slm.status": outcome.status, "slm.reason": outcome.message}
        self.record.set_tags(self.session_ids[session], tags)

    def result(self, stopped_by: str | None = None) -> Result:
        """What the sessions, which have all ended, came to."""
        sessions = [self.session_result(s) for s in range(len(self.session_ids))]
        tables = [session.metrics for session in sessions]
        counted = [session.metrics for session in sessions if session.outcome.status != "pruned"]
        in_search = self.mode in IN_SEARCH
        return Result(
            run_id=self.run_id,
            name=self.name,
            sessions=sessions,
            scalars=trial_scalars(counted or tables, self.baseline, self.spec.meta.sessions),
            figures={} if in_search else draw(tables, self.name, self.spec),
            stopped_by=stopped_by,
        )

    def session_result(self, session: int) -> SessionResult:
        """What a session that has ended came to."""
        run_id = self.session_ids[session]
        folder = self.record.working_folder(run_id)
        table = read_metrics(folder) if folder.is_dir() else self.record.history(run_id)
        scalars = session_scalars(table, self.baseline)
        return SessionResult(run_id, self.outcomes[session], table, scalars)

    def close(self, result: Result, tags: Mapping[str, str] | None = None) -> None:
        """Records the result: graphs, tables, metrics, ``tags`` and status."""
        self.record.set_tags(self.run_id, {"slm.status": result.status, **(tags or {})})
        store(result, self.record)

    def give_up(self, status: Status) -> None:
        """Says in the record that the lab itself broke off; what is there can be resumed."""
        with suppress(LabError):
            for run_id in [*self.session_ids, self.run_id]:
                if self.record.working_folder(run_id).is_dir():
                    self.record.finish(run_id, RUN_STATUS[status])
            self.record.set_tags(self.run_id, {"slm.status": status})


def run_tags(spec: Spec, mode: str) -> dict[str, str]:
    """What MLflow shows of every run of ``spec``."""
    return {
        "slm.mode": mode,
        "slm.env": spec.env.name,
        "slm.algorithm": spec.agent.algorithm.name,
        "slm.seed": str(spec.meta.seed),
    }


def _baseline(spec: Spec, record: Record) -> Baseline | None:
    """What a random policy scores in the spec's environment."""
    env, cache = spec.env, record.root / "random_baselines.json"
    measured = partial(apart, env, measure, limit=env.step_timeout)
    return random_baseline(env.name, arguments_of(env), cache, partial(make_single, env), measured)


def read_metrics(folder: Path) -> pd.DataFrame:
    """The rows a session has written so far, one per frame; a torn last line is left out."""
    table = pd.DataFrame(read_rows(folder / "metrics.jsonl"))
    return table.drop_duplicates("frame", keep="last") if len(table) else table


def write_json(path: Path, data: Any) -> None:
    """Writes ``data`` with what looks like a secret blacked out."""
    path.write_text(json.dumps(redact(data), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
