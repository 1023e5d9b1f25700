"""A Trial: several sessions of one fixed spec with different seeds, recorded as one.

This is the parent's side. It creates the runs, starts the sessions, carries what they write into the
record, and when they have ended draws the graphs and computes the metrics of the lab.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from slm_lightning.errors import DivergedError, LabError, SessionError
from slm_lightning.lab import graphs
from slm_lightning.lab.analysis import session_scalars, trial_curve, trial_scalars
from slm_lightning.lab.baselines import random_baseline
from slm_lightning.lab.job import Job
from slm_lightning.lab.launch import Outcome, Status, run_jobs
from slm_lightning.lab.preflight import device_of
from slm_lightning.lab.signals import StopSignal
from slm_lightning.provenance import Provenance
from slm_lightning.spec.load import RawSpec
from slm_lightning.spec.model import Spec
from slm_lightning.tracking import Courier, Record, flatten
from slm_lightning.tracking.record import Kind
from slm_lightning.tracking.record import Status as RunStatus

RUN_STATUS: dict[Status, RunStatus] = {
    "done": "FINISHED",
    "stopped": "KILLED",
    "failed": "FAILED",
    "diverged": "FAILED",
}
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

    def __init__(self, raw: RawSpec, spec: Spec, record: Record, mode: str = "train", index: int = 0):
        self.raw, self.spec, self.record, self.mode, self.index = raw, spec, record, mode, index
        self.name = f"{spec.name}_t{index}"
        self.provenance = Provenance.collect()
        self.run_id = self._create(self.name, "trial", None, {})
        self.session_ids = [
            self._create(
                f"{self.name}_s{s}",
                "session",
                self.run_id,
                {"slm.session": str(s), "slm.seed": str(spec.meta.seed)},
            )
            for s in range(spec.meta.max_session)
        ]
        self._write_sources()

    def run(
        self,
        on_progress: Callable[[int, int, float], None],
        device: str = "auto",
        at_once: int | None = None,
    ) -> Result:
        """Runs the sessions and records them. A session that fails does not stop the others."""
        jobs = [
            Job(
                spec=self.spec.to_dict(),
                trial=self.index,
                session=s,
                folder=str(self.record.folder(run_id)),
                device=device_of(self.spec, s, device),
                debug=self.mode == "dev",
                render=self.mode == "dev" and bool(os.environ.get("DISPLAY")),
            )
            for s, run_id in enumerate(self.session_ids)
        ]
        with Courier(self.record, self.session_ids):
            outcomes, stop = run_jobs(
                jobs, at_once or len(os.sched_getaffinity(0)), on_progress, self._on_end
            )
        return self._close(outcomes, stop)

    def _create(self, name: str, kind: Kind, parent: str | None, tags: dict[str, str]) -> str:
        return self.record.create_run(
            experiment=self.spec.name,
            name=name,
            kind=kind,
            parent=parent,
            tags=self.provenance.tags()
            | {"slm.trial": str(self.index), "slm.mode": self.mode, "slm.env": self.spec.env.name}
            | {"slm.algorithm": self.spec.agent.algorithm.name}
            | tags,
            params=flatten(self.spec.to_dict()),
        )

    def _write_sources(self) -> None:
        """Spec as given and as resolved, code version, versions, machine: on the trial's run."""
        folder = self.record.folder(self.run_id)
        _write_json(folder / "spec.json", {self.raw.name: self.raw.data})
        _write_json(folder / "spec_resolved.json", self.spec.to_dict())
        self.provenance.write(folder)
        self.record.log_artifacts(self.run_id, folder)
        for run_id in self.session_ids:
            _write_json(self.record.folder(run_id) / "spec_resolved.json", self.spec.to_dict())

    def _on_end(self, index: int, outcome: Outcome) -> None:
        run_id = self.session_ids[index]
        self.record.deliver(run_id, final=True)
        tags: dict[str, str] = {"slm.status": outcome.status}
        if outcome.message:
            tags["slm.reason"] = outcome.message
        self.record.set_tags(run_id, tags)

    def _close(self, outcomes: list[Outcome], stop: StopSignal) -> Result:
        baseline = random_baseline(
            self.spec.env.name,
            self.spec.env.model_extra or {},
            self.record.root / "random_baselines.json",
        )
        tables = [read_metrics(self.record.folder(run_id)) for run_id in self.session_ids]
        sessions = [
            SessionResult(run_id, outcome, table, session_scalars(table, baseline))
            for run_id, outcome, table in zip(self.session_ids, outcomes, tables)
        ]
        result = Result(
            run_id=self.run_id,
            name=self.name,
            sessions=sessions,
            scalars=trial_scalars(tables, baseline, self.spec.meta.max_session),
            figures=self._draw(tables),
            stopped_by=stop.received.name if stop.received else None,
        )
        self._record(result)
        return result

    def _draw(self, tables: list[pd.DataFrame]) -> dict[str, Any]:
        environment = self.spec.env.name
        figures = {
            "trial": graphs.trial_graph(
                tables, f"{self.name} · {environment}", self.spec.meta.max_session
            )
        }
        for s, table in enumerate(tables):
            figures[f"session_{s}"] = graphs.session_graph(table, f"{self.name}_s{s} · {environment}")
        return figures

    def _record(self, result: Result) -> None:
        """Graphs, tables, metrics and status of the sessions and of the trial."""
        folders = [self.record.folder(run_id) for run_id in self.session_ids]
        targets = {folder: f"session_{s}" for s, folder in enumerate(folders)}
        targets[self.record.folder(self.run_id)] = "trial"
        pictures = {}
        for folder, name in targets.items():
            (folder / "graphs").mkdir(exist_ok=True)
            stem = name.partition("_")[0]
            graphs.write_html(result.figures[name], folder / "graphs" / f"{stem}.html")
            pictures[folder / "graphs" / f"{stem}.png"] = result.figures[name]
        graphs.write_png(pictures)
        for session, folder in zip(result.sessions, folders):
            self._store(session.run_id, folder, session.metrics, session.scalars)
            self.record.finish(session.run_id, RUN_STATUS[session.outcome.status])
        folder = self.record.folder(self.run_id)
        self._write_curves(folder, [session.metrics for session in result.sessions])
        self._store(self.run_id, folder, result.metrics, result.scalars)
        self.record.set_tags(self.run_id, {"slm.status": result.status})
        self.record.finish(self.run_id, RUN_STATUS[result.status])

    def _store(self, run_id: str, folder: Path, table: pd.DataFrame, scalars: dict[str, float]) -> None:
        (folder / "tables").mkdir(exist_ok=True)
        table.to_csv(folder / "tables" / "metrics.csv", index=False)
        last = int(table["frame"].max()) if len(table) else 0
        self.record.log_metrics(run_id, scalars, step=last)
        for name in ("graphs", "tables", "checkpoints"):
            if (folder / name).is_dir():
                self.record.log_artifacts(run_id, folder / name, name)
        for file in ("spec_resolved.json", "session.log"):
            if (folder / file).is_file() and (folder / file).stat().st_size:
                self.record.log_artifacts(run_id, folder / file)

    def _write_curves(self, folder: Path, tables: list[pd.DataFrame]) -> None:
        """The mean over sessions as the trial's own metrics, so that the MLflow UI can draw it."""
        curves = {
            name: trial_curve(tables, name).set_index("frame")["mean"]
            for name in CURVES
            if any(name in table for table in tables)
        }
        rows = pd.DataFrame(curves).sort_index().reset_index()
        with (folder / "metrics.jsonl").open("w") as file:
            for row in rows.to_dict("records"):
                file.write(json.dumps({k: v for k, v in row.items() if pd.notna(v)}) + "\n")


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
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
