"""Means with honest intervals, for the few seeds of a trial and the episodes of a replay.

With 4 seeds a bootstrap "95 %" interval of the mean covers about 80 %; Student's t covers 95 % of
normal samples, so the lab shows t-intervals. One value has no interval: its bounds are NaN.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

CONFIDENCE = 0.95


class Summary(NamedTuple):
    """A sample in a few numbers; NaN where the sample is too small to say."""

    n: int
    mean: float
    ci_low: float  # 95 % t-interval of the mean
    ci_high: float
    std: float  # sample standard deviation, n - 1 in the denominator
    iqm: float  # mean of the middle half: a quarter of the sample, rounded down, is cut at each end
    min: float
    max: float


def summarize(values: ArrayLike) -> Summary:
    """Describes a sample ``[n]``. A NaN in it makes every number but ``n`` NaN."""
    x = np.asarray(values, dtype=float)
    if x.size == 0:
        return Summary(0, *[math.nan] * 7)
    mean = float(x.mean())
    std = float(x.std(ddof=1)) if x.size > 1 else math.nan
    half = float(t_half_width(std, x.size))
    iqm = _middle_mean(x) if not math.isnan(mean) else math.nan
    return Summary(x.size, mean, mean - half, mean + half, std, iqm, float(x.min()), float(x.max()))


def t_half_width(std: Any, n: Any) -> Any:
    """Half the width of the 95 % t-interval of a mean: ``t(0.975, n - 1) · std / √n``.

    ``std`` and ``n`` are numbers, arrays or Series of one shape; NaN where ``n`` is 1.
    """
    return stdtrit(n - 1, (1 + CONFIDENCE) / 2) * std / np.sqrt(n)


def _middle_mean(x: np.ndarray) -> float:
    cut = x.size // 4
    return float(np.sort(x)[cut : x.size - cut].mean())
