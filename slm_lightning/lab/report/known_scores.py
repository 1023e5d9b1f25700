"""The best published scores by environment, for a search to be measured against.

``known_scores.json`` has for each environment the best of SLM Lab's benchmark: ``score`` is its
``total_reward_ma``, the mean of 4 sessions after ``frames`` frames. Left out is what says nothing:
returns below the least that a match of Tennis can bring, and returns of exactly 0.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).with_name("known_scores.json")


class KnownScore(NamedTuple):
    """A published mean score, which algorithm came to it, and after how many frames."""

    score: float
    algorithm: str
    frames: int


def best_known(environment: str) -> KnownScore | None:
    """The best published score in ``environment``; None where there is none."""
    return _table().get(environment)


@cache
def _table() -> dict[str, KnownScore]:
    return {name: KnownScore(**row) for name, row in json.loads(TABLE.read_text("utf-8")).items()}
