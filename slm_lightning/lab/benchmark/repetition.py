"""A row of the result pages, run again from what lies beside the pages: no run of it need be here."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from slm_lightning.errors import UsageError
from slm_lightning.lab.benchmark.results import COLUMNS, RowResult, ended, read_file
from slm_lightning.lab.changes import Recorded
from slm_lightning.lab.reproduce.bits import STATE
from slm_lightning.lab.reproduce.original import DOUBTS, SETTLED, Original, Place, Told, rows_of
from slm_lightning.lab.reproduce.reproduction import Reproduction, Say, make_again
from slm_lightning.tracking import Record, RunInfo

FACTS = TypeAdapter(RowResult)
HASHED = re.compile(r"\d+:[0-9a-f]+")
"""A state: the round, and the hash behind it."""


def is_row_file(path: Path) -> bool:
    """Whether this is the first of the two files of a row in a compact record."""
    if path.suffix != ".json":
        return False
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and {"spec", "commit", "sessions"} <= set(facts)


def reproduce_row(path: Path, here: bool, device: str, say: Say) -> Reproduction:
    """Runs the row kept in ``path`` again and compares what is kept of it: scores, evaluations and the
    hash of the last state of each session, in which all before it is contained.

    Raises as :func:`make_again` does, and UsageError where the files are not those of a row.
    """
    path = path.resolve()
    name, result = f"{path.parent.name}/{path.stem}", kept_row(path)
    if result.dirty and not here:
        raise UsageError(
            f"{name} had uncommitted changes, which are not kept beside the pages",
            "reproduce its run where it was made, or add --here for the code of here",
        )
    with tempfile.TemporaryDirectory(prefix="slm-lightning-row-") as folder:
        spec = Path(folder) / "spec.json"
        spec.write_text(json.dumps(result.spec), encoding="utf-8")
        original = Original(
            name=name,
            run_id=result.run_id,
            kind="trial",
            spec=spec,
            commit=result.commit,
            diff=None,
            whole=True,
            recorded=Recorded(dict(result.packages), dict(result.machine)),
            confirm=0,
            doubt=DOUBTS.get(result.exact, ""),
            sessions=_sessions(result),
            origin="",
            again=_again,
        )
        return make_again(original, here, device, say)


def kept_row(path: Path) -> RowResult:
    """The row kept in ``path``. Raises UsageError where that is not what a row is kept in."""
    try:
        result = read_file(path)
        FACTS.validate_python(vars(result))
        faults = _faults(result, path)
    except ValidationError as error:
        first = error.errors()[0]
        faults = [f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        faults = [str(error)]
    if faults:
        raise UsageError(
            f"{path} and the table beside it are not what a row is kept in: {faults[0]}",
            "git checkout brings them back; slm-lightning benchmark page writes those of runs here",
        )
    return result


def _faults(result: RowResult, path: Path) -> list[str]:
    """What a repetition would only find out at its end."""
    meant, kept = result.spec["meta"]["max_session"], len(result.sessions)
    found = [] if kept == meant else [f"its spec has {meant} sessions, and {kept} are kept"]
    if path.with_suffix(".csv").read_text().count("\n") - 1 != sum(map(len, result.tables)):
        found.append("rows of the table belong to no session")
    for number, (session, table) in enumerate(zip(result.sessions, result.tables, strict=True)):
        frames = table["frame"]
        whole = pd.api.types.is_integer_dtype(frames) and frames.is_monotonic_increasing
        numeric = all(pd.api.types.is_numeric_dtype(table[column]) for column in COLUMNS)
        if not (len(table) and whole and frames.is_unique and numeric):
            found.append(f"session {number} has no rows of numbers in the order of their frames")
        if session.status not in SETTLED:
            found.append(f"session {number} was {session.status} before its end")
        if not HASHED.fullmatch(session.state):
            found.append(f"session {number} has no state")
    return found


def _sessions(result: RowResult) -> dict[Place, Told]:
    told = {}
    for number, (session, table) in enumerate(zip(result.sessions, result.tables, strict=True)):
        evaluated = table["frame"][table["eval/return"].notna()]
        former = evaluated[evaluated < table["frame"].iloc[-1]]  # ends of a trial that was extended
        told[Place(None, number)] = Told(_ending(table, session.state), session.status, set(former))
    return told


def _again(record: Record, run: RunInfo) -> dict[Place, Told]:
    told = {}
    for number, session in enumerate(record.children(run.run_id)):
        history = rows_of(record, session)
        state = history[STATE].iloc[-1] if STATE in history else None
        told[Place(None, number)] = Told(_ending(history, state), ended(session))
    return told


def _ending(table: pd.DataFrame, state: Any) -> pd.DataFrame:
    """The rows as they are kept, the last with the state in which the session ended."""
    rows = table.reindex(columns=COLUMNS)
    return rows.assign(**{STATE: [None] * (len(rows) - 1) + [state] * bool(len(rows))})
