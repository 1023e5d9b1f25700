"""A Trial: several sessions of one fixed spec with different seeds, recorded as one.

This is the parent's side. It creates the runs, starts the sessions, carries what they write into the
record, and when they have ended draws the graphs and computes the metrics of the lab.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from slm_lightning.envs import make_single
from slm_lightning.errors import DivergedError, LabError, SessionError, UsageError
from slm_lightning.lab import graphs
from slm_lightning.lab.analysis import session_scalars, trial_curve, trial_scalars
from slm_lightning.lab.baselines import Baseline, random_baseline
from slm_lightning.lab.job import Job
from slm_lightning.lab.launch import Outcome, Status, run_jobs
from slm_lightning.lab.preflight import devices_of, has_display
from slm_lightning.lab.signals import StopSignal
from slm_lightning.provenance import Provenance
from slm_lightning.redact import redact
from slm_lightning.registry import REGISTRY
from slm_lightning.spec.load import RawSpec, load_spec
from slm_lightning.spec.model import Spec
from slm_lightning.spec.resolve import resolve
from slm_lightning.tracking import Courier, Record, RunInfo, flatten
from slm_lightning.tracking.record import Kind
from slm_lightning.tracking.record import Status as RunStatus

RUN_STATUS: dict[Status, RunStatus] = {
    "done": "FINISHED",
    "stopped": "KILLED",
    "failed": "FAILED",
    "diverged": "FAILED",
}
RESOLVED = "spec_resolved.json"
DIFF_TAG = "slm.git.diff_sha256"
TRIAL = 0
"""Index of a trial that is not part of a search."""
CURVES = ("total_reward", "total_reward_ma", "eval/return")


@dataclass(frozen=True)
class SessionResult:
    """What one session left: its run, how it ended, its rows by frame, and the lab's metrics."""

    run_id: str
    outcome: Outcome
    metrics: pd.DataFrame
    scalars: dict[str, float]


@dataclass(frozen=True)
class Result:
    """What a trial left. ``metrics`` has every row of every session, ``figures`` the graphs by name."""

    run_id: str
    name: str
    sessions: list[SessionResult]
    scalars: dict[str, float]
    figures: dict[str, Any] = field(repr=False)
    stopped_by: str | None = None
    """The signal that ended it early."""

    @property
    def metrics(self) -> pd.DataFrame:
        """One table of all sessions, told apart by column ``session``."""
        return graphs.table([session.metrics for session in self.sessions])

    @property
    def status(self) -> Status:
        """``done``, or how the worst session ended: ``failed``, ``diverged``, ``stopped``."""
        found = {session.outcome.status for session in self.sessions}
        worst_first: tuple[Status, ...] = ("failed", "diverged", "stopped", "done")
        return next(status for status in worst_first if status in found)

    def error(self) -> LabError | None:
        """The failure to report, or None when every session is done."""
        if self.status in ("done", "stopped"):
            return None
        ended = [
            f"session {i} {session.outcome.status}: {session.outcome.message}"
            for i, session in enumerate(self.sessions)
            if session.outcome.status != "done"
        ]
        kind = DivergedError if self.status == "diverged" else SessionError
        hint = f"the record is kept: slm-lightning show {self.run_id[:8]}"
        return kind("\n".join(ended), hint)


