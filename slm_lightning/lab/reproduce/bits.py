"""Two records of one session, compared number by number."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

CLOCK = ("wall_t", "fps", "time")
"""Columns that measure the machine and not the experiment."""
STATE = "state"
"""Column of the hashes: ``block:hash``."""


class Difference(NamedTuple):
    """A column of a row in which two records are not the same."""

    column: str
    then: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.column} {self.then!r} -> {self.now!r}"


@dataclass(frozen=True)
class Comparison:
    """What the rows that both records have show."""

    rows: int
    """Rows that were compared, up to the first that differs."""
    numbers: int
    hashes: int
    parted: list[Difference]
    """The columns of the first row that differs; empty where none does."""
    frame: int | None = None
    """Of that row."""
    block: int | None = None
    """The round that wrote that row, where hashes were recorded."""
    missing: str = ""
    """What one record has and the other lacks."""

    @property
    def identical(self) -> bool:
        return not self.parted and not self.missing

    @property
    def where(self) -> str:
        """The first row that differs."""
        block = f"block {self.block}, " if self.block is not None else ""
        return f"{block}frame {self.frame}"

    def to_dict(self) -> dict[str, Any]:
        """The same for programs; ``block``, ``frame`` and so on of the first row that differs."""
        return {
            "numbers": self.numbers,
            "hashes": self.hashes,
            "parted": {d.column: [d.then, d.now] for d in self.parted},
            "parted_at": {"block": self.block, "frame": self.frame} if self.parted else None,
            "missing": self.missing,
        }


def compare(
    then: pd.DataFrame, now: pd.DataFrame, ended_early: bool, evaluated: Collection[int] = ()
) -> Comparison:
    """Compares a recorded table with that of a repetition; where the recorded session ``ended_early``
    the repetition may go on behind it. At the frames ``evaluated`` only one of both was evaluated."""
    then, now = (table.set_index("frame").sort_index() for table in (then, now))
    frames = then.index.intersection(now.index)
    known = [set(table.loc[frames].dropna(axis=1, how="all")) - set(CLOCK) for table in (then, now)]
    columns = [c for c in then if c in known[0] & known[1]]
    missing = ", ".join(sorted(known[0] ^ known[1]))
    numbers = hashes = 0
    for count, frame in enumerate(frames):
        shared = [c for c in columns if not (frame in evaluated and c.startswith("eval/"))]
        old, new = then.loc[frame, shared], now.loc[frame, shared]
        differs = [c for c in shared if not _same(old[c], new[c])]
        if differs:
            return Comparison(
                *(count, numbers, hashes),
                parted=[Difference(c, _plain(old[c]), _plain(new[c])) for c in differs],
                frame=int(frame),
                block=_round(then, int(frame)),
            )
        hashed = int(STATE in columns and pd.notna(old[STATE]))
        hashes += hashed
        numbers += int(old.notna().sum()) - hashed
    lost = [f for f in then.index if f not in now.index]
    extra = [] if ended_early else [f for f in now.index if f not in then.index]
    if lost or extra:
        who, frame = ("the repetition", lost[0]) if lost else ("the record", extra[0])
        missing = f"{who} has no row at frame {frame}"
    elif missing:
        missing = f"only one of both has the columns {missing}"
    return Comparison(len(frames), numbers, hashes, [], missing=missing)


def _round(rows: pd.DataFrame, frame: int) -> int | None:
    """The round that wrote the row of ``frame``: the last row of a round carries its state. None where
    that cannot be told, since no states, or only the last of a session, were recorded."""
    states = rows[STATE].dropna() if STATE in rows else pd.Series(dtype=str)
    behind = states.loc[frame:]
    return int(behind.iloc[0].split(":")[0]) if len(behind) and len(states) > 1 else None


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) or bool(pd.isna(one) and pd.isna(other))


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
