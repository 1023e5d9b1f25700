"""How the rows of an environment stand: against its target, and against SLM Lab's published scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from slm_lightning.lab.baselines import reward_threshold
from slm_lightning.lab.benchmark.results import RowResult, read
from slm_lightning.lab.benchmark.searches import KeptSearch, read_search
from slm_lightning.lab.benchmark.sets import BenchmarkSet, Row
from slm_lightning.lab.report.known_scores import KnownScore, known_scores, target_of


@dataclass(frozen=True, eq=False)
class Entry:
    """A row with its result."""

    row: Row
    kept: RowResult | None
    """What the record has of it, be it of another setting."""
    target: float | None
    search: KeptSearch | None = None
    """How its setting was found."""

    @cached_property
    def result(self) -> RowResult | None:
        """What counts: that of the row's setting as it is now."""
        return self.kept if self.kept and self.kept.key == self.row.key else None

    @property
    def score(self) -> float:
        """The mean ``total_reward_ma``; NaN where the row has none, or not of all its sessions."""
        whole = self.result is not None and self.result.is_whole
        return self.result.scalars["score"] if self.result and whole else math.nan

    @property
    def published(self) -> KnownScore | None:
        """SLM Lab's score of this algorithm in this environment."""
        return known_scores().get(self.row.environment, {}).get(self.row.algorithm)

    @property
    def reached(self) -> bool | None:
        """Whether the score is at least the target; None where one of both is not there."""
        return None if self.target is None or math.isnan(self.score) else self.score >= self.target

    @property
    def beside(self) -> str:
        """How the score stands beside SLM Lab's after as many frames: ``above`` or ``below`` with its
        whole interval, ``higher`` or ``lower`` where the interval contains it, or there is none; empty
        where there is nothing to compare."""
        if self.published is None or self.result is None or math.isnan(self.score):
            return ""
        if self.published.frames != self.row.spec.env.max_frame:
            return ""
        low, high = (self.result.scalars[f"score_ci_{end}"] for end in ("low", "high"))
        if self.score >= self.published.score:
            return "above" if low >= self.published.score else "higher"
        return "below" if high < self.published.score else "lower"

    @property
    def comes_up(self) -> bool:
        """Whether the score is at least SLM Lab's after as many frames: those are shown in bold."""
        return self.beside in ("above", "higher")


@dataclass(frozen=True)
class Environment:
    """The rows of all sets in one environment."""

    name: str
    target: float | None
    asks: str
    """Who asks for the target."""
    entries: tuple[Entry, ...]


def environments(sets: Sequence[BenchmarkSet], folder: Path) -> dict[str, Environment]:
    """All of them by name, in the order of the sets; ``folder`` holds the compact record."""
    rows: dict[str, list[Row]] = {}
    for row in (row for each in sets for row in each.rows):
        rows.setdefault(row.environment, []).append(row)
    return {name: _environment(name, group, folder) for name, group in rows.items()}


def _environment(name: str, rows: Sequence[Row], folder: Path) -> Environment:
    target, asks = target_of(name), "SLM Lab asks for"
    if target is None:
        target, asks = reward_threshold(name), "Gymnasium counts it as solved at"
    entries = tuple(Entry(row, read(row, folder), target, read_search(row, folder)) for row in rows)
    return Environment(name, target, asks, entries)
