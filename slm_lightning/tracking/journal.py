"""The journal of a session: ``metrics.jsonl``, one JSON object a line, appended by the session alone.

A row holds ``frame`` (its step), ``time`` (Unix seconds when it was written; without it, the time of
the last change of the file counts) and metrics by name. Values that are no finite number (null, NaN,
a hash) stay in the journal and are not sent to MLflow.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

JOURNAL = "metrics.jsonl"
FRAME, TIME = "frame", "time"
ALWAYS = frozenset({"total_reward", "total_reward_ma"})
"""Metrics that are sent from every row, even where they did not change."""
EVALUATED = "eval/"
"""Metrics with this beginning belong to the row that they stand in, not to its round."""
BATCH = 1000
"""Values in one request; MLflow takes no more."""


class Point(NamedTuple):
    """One value of a metric: at ``frame``, written at ``time`` (Unix seconds)."""

    key: str
    value: float
    frame: int
    time: float


class Line(NamedTuple):
    """A complete line of a journal, the byte offset of its end, and when the file was last changed."""

    text: str
    end: int
    changed: float


@dataclass(frozen=True)
class Cursor:
    """How far a journal is delivered.

    Rows are counted, so that a session that goes back to a checkpoint and writes the same rows again
    sends none of them twice. ``offset`` is where to read on, as long as ``line``, the last delivered
    one, still ends there.

    A value that repeats itself is held back; the last of its equals is sent before the next change,
    so that curves drawn through the points are those of the full journal, in which what several rows
    of one moment say stands in the last of them.
    """

    rows: int = 0
    offset: int = 0
    line: str = ""
    latest: dict[str, Point] = field(default_factory=dict)
    held: frozenset[str] = frozenset()

    @classmethod
    def load(cls, path: Path) -> Cursor:
        """The cursor in ``path``; the start of the journal where there is none."""
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return cls()
        latest = {key: Point(*point) for key, point in state.pop("latest").items()}
        return cls(latest=latest, held=frozenset(state.pop("held")), **state)

    def save(self, path: Path) -> None:
        """Writes the cursor in one step: a reader sees the old one or the new one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".new")
        aside.write_text(json.dumps({**vars(self), "held": sorted(self.held)}), encoding="utf-8")
        os.replace(aside, path)

    def advance(self, line: Line, found: Iterable[Point]) -> tuple[Cursor, list[Point]]:
        """The cursor behind ``line``, and which of the points ``found`` in it are to be sent."""
        latest, held, points = dict(self.latest), set(self.held), []
        for point in found:
            before = latest.get(point.key)
            latest[point.key] = point
            if before and before.value == point.value and point.key not in ALWAYS:
                held.add(point.key)
                continue
            if before and point.key in held:
                points.append(before)
                held.remove(point.key)
            points.append(point)
        return Cursor(self.rows + 1, line.end, line.text, latest, frozenset(held)), points

    def flush(self) -> tuple[Cursor, list[Point]]:
        """The cursor with nothing held back, and the points that were."""
        return replace(self, held=frozenset()), [self.latest[key] for key in sorted(self.held)]


def unread(path: Path, cursor: Cursor) -> list[Line]:
    """The complete lines of the journal ``path`` behind ``cursor``. A last line without its end is
    still being written, or was when its writer died, and is left out."""
    try:
        with path.open("rb") as file:
            changed = os.fstat(file.fileno()).st_mtime
            last = f"{cursor.line}\n".encode() if cursor.rows else b""
            start = cursor.offset - len(last)
            file.seek(max(start, 0))
            if start >= 0 and file.read(len(last)) == last:
                return _lines(file.read(), cursor.offset, changed)
            file.seek(0)
            return _lines(file.read(), 0, changed)[cursor.rows :]
    except FileNotFoundError:
        return []


def batches(lines: Sequence[Line], cursor: Cursor, final: bool) -> Iterator[tuple[list[Point], Cursor]]:
    """``lines`` cut into requests: the points of one, and the cursor once they are delivered. With
    ``final``, held values are sent too, so that every curve ends where the journal does."""
    batch: list[Point] = []
    behind = cursor
    rows = [_parse(line.text) for line in lines]
    for line, row, following in zip(lines, rows, [*rows[1:], {}]):
        ahead, points = behind.advance(line, _points(_said_once(row, following), line.changed))
        if batch and len(batch) + len(points) > BATCH:
            yield batch, behind
            batch = []
        behind = ahead
        batch += points
    if final:
        behind, points = behind.flush()
        batch += points
    if behind != cursor:
        yield batch, behind


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Every complete row of the journal ``path``."""
    return [row for line in unread(path, Cursor()) if (row := _parse(line.text))]


def rows_of(points: Iterable[Point]) -> pd.DataFrame:
    """The rows that ``points`` were sent for: one per frame, ascending, in columns ``frame`` and the
    metrics, with the values that were held back or sent from the last row of a round."""
    points = list(points)
    columns: dict[str, dict[int, float]] = {}
    times: dict[int, float] = {}
    for point in points:
        columns.setdefault(point.key, {})[point.frame] = point.value
        times[point.frame] = min(point.time, times.get(point.frame, point.time))
    alone = {point.key for point in points if point.time > times[point.frame]}  # said of all at the end
    table = pd.DataFrame({key: pd.Series(column, dtype=float) for key, column in columns.items()})
    table = table.sort_index()
    rounds = pd.Series(times, dtype=float).sort_index()
    shared = [key for key in table if key not in ALWAYS | alone and not key.startswith(EVALUATED)]
    table[shared] = table[shared].groupby(rounds).bfill()
    table = table.ffill().where(table.bfill().notna())
    return table.rename_axis(FRAME).reset_index()


def _lines(data: bytes, offset: int, changed: float) -> list[Line]:
    lines = []
    for raw in data.split(b"\n")[:-1]:
        offset += len(raw) + 1
        lines.append(Line(raw.decode("utf-8", "replace"), offset, changed))
    return lines


def _parse(text: str) -> dict[str, Any]:
    """A row; empty where a crash left half a line."""
    try:
        row = json.loads(text)
    except ValueError:
        return {}
    return row if isinstance(row, dict) and FRAME in row else {}


def _said_once(row: dict[str, Any], following: dict[str, Any]) -> dict[str, Any]:
    """``row`` without what the next one of its round repeats. The rows of a round are written at one
    time, at its end, when its metrics are measured: they belong to the last row. A row that sends no
    score says all, or it might leave no trace."""
    scored = any(_is_sent(row.get(key)) for key in ALWAYS)
    if TIME not in row or row[TIME] != following.get(TIME) or not scored:
        return row
    return {
        key: value
        for key, value in row.items()
        if key in (FRAME, TIME, *ALWAYS) or key.startswith(EVALUATED) or value != following.get(key)
    }


def _points(row: dict[str, Any], changed: float) -> Iterator[Point]:
    for key, value in row.items():
        if key not in (FRAME, TIME) and _is_sent(value):
            yield Point(key, float(value), int(row[FRAME]), row.get(TIME, changed))


def _is_sent(value: Any) -> bool:
    """Whether MLflow takes ``value`` for a metric."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
