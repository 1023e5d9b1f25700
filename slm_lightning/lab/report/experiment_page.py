"""The page of a search: what it found, in increasing detail, computed from the record alone."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from slm_lightning.lab import graphs, pages
from slm_lightning.lab.report import experiment_graphs as pictures
from slm_lightning.lab.report.axes import plain
from slm_lightning.lab.report.experiment_panels import experiment_graph
from slm_lightning.lab.report.findings import Findings, TrialFinding, findings
from slm_lightning.lab.report.importance import importances
from slm_lightning.lab.report.verdict import Verdict, verdict
from slm_lightning.lab.wording import number, setting
from slm_lightning.tracking import Record

PAGE, PICTURE, TABLE = "experiment.html", "graphs/experiment.png", "tables/trials.csv"
POINTS = 200
"""Points of a session's curve on the page; a longer record is thinned."""
SESSIONS = 8
"""Sessions of a trial whose graphs are on the page."""
GRAPH_HEIGHT = 340


@dataclass(frozen=True)
class Report:
    """What a search came to, for the terminal and for programs."""

    run_id: str
    text: str
    findings: Findings
    verdict: Verdict
    files: dict[str, Path]
    """Local path by artifact path: in the store where that is on this machine, else of a copy that
    lives as long as this process."""

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        found = self.findings
        return {
            "run_id": self.run_id,
            "name": found.name,
            "status": found.status,
            "verdict": self.verdict.sentence,
            "tone": self.verdict.tone,
            "caveats": self.verdict.caveats,
            "trials": found.counts,
            "objectives": dict(found.objectives),
            "goals": [vars(goal) for goal in found.goals],
            "best": [_brief(trial) for trial in found.top],
            "confirmation": _brief(found.confirmation) if found.confirmation else None,
            "files": {name: str(path) for name, path in self.files.items()},
        }


@dataclass(frozen=True)
class Setting:
    """One of the best trials with all that the page shows of it."""

    trial: TrialFinding
    run: str
    """Beginning of its run's id, as commands take it."""
    spec: str
    graph: go.Figure
    session_graphs: list[go.Figure]
    hidden: int
    """Sessions whose graphs are left out."""


def write_report(record: Record, run_id: str) -> Report:
    """Computes the page, the picture and the table of a search, and stores them with its run.

    The same record gives the same page. The picture is left out where there is no browser. Raises
    UsageError where the run is no search.
    """
    found = findings(record, run_id)
    shares = importances(found)
    with tempfile.TemporaryDirectory(prefix="slm-lightning-") as name:
        folder = Path(name)
        for path in (PICTURE, TABLE):
            (folder / path).parent.mkdir()
        (folder / PAGE).write_text(page(found, shares, record), encoding="utf-8")
        trials_table(found).to_csv(folder / TABLE, index=False)
        if found.is_drawable:
            graphs.write_png({folder / PICTURE: experiment_graph(found, order(found, shares))})
        written = [path for path in (PAGE, PICTURE, TABLE) if (folder / path).is_file()]
        record.log_artifacts(run_id, folder)
    files = {path: record.download(run_id, path) for path in written}
    said = verdict(found)
    return Report(run_id, _text(found, said, files[PAGE]), found, said, files)


def page(found: Findings, shares: Mapping[str, float], record: Record) -> str:
    """The HTML of the page; ``shares`` as :func:`importances` gives them."""
    paths = order(found, shares)
    drawable, two = found.is_drawable, len(found.objectives) == 2
    return pages.render(
        "experiment.html.j2",
        found=found,
        verdict=verdict(found),
        planned_frames=_planned_frames(found),
        longest=max(map(found.frames_planned, found.trials), default=found.max_frame),
        experiment=experiment_graph(found, paths) if drawable else None,
        importance=pictures.importance_graph(shares, found.labels) if shares else None,
        histories=[pictures.history_graph(found, name) for name in found.objectives]
        if drawable
        else [],
        parallel=pictures.parallel_graph(found, paths) if found.best else None,
        pareto=pictures.pareto_graph(found) if two and found.best else None,
        settings=[_setting(record, found, trial) for trial in found.top],
        confirmed=_confirmed(record, found),
        trials=[*found.trials, *found.confirmations],
    )


def order(found: Findings, shares: Mapping[str, float]) -> list[str]:
    """The searched paths, the most important first, those whose share is not known as in the spec."""
    return [*shares, *(d.path for d in found.dimensions if d.path not in shares)]


def trials_table(found: Findings) -> pd.DataFrame:
    """A row for each trial, confirmations below: how it ended, what was drawn, and its metrics."""
    rows = [
        {
            "trial": trial.number,
            "run_id": trial.run_id,
            "status": trial.status,
            "confirms": trial.confirms,
            "reason": trial.reason,
            **{d.path: _cell(trial.drawn.get(d.path)) for d in found.dimensions},
            **dict(zip((f"objective/{name}" for name in found.objectives), trial.values)),
            **dict(sorted(trial.scalars.items())),
        }
        for trial in [*found.trials, *found.confirmations]
    ]
    return pd.DataFrame(rows)


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value


def _setting(record: Record, found: Findings, trial: TrialFinding) -> Setting:
    runs = record.children(trial.run_id)
    tables = thinned([record.history(run.run_id) for run in runs])
    fig = graphs.trial_graph(tables, "", int(trial.scalars.get("sessions_planned", len(runs))))
    return Setting(
        trial=trial,
        run=trial.run_id[:8],
        spec=record.download(trial.run_id, "spec.json").read_text(encoding="utf-8"),
        graph=fig.update_layout(title=None, height=GRAPH_HEIGHT, margin_t=40),
        session_graphs=[
            graphs.session_graph(table, plain(f"session {s} · {run.run_id[:8]}"))
            for s, (run, table) in enumerate(zip(runs[:SESSIONS], tables))
        ],
        hidden=max(0, len(runs) - SESSIONS),
    )


def _confirmed(record: Record, found: Findings) -> Setting | None:
    trial = found.confirmation
    return _setting(record, found, trial) if trial and trial.status == "done" else None


def thinned(tables: Sequence[pd.DataFrame], points: int = POINTS) -> list[pd.DataFrame]:
    """The records of a trial's sessions with at most so many rows each. The frames are cut into equal
    parts, the same for all; of each part remains the last value of every column."""
    if max(map(len, tables), default=0) <= points:
        return list(tables)
    width = max(table["frame"].max() for table in tables if len(table)) / points

    def thin(table: pd.DataFrame) -> pd.DataFrame:
        return table.groupby(np.ceil(table["frame"] / width)).last().reset_index(drop=True)

    return [thin(table) if len(table) else table for table in tables]


def _planned_frames(found: Findings) -> int:
    """Frames that the trials of the search would have spent, had each of them run to its end."""
    return sum(
        int(t.scalars.get("sessions_planned", 0)) * found.frames_planned(t)
        for t in found.trials
        if t.status in ("done", "pruned")
    )


def _brief(trial: TrialFinding) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "run_id": trial.run_id,
        "status": trial.status,
        "drawn": dict(trial.drawn),
        "values": list(trial.values),
        "metrics": dict(trial.scalars),
    }


def _text(found: Findings, said: Verdict, page: Path) -> str:
    """The report in a few lines."""
    lines = [said.sentence, *said.caveats]
    for trial in found.top:
        values = ", ".join(f"{k} {number(v)}" for k, v in zip(found.objectives, trial.values))
        drawn = setting(trial.drawn, found.labels)
        lines.append(f"  trial {trial.number} ({trial.run_id[:8]}): {values} with {drawn}")
    return "\n".join([*lines, f"page: {page}"])