class Trial:
    """One trial on its way through the record."""

    def __init__(self, spec: Spec, record: Record, mode: str, run_id: str, session_ids: list[str]):
        self.spec, self.record, self.mode = spec, record, mode
        self.run_id, self.session_ids = run_id, session_ids
        self.name = _name(spec)
        self.baseline = _baseline(spec, record)
        self.outcomes: dict[int, Outcome] = {}
        """How sessions ended, by index; those that are done are not run again."""

    @classmethod
    def create(cls, raw: RawSpec, spec: Spec, record: Record, mode: str = "train") -> Trial:
        """A new trial with its runs: one of its own, and one below it for each session."""
        provenance = Provenance.collect()
        tags = provenance.tags() | {
            "slm.trial": str(TRIAL),
            "slm.mode": mode,
            "slm.env": spec.env.name,
            "slm.algorithm": spec.agent.algorithm.name,
            "slm.seed": str(spec.meta.seed),
        }

        def new(name: str, kind: Kind, parent: str | None, **more: str) -> str:
            return record.create_run(
                experiment=spec.name,
                name=name,
                kind=kind,
                parent=parent,
                tags=tags | {f"slm.{key}": value for key, value in more.items()},
                params=flatten(spec.to_dict()),
            )

        run_id = new(_name(spec), "trial", None)
        session_ids = [
            new(f"{_name(spec)}_s{s}", "session", run_id, session=str(s))
            for s in range(spec.meta.sessions)
        ]
        folder = record.folder(run_id)
        _write_json(folder / "spec.json", {raw.name: raw.data})
        _write_json(folder / RESOLVED, spec.to_dict())
        provenance.write(folder)
        record.log_artifacts(run_id, folder)
        for session_id in session_ids:
            _write_json(record.folder(session_id) / RESOLVED, spec.to_dict())
        return cls(spec, record, mode, run_id, session_ids)

    @classmethod
    def reopen(cls, info: RunInfo, record: Record) -> Trial:
        """A recorded trial, to go on with the sessions that are not done.

        Raises UsageError where nothing is left to do, LockedError where it is running.
        """
        spec = resolve(load_spec(record.download(info.run_id, RESOLVED)), REGISTRY)
        sessions = record.children(info.run_id)
        done = {i for i, run in enumerate(sessions) if run.tags.get("slm.status") == "done"}
        if info.status == "FINISHED":
            raise UsageError(f"{info.name} is done; nothing is left to resume")
        trial = cls(spec, record, info.tags["slm.mode"], info.run_id, [run.run_id for run in sessions])
        trial.outcomes = {index: Outcome("done") for index in done}
        for run_id in [info.run_id, *(trial.session_ids[i] for i in trial.todo)]:
            record.hold(run_id)
            record.set_status(run_id, "RUNNING")
        return trial

    def changed(self, info: RunInfo) -> str:
        """What of the code is not as it was when the trial began; empty where nothing is."""
        before, now = info.tags, Provenance.collect().tags()
        same = all(before.get(key) == now.get(key) for key in ("mlflow.source.git.commit", DIFF_TAG))
        return "" if same else "the code has changed since the trial began"

    @property
    def todo(self) -> list[int]:
        """The sessions that are not done."""
        return [s for s in range(len(self.session_ids)) if s not in self.outcomes]

    def run(
        self,
        on_progress: Callable[[int, int, float], None],
        device: str = "auto",
        at_once: int | None = None,
    ) -> Result:
        """Runs the sessions and records them. A session that fails does not stop the others."""
        todo = self.todo
        try:
            jobs = [self._job(s, device) for s in todo]
            with Courier(self.record, [self.session_ids[s] for s in todo]):
                stop = run_jobs(
                    jobs,
                    at_once or cores(),
                    on_progress,
                    lambda job, outcome: self._on_end(job.session, outcome),
                )
            return self._close(stop)
        except BaseException as error:
            self._give_up("stopped" if isinstance(error, KeyboardInterrupt) else "failed")
            raise

    def _give_up(self, status: Status) -> None:
        """Says in the record that the lab itself broke off; what is there can be resumed."""
        with suppress(LabError):
            for run_id in [*self.session_ids, self.run_id]:
                if self.record.working_folder(run_id).is_dir():
                    self.record.finish(run_id, RUN_STATUS[status])
            self.record.set_tags(self.run_id, {"slm.status": status})

    def _job(self, session: int, device: str) -> Job:
        return Job(
            spec=self.spec.to_dict(),
            trial=TRIAL,
            session=session,
            folder=str(self.record.folder(self.session_ids[session])),
            devices=devices_of(self.spec, session, device),
            debug=self.mode == "dev",
            render=self.mode == "dev" and has_display(),
        )

    def _on_end(self, session: int, outcome: Outcome) -> None:
        self.outcomes[session] = outcome
        run_id = self.session_ids[session]
        self.record.set_tags(run_id, {"slm.status": outcome.status, "slm.reason": outcome.message})

    def _close(self, stop: StopSignal) -> Result:
        tables = [self._metrics(run_id) for run_id in self.session_ids]
        sessions = [
            SessionResult(run_id, self.outcomes[s], table, session_scalars(table, self.baseline))
            for s, (run_id, table) in enumerate(zip(self.session_ids, tables))
        ]
        result = Result(
            run_id=self.run_id,
            name=self.name,
            sessions=sessions,
            scalars=trial_scalars(tables, self.baseline, self.spec.meta.sessions),
            figures=self._draw(tables),
            stopped_by=stop.received.name if stop.received else None,
        )
        self._record(result)
        return result

    def _metrics(self, run_id: str) -> pd.DataFrame:
        """The rows of a session: from its working folder, or from the record where it is done."""
        folder = self.record.working_folder(run_id)
        return read_metrics(folder) if folder.is_dir() else self.record.history(run_id)

    def _draw(self, tables: list[pd.DataFrame]) -> dict[str, Any]:
        environment = self.spec.env.name
        figures = {
            "trial": graphs.trial_graph(tables, f"{self.name} · {environment}", self.spec.meta.sessions)
        }
        for s, table in enumerate(tables):
            figures[f"session_{s}"] = graphs.session_graph(table, f"{self.name}_s{s} · {environment}")
        return figures

    def _record(self, result: Result) -> None:
        """Graphs, tables, metrics and status of the trial and of the sessions that are not yet
        settled."""
        fresh = [s for s in result.sessions if self.record.working_folder(s.run_id).is_dir()]
        named = {result.sessions[i].run_id: f"session_{i}" for i in range(len(result.sessions))}
        targets = {s.run_id: named[s.run_id] for s in fresh} | {self.run_id: "trial"}
        pictures = {}
        for run_id, name in targets.items():
            folder = self.record.folder(run_id) / "graphs"
            folder.mkdir(exist_ok=True)
            stem = folder / name.partition("_")[0]
            graphs.write_html(result.figures[name], stem.with_suffix(".html"))
            pictures[stem.with_suffix(".png")] = result.figures[name]
        graphs.write_png(pictures)
        for session in fresh:
            self._store(session.run_id, session.metrics, session.scalars)
            self.record.finish(session.run_id, RUN_STATUS[session.outcome.status])
        if result.status == "done":  # what MLflow has once it keeps
            self._write_curves([session.metrics for session in result.sessions])
        tables = self.record.folder(self.run_id) / "tables"
        tables.mkdir(exist_ok=True)
        curve = trial_curve([session.metrics for session in result.sessions], "total_reward")
        curve.to_csv(tables / "trial.csv", index=False)
        self._store(self.run_id, result.metrics, result.scalars)
        self.record.set_tags(self.run_id, {"slm.status": result.status})
        self.record.finish(self.run_id, RUN_STATUS[result.status])

    def _store(self, run_id: str, table: pd.DataFrame, scalars: dict[str, float]) -> None:
        folder = self.record.folder(run_id)
        (folder / "tables").mkdir(exist_ok=True)
        if len(table):
            table.to_csv(folder / "tables" / "metrics.csv", index=False)
        last = int(table["frame"].max()) if len(table) else 0
        self.record.log_metrics(run_id, scalars, step=last)
        for name in ("graphs", "tables", "checkpoints"):
            if (folder / name).is_dir():
                self.record.log_artifacts(run_id, folder / name, name)
        for file in (RESOLVED, "session.log"):
            if (folder / file).is_file() and (folder / file).stat().st_size:
                self.record.log_artifacts(run_id, folder / file)

    def _write_curves(self, tables: list[pd.DataFrame]) -> None:
        """The mean over sessions as the trial's own metrics, so that the MLflow UI can draw it."""
        curves = {
            name: trial_curve(tables, name).set_index("frame")["mean"]
            for name in CURVES
            if any(name in table for table in tables)
        }
        rows = pd.DataFrame(curves).sort_index().reset_index()
        path = self.record.folder(self.run_id) / "metrics.jsonl"
        with path.open("w") as file:
            for row in rows.to_dict("records"):
                known = {key: value for key, value in row.items() if pd.notna(value)}
                file.write(json.dumps({"time": time.time(), **known}) + "\n")


def cores() -> int:
    """Cores that this process may use."""
    limited = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if limited else os.cpu_count() or 1


def _name(spec: Spec) -> str:
    return f"{spec.name}_t{TRIAL}"


def _baseline(spec: Spec, record: Record) -> Baseline | None:
    """What a random policy scores in the spec's environment."""
    own = {key: getattr(spec.env, key) for key in ("max_t", "entry_point", "action_repeat")}
    arguments = {**(spec.env.model_extra or {}), **{k: v for k, v in own.items() if v is not None}}
    cache = record.root / "random_baselines.json"
    return random_baseline(spec.env.name, arguments, cache, partial(make_single, spec.env))


def read_metrics(folder: Path) -> pd.DataFrame:
    """The rows a session has written so far, one per frame; a torn last line is left out."""
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return pd.DataFrame()
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    rows = [json.loads(line) for line in lines if line.endswith("\n")]
    table = pd.DataFrame(rows)
    return table.drop_duplicates("frame", keep="last") if len(table) else table


def _write_json(path: Path, data: Any) -> None:
    path.write_text(json.dumps(redact(data), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
