"""Settings laid out in advance: the grid, and points that fill a space evenly. Which is the n-th is a
function of the space, a seed and n alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import qmc

from slm_lightning.spec.space import Dimension, Space


def grid_point(space: Space, seed: int, number: int) -> dict[str, Any]:
    """The setting ``number`` of the grid, whose order is shuffled by ``seed``, so that a search cut
    short has seen something of everything. Raises IndexError behind the last one."""
    points: list[dict[str, Any]] = [{}]
    for dimension in space.dimensions:
        points = [
            {**point, dimension.path: value} if dimension.active(point) else point
            for point in points
            for value in (values_of(dimension) if dimension.active(point) else [None])
        ]
    order = np.random.default_rng(seed).permutation(len(points))
    return points[order[number]]


def values_of(dimension: Dimension) -> list[Any]:
    """Every value of a dimension that has finitely many."""
    if dimension.kind == "choice":
        return list(dimension.choices)
    assert dimension.step is not None and dimension.size is not None
    return [dimension.finish(dimension.low + i * dimension.step) for i in range(dimension.size)]


def quasi_random_point(space: Space, seed: int, number: int) -> dict[str, Any]:
    """The setting ``number`` of a scrambled Sobol sequence (Sobol, 1967; Owen, 1998)."""
    sequence = qmc.Sobol(len(space.dimensions), scramble=True, rng=np.random.default_rng(seed))
    (point,) = sequence.fast_forward(number).random(1) if number else sequence.random(1)
    drawn: dict[str, Any] = {}
    for dimension, u in zip(space.dimensions, point.tolist()):
        if dimension.active(drawn):
            drawn[dimension.path] = at(dimension, u)
    return drawn


def at(dimension: Dimension, u: float) -> Any:
    """The value at the share ``u`` in [0, 1) of a dimension."""
    if dimension.kind == "choice":
        return dimension.choices[int(u * len(dimension.choices))]
    if dimension.size is not None and dimension.step is not None and not dimension.log:
        return dimension.finish(dimension.low + int(u * dimension.size) * dimension.step)
    low, high = float(dimension.low), float(dimension.high)
    if dimension.kind == "int":
        low, high = low - 0.5, high + 0.5
    value = low * (high / low) ** u if dimension.log else low + u * (high - low)
    if dimension.kind == "int":
        value = min(max(round(value), dimension.low), dimension.high)
    return dimension.finish(value)
