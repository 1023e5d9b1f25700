"""Methods over several environments: their normalised scores in one number and one profile.

A score is normalised to 0 for the random policy and 1 for the best mean among the compared runs in that
environment, so the scale is that of this comparison and of no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from slm_lightning.lab.compare.inference import (
    MIN_SEEDS,
    MIN_SEEDS_IQM,
    improvement,
    iqm_interval,
)
from slm_lightning.lab.compare.runs import RETURNS, Contender


@dataclass(frozen=True, eq=False)
class Method:
    """What one method came to in all environments."""

    name: str
    scores: dict[str, NDArray[np.float64]]
    """Normalised scores of its seeds, ``[n]`` by environment."""
    iqm: float
    """Interquartile mean of all of them, each seed counted once."""
    iqm_low: float
    """95 % stratified bootstrap interval; NaN below 5 seeds in an environment or 8 in all."""
    iqm_high: float
    improvement: float
    """Probability that one of its seeds scores higher than one of the first method's in the same
    environment, mean over environments."""

    def profile(self, thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Share of seeds above each threshold, mean over environments (a performance profile)."""
        shares = [(scores > thresholds[:, None]).mean(axis=1) for scores in self.scores.values()]
        return np.mean(shares, axis=0)


@dataclass(frozen=True, eq=False)
class Overall:
    """The methods, each with a run in every environment; or why they cannot be put together."""

    scales: dict[str, tuple[float, float]]
    """By environment the scores that count as 0 and as 1."""
    methods: tuple[Method, ...]
    reason: str = ""


def overall(contenders: Sequence[Contender], metric: str) -> Overall | None:
    """Puts the environments together; None where there is only one environment or one method."""
    environments = list(dict.fromkeys(c.environment for c in contenders))
    names = list(dict.fromkeys(c.method for c in contenders))
    if min(len(environments), len(names)) < 2:
        return None
    if reason := _hindrance(contenders, environments, names, metric):
        return Overall({}, (), reason)
    by_place = {(c.method, c.environment): c for c in contenders}
    scales = {}
    for environment in environments:
        there = [by_place[name, environment] for name in names]
        zero = next(c.random for c in there if c.random is not None)
        one = max(float(c.values.mean()) for c in there)
        if one <= zero:
            return Overall({}, (), f"no run is better than the random policy in {environment}")
        scales[environment] = zero, one
    scores = {
        name: {
            environment: (by_place[name, environment].values - zero) / (one - zero)
            for environment, (zero, one) in scales.items()
        }
        for name in names
    }
    first = scores[names[0]]
    return Overall(scales, tuple(_method(name, scores[name], first) for name in names))


def _hindrance(
    contenders: Sequence[Contender], environments: list[str], names: list[str], metric: str
) -> str:
    """Why there is no common scale; empty where there is one."""
    if metric not in RETURNS:
        return f"{metric} is not a return, so it has no common scale"
    for environment in environments:
        there = [c for c in contenders if c.environment == environment]
        for name in names:
            runs = sum(c.method == name for c in there)
            if runs != 1:
                many = "has no run" if runs == 0 else f"has {runs} runs"
                return f"{name} {many} in {environment}; say which belong together, as NAME=RUN_ID"
        if len({c.max_frame for c in there}) > 1:
            return f"the runs in {environment} have different numbers of frames"
        if all(c.random is None for c in there):
            return f"the record does not say what the random policy scores in {environment}"
    lacking = next((c for c in contenders if c.missing), None)
    return f"seeds of {lacking.label} are missing" if lacking else ""


def _method(
    name: str, scores: dict[str, NDArray[np.float64]], first: dict[str, NDArray[np.float64]]
) -> Method:
    samples = list(scores.values())
    enough = min(map(len, samples)) >= MIN_SEEDS and sum(map(len, samples)) >= MIN_SEEDS_IQM
    low, high = iqm_interval(samples) if enough else (np.nan, np.nan)
    chances = [improvement(first[env], mine).probability for env, mine in scores.items()]
    iqm = float(stats.trim_mean(np.concatenate(samples), 0.25))
    return Method(name, scores, iqm, low, high, float(np.mean(chances)))
