"""What the record holds of runs, as plain data to hand on: names, settings, numbers, rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from slm_lightning.errors import UsageError
from slm_lightning.tracking import PUBLISHED, RESOLVED, Record, RunInfo
from slm_lightning.tracking.query import TABLE

COMMIT, REMOTE = "mlflow.source.git.commit", "mlflow.source.git.repoURL"
SPECS = ("spec.json", RESOLVED)
PLACE = ["trial", "session"]
"""The first columns of the rows of many sessions: the numbers by which a session is found."""
PUBLIC = ("slm.", COMMIT, "mlflow.source.git.branch", "mlflow.source.name")
"""Beginnings of the tags that are handed on; who ran it and where is nobody's business."""


def family(record: Record, run: RunInfo) -> list[RunInfo]:
    """A run with all that is below it, those above first; a session with its trial."""
    if run.kind == "session":
        assert run.parent
        return [record.get(run.parent), run]
    below = record.children(run.run_id)
    if run.kind == "trial":
        return [run, *below]
    return [run, *(each for trial in below for each in family(record, trial))]


def described(record: Record, run: RunInfo) -> dict[str, Any]:
    """A run as JSON has it; its specs with it, where it is no session."""
    files = set(record.artifacts(run.run_id)) if run.kind != "session" else set()
    return {
        "id": run.run_id,
        "parent": run.parent,
        "kind": run.kind,
        "name": run.name,
        "experiment": run.experiment,
        "status": run.status,
        "start": run.start.isoformat(),
        "end": run.end.isoformat() if run.end else None,
        "tags": {k: v for k, v in run.tags.items() if k.startswith(PUBLIC) and k != PUBLISHED},
        "params": run.params,
        "metrics": run.metrics,
        "specs": {name: read_json(record, run, name) for name in SPECS if name in files},
    }


def read_json(record: Record, run: RunInfo, name: str) -> Any:
    """An artifact of a run that is JSON."""
    return json.loads(record.download(run.run_id, name).read_text(encoding="utf-8"))


def place(tags: Mapping[str, str]) -> tuple[str, str]:
    """Of a session: the numbers of its trial and of itself."""
    return tags["slm.trial"], tags["slm.session"]


def gathered(record: Record, sessions: Iterable[RunInfo]) -> pd.DataFrame:
    """The rows of sessions one below the other, digit by digit as they were recorded."""
    tables = []
    for session in sessions:
        try:
            stored = record.download(session.run_id, TABLE)
        except UsageError:  # it ended before its first row
            continue
        rows = pd.read_csv(stored, dtype=str, keep_default_na=False)
        for index, (column, number) in enumerate(zip(PLACE, place(session.tags))):
            rows.insert(index, column, number)
        tables.append(rows)
    return pd.concat(tables, ignore_index=True).fillna("") if tables else pd.DataFrame(columns=PLACE)


def rows_of(table: pd.DataFrame, tags: Mapping[str, str]) -> pd.DataFrame:
    """The rows of one session out of ``gathered``, without columns in which it has nothing."""
    mine = table[(table[PLACE] == place(tags)).all(axis=1)].drop(columns=PLACE)
    return mine.loc[:, (mine != "").any(axis=0)]


def number_table(table: pd.DataFrame, tags: Mapping[str, str]) -> pd.DataFrame:
    """The rows of one session as numbers, as graphs take them; the hashes of states are left out."""
    rows = rows_of(table, tags).drop(columns="state", errors="ignore")
    return rows.apply(pd.to_numeric, errors="coerce")
