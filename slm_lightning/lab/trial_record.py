"""What a trial that has ended leaves in the record: graphs, tables, metrics and status."""

from __future__ import annotations

import json
import time
from typing import Any

import pandas as pd

from slm_lightning.data.checkpoint_files import BEST
from slm_lightning.lab import graphs
from slm_lightning.lab.analysis import trial_curve
from slm_lightning.lab.crash import CRASH
from slm_lightning.lab.result import Result, SessionResult
from slm_lightning.lab.running.job import Status
from slm_lightning.redact import redact_file
from slm_lightning.spec.model import Spec
from slm_lightning.tracking import RESOLVED, Record
from slm_lightning.tracking.record import Status as RunStatus

RUN_STATUS: dict[Status, RunStatus] = {
    "done": "FINISHED",
    "pruned": "FINISHED",
    "stopped": "KILLED",
    "failed": "FAILED",
    "diverged": "FAILED",
}
CURVES = ("total_reward", "total_reward_ma", "eval/return")


def draw(tables: list[pd.DataFrame], name: str, spec: Spec) -> dict[str, Any]:
    """The graphs of a trial and of its sessions."""
    environment = spec.env.name
    figures = {"trial": graphs.trial_graph(tables, f"{name} · {environment}", spec.meta.sessions)}
    for s, table in enumerate(tables):
        figures[f"session_{s}"] = graphs.session_graph(table, f"{name}_s{s} · {environment}")
    return figures


def store(result: Result, record: Record) -> None:
    """Records a trial, and those of its sessions that are not yet settled. One without figures is part
    of an experiment: its page draws them, and no checkpoint to go on from is kept of what is done."""
    fresh = [s for s in result.sessions if record.working_folder(s.run_id).is_dir()]
    in_search = not result.figures
    if not in_search:
        _write_graphs(result, fresh, record)
    for session in fresh:
        for_good = in_search and session.outcome.status != "stopped"
        checkpoints = f"checkpoints/{BEST}" if for_good else "checkpoints"
        _store_run(session.run_id, session.metrics, session.scalars, record, checkpoints)
        record.finish(session.run_id, RUN_STATUS[session.outcome.status], for_good)
    tables = [session.metrics for session in result.sessions]
    if result.status in ("done", "pruned"):  # what MLflow has once it keeps
        _write_curves(result.run_id, tables, record)
    folder = record.folder(result.run_id) / "tables"
    folder.mkdir(exist_ok=True)
    trial_curve(tables, "total_reward").to_csv(folder / "trial.csv", index=False)
    _store_run(result.run_id, result.metrics, result.scalars, record)
    record.finish(result.run_id, RUN_STATUS[result.status], in_search and result.status != "stopped")


def _write_graphs(result: Result, fresh: list[SessionResult], record: Record) -> None:
    named = {session.run_id: f"session_{i}" for i, session in enumerate(result.sessions)}
    targets = {session.run_id: named[session.run_id] for session in fresh} | {result.run_id: "trial"}
    pictures = {}
    for run_id, name in targets.items():
        folder = record.folder(run_id) / "graphs"
        folder.mkdir(exist_ok=True)
        stem = folder / name.partition("_")[0]
        graphs.write_html(result.figures[name], stem.with_suffix(".html"))
        pictures[stem.with_suffix(".png")] = result.figures[name]
    graphs.write_png(pictures)


def _store_run(
    run_id: str,
    table: pd.DataFrame,
    scalars: dict[str, float],
    record: Record,
    checkpoints: str = "checkpoints",
) -> None:
    folder = record.folder(run_id)
    log = folder / "session.log"
    if log.is_file():
        redact_file(log)  # also what was written past Python, by libraries and processes
    (folder / "tables").mkdir(exist_ok=True)
    if len(table):
        table.to_csv(folder / "tables" / "metrics.csv", index=False)
    last = int(table["frame"].max()) if len(table) else 0
    record.log_metrics(run_id, scalars, step=last)
    for name in ("graphs", "tables", checkpoints):
        if (folder / name).exists():
            record.log_artifacts(run_id, folder / name, name.partition("/")[0])
    files = [folder / RESOLVED, log, folder / CRASH]
    if (folder / checkpoints).is_dir():  # to be gone on from, with all its rows
        files.append(folder / "metrics.jsonl")
    for file in files:
        if file.is_file() and file.stat().st_size:
            record.log_artifacts(run_id, file)


def _write_curves(run_id: str, tables: list[pd.DataFrame], record: Record) -> None:
    """The mean over sessions as the trial's own metrics, so that the MLflow UI can draw it."""
    curves = {
        name: trial_curve(tables, name).set_index("frame")["mean"]
        for name in CURVES
        if any(name in table for table in tables)
    }
    rows = pd.DataFrame(curves).sort_index().reset_index(names="frame")
    path = record.folder(run_id) / "metrics.jsonl"
    with path.open("w") as file:
        for row in rows.to_dict("records"):
            known = {key: value for key, value in row.items() if pd.notna(value)}
            file.write(json.dumps({"time": time.time(), **known}) + "\n")
