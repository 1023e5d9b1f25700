"""The dimensions of a search as the axes of a graph: where a value lies, and what stands beside it."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

from slm_lightning.lab.report.findings import TrialFinding, place
from slm_lightning.spec.dimension import GOLDEN, Dimension
from slm_lightning.spec.wording import shown

LABEL = 14
"""Characters of a name or an option for which an axis has room."""


def positions(
    dimension: Dimension, trials: Sequence[TrialFinding], spread: float = 0.0
) -> list[float | None]:
    """Where on the dimension's axis each trial lies; None where it was not drawn. Options lie at their
    places 0, 1, …, up to half of ``spread`` beside them, so that trials with the same one show."""
    found: list[float | None] = []
    for trial in trials:
        if dimension.path not in trial.drawn:
            found.append(None)
        elif dimension.kind == "choice":
            beside = spread * (trial.number * GOLDEN % 1 - 0.5)
            found.append(place(trial.drawn[dimension.path], dimension) + beside)
        else:
            found.append(float(trial.drawn[dimension.path]))
    return found


def ends(dimension: Dimension) -> tuple[float, float]:
    """Both ends of the axis: logarithms to base 10, or places of options, where it has those."""
    if dimension.kind == "choice":
        return 0.0, len(dimension.choices) - 1.0
    low, high = float(dimension.low), float(dimension.high)
    return (math.log10(low), math.log10(high)) if dimension.log else (low, high)


def x_axis(dimension: Dimension) -> dict[str, Any]:
    """The axis as plotly takes it, with a little room at both ends."""
    low, high = ends(dimension)
    if dimension.kind == "choice":
        options = [plain(brief(option)) for option in dimension.choices]
        span = [low - 0.5, high + 0.5]
        return {"tickvals": list(range(len(options))), "ticktext": options, "range": span}
    room = 0.04 * (high - low) or 0.04 * abs(high) or 0.04
    axis: dict[str, Any] = {"range": [low - room, high + room]}
    if not dimension.log:
        return axis | {"nticks": 5}
    decades = high - low > 1.2
    return axis | {"type": "log", "dtick": 1 if decades else "D2", "exponentformat": "power"}


def brief(value: Any, limit: int = LABEL) -> str:
    """A name, or an option as JSON, cut where an axis has no room for it."""
    text = value if isinstance(value, str) else shown(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def plain(text: str) -> str:
    """Text that plotly is to show as it is: it reads a few HTML tags."""
    return html.escape(text, quote=False)
