"""A row of the result pages, run again from what lies beside the pages: no run of it need be here."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from slm_lightning.errors import IntegrityError
from slm_lightning.lab.benchmark.results import RowResult, from_record, read_file
from slm_lightning.lab.changes import Recorded
from slm_lightning.lab.reproduce.bits import STATE
from slm_lightning.lab.reproduce.original import DOUBTS, Original, Place, Tables, Then
from slm_lightning.lab.reproduce.reproduction import Reproduction, Say, make_again
from slm_lightning.tracking import Record, RunInfo


def is_kept(path: Path) -> bool:
    """Whether this is the file of a row in a compact record."""
    if path.suffix != ".json" or not path.with_name(f"{path.stem}.csv").is_file():
        return False
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and {"spec", "commit", "sessions"} <= set(facts)


def reproduce_row(path: Path, here: bool, device: str, say: Say) -> Reproduction:
    """Runs the row kept in ``path`` again and compares what is kept of it: scores, evaluations and the
    hash of the last state of each session, in which all before it is contained.

    Raises as :func:`make_again` does, and IntegrityError where the files are not those of a row.
    """
    try:
        result = read_file(path)
        then = _then(result)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise IntegrityError(
            f"{path} and the table beside it are not what a row is kept in: {error}",
            "git checkout brings them back; slm-lightning benchmark page writes those of runs here",
        ) from error
    with tempfile.TemporaryDirectory(prefix="slm-lightning-row-") as folder:
        spec = Path(folder) / "spec.json"
        spec.write_text(json.dumps(result.spec), encoding="utf-8")
        original = Original(
            name=f"{path.parent.name}/{path.stem}",
            run_id=result.run_id,
            kind="trial",
            spec=spec,
            commit=result.commit,
            diff=None,
            whole=not result.dirty,
            recorded=Recorded(dict(result.packages), dict(result.machine)),
            confirm=0,
            doubt=DOUBTS.get(result.exact, ""),
            sessions=then,
            origin="",
            read=_repeated,
        )
        return make_again(original, here, device, say)


def _then(result: RowResult) -> dict[Place, Then]:
    statuses = [session.status for session in result.sessions]
    return {
        place: Then(rows, ended_early=statuses[place.session] != "done", evaluated=[])
        for place, rows in _tables(result).items()
    }


def _repeated(record: Record, run: RunInfo) -> Tables:
    return _tables(from_record(record, run))


def _tables(result: RowResult) -> Tables:
    """The rows of each session, the last with the state in which the session ended."""
    tables = {}
    for number, (session, table) in enumerate(zip(result.sessions, result.tables, strict=True)):
        ends = table.index == len(table) - 1
        states = [session.state if end and session.state else None for end in ends]
        tables[Place(None, number)] = table.assign(**{STATE: states})
    return tables
