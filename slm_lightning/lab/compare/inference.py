"""What a few seeds say: a sample in numbers, the difference of two, and what they could have shown.

The unit is one seed's score; a sample is an array ``[..., n]`` of ``n`` seeds, and leading axes are
independent comparisons. docs/statistics.md says why these methods, and how often each is right.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from slm_lightning.lab.stats import CONFIDENCE, summarize

MIN_SEEDS = 5
"""Seeds on each side below which nothing is claimed: 4 against 4 cannot tell failures from chance."""
MIN_SEEDS_IQM = 8
"""Seeds from which the bootstrap interval of an interquartile mean covers what it says."""
ALPHA = 0.05
POWER = 0.8
EXACT = 200_000
"""Splits of two samples up to which a permutation test looks at every one: 10 seeds against 10."""
RESAMPLES = 20_000
MOST_SEEDS = 10_000

Floats = NDArray[np.float64]


class Description(NamedTuple):
    """One sample. NaN where it is too small to say."""

    n: int
    mean: float
    ci_low: float  # 95 % t-interval of the mean
    ci_high: float
    std: float
    iqm: float
    iqm_low: float  # 95 % percentile bootstrap interval, from 8 seeds on
    iqm_high: float
    worst: float
    worst_quarter: float  # mean of the lowest quarter, rounded up
    covered: float  # with 95 % confidence at least this share of future seeds is between min and max


def describe(values: ArrayLike) -> Description:
    """Describes a sample ``[n]``."""
    x = np.sort(np.asarray(values, dtype=float))
    summary = summarize(x)
    iqm = iqm_interval([x]) if summary.n >= MIN_SEEDS_IQM else (math.nan, math.nan)
    worst_quarter = float(x[: math.ceil(summary.n / 4)].mean()) if summary.n else math.nan
    several = summary.n > 1
    return Description(
        *(summary.n, summary.mean, summary.ci_low, summary.ci_high, summary.std),
        *(summary.iqm, *iqm),
        *(summary.min, worst_quarter),
        covered=float(stats.beta.ppf(ALPHA, summary.n - 1, 2)) if several else math.nan,
    )


def iqm_interval(samples: Sequence[ArrayLike], resamples: int = RESAMPLES) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the interquartile mean of all values together, each sample
    ``[n]`` resampled on its own (stratified: Agarwal et al. 2021). The same samples give the same."""

    def iqm(*parts: Floats, axis: int) -> Floats:
        return stats.trim_mean(np.concatenate(parts, axis=axis), 0.25, axis=axis)

    found = stats.bootstrap(
        tuple(np.asarray(sample, dtype=float) for sample in samples),
        iqm,
        n_resamples=resamples,
        confidence_level=CONFIDENCE,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    low, high = found.confidence_interval
    return float(low), float(high)


class Welch(NamedTuple):
    """The difference of two means, with Welch's interval; NaN where a side has one seed."""

    difference: Floats
    ci_low: Floats
    ci_high: Floats
    error: Floats  # standard error of the difference
    df: Floats  # Welch-Satterthwaite degrees of freedom


def welch(x: Floats, y: Floats) -> Welch:
    """mean(y) - mean(x) of samples ``[..., n]`` and ``[..., m]``, which may differ in variance. Two
    samples without any spread have an interval without width."""
    n, m = x.shape[-1], y.shape[-1]
    difference = y.mean(-1) - x.mean(-1)
    if min(n, m) < 2:
        unknown = np.full_like(difference, math.nan)
        return Welch(difference, unknown, unknown, unknown, unknown)
    a, b = x.var(-1, ddof=1) / n, y.var(-1, ddof=1) / m
    terms = a**2 / (n - 1) + b**2 / (m - 1)
    df = np.divide((a + b) ** 2, terms, out=np.full_like(terms, n + m - 2.0), where=terms > 0)
    error = np.sqrt(a + b)
    half = stats.t.ppf(1 - ALPHA / 2, df) * error
    return Welch(difference, difference - half, difference + half, error, df)


def permutation_p(x: Floats, y: Floats) -> Floats:
    """How often seeds dealt out at random differ in their means at least as much as these, in either
    direction. Exact up to 200 000 splits, else from 20 000 random ones, this one among them."""
    n = x.shape[-1]
    pooled = np.concatenate([x, y], axis=-1)
    pooled = pooled - pooled.mean(-1, keepdims=True)
    sums = np.abs(pooled @ _splits(n, y.shape[-1]).T)  # the difference is (1/n + 1/m) of it
    seen = np.abs(pooled[..., :n].sum(-1, keepdims=True))
    rounding = 1e-9 * np.abs(pooled).sum(-1, keepdims=True)
    return (sums >= seen - rounding).mean(-1)


@lru_cache(maxsize=4)
def _splits(n: int, m: int) -> Floats:
    """Ways to deal ``n + m`` seeds to two sides, ``[ways, n + m]``: 1 for those of the first."""
    if math.comb(n + m, n) <= EXACT:
        chosen = np.array(list(combinations(range(n + m), n)))
    else:
        places = np.tile(np.arange(n + m), (RESAMPLES, 1))
        places[1:] = np.random.default_rng(0).permuted(places[1:], axis=1)
        chosen = places[:, :n]
    splits = np.zeros((len(chosen), n + m))
    np.put_along_axis(splits, chosen, 1.0, axis=1)
    return splits


def direction(ci_low: ArrayLike, ci_high: ArrayLike, p: ArrayLike, seeds: int) -> NDArray[np.int_]:
    """1 where a difference is shown to be positive, -1 negative, 0 neither: ``seeds`` on the smaller
    side at least 5, 0 outside Welch's interval, and the permutation ``p`` (adjusted, where several were
    made) below .05. NaN bounds show nothing."""
    above, below = np.asarray(ci_low) > 0, np.asarray(ci_high) < 0
    shown = (seeds >= MIN_SEEDS) & (np.asarray(p) < ALPHA)
    return np.where(shown, above.astype(int) - below.astype(int), 0)


def holm(ps: Sequence[float]) -> list[float]:
    """p-values of several comparisons, adjusted so that one false claim among all of them has the
    probability it says (Holm 1979)."""
    adjusted, largest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = largest
    return adjusted


class Improvement(NamedTuple):
    """Probability that a seed of y scores higher than a seed of x, ties half, with 95 % interval."""

    probability: float
    ci_low: float
    ci_high: float


def improvement(x: Floats, y: Floats) -> Improvement:
    """The Mann-Whitney statistic as a share, with Newcombe's score interval (2006, method 5), which
    has a width also where every seed of one side beats every seed of the other."""
    n, m = len(x), len(y)
    share = float(stats.mannwhitneyu(y, x).statistic / (n * m))
    low, high = _score_bound(share, n, m), 1 - _score_bound(1 - share, n, m)
    return Improvement(share, low, high)


def _score_bound(share: float, n: int, m: int) -> float:
    """The least probability from which ``share`` is not further than 1.96 standard errors."""
    z, others = stats.norm.ppf(1 - ALPHA / 2), (n + m) / 2 - 1

    def excess(p: float) -> float:
        spread = 1 + others * ((1 - p) / (2 - p) + p / (1 + p))
        return (share - p) ** 2 - z**2 * p * (1 - p) * spread / (n * m)

    return float(optimize.brentq(excess, 0.0, min(share, 1 - 1e-12))) if share > 0 else 0.0


def power(effect: float, df: float) -> float:
    """Chance that a two-sided t-test at 5 % finds a difference of ``effect`` > 0 standard errors."""
    # the square of a noncentral t; SciPy's own noncentral t loses its small tail to NaN
    return float(stats.ncf.sf(stats.f.ppf(CONFIDENCE, 1, df), 1, df, effect**2))


def detectable(found: Welch) -> float:
    """The smallest difference that these samples would show in 80 % of repetitions, were their
    deviations the true ones; NaN where a side has one seed."""
    if math.isnan(found.df):
        return math.nan
    df = float(found.df)
    effect = optimize.brentq(lambda effect: power(effect, df) - POWER, 0.1, 50.0)
    return float(effect * found.error)


def seeds_needed(x: Floats, y: Floats) -> int | None:
    """Seeds on each side that would show the difference of these samples in 80 % of repetitions, were
    it and their deviations the true ones; None where a side has one seed, where there is no difference,
    and above 10 000."""
    difference = abs(float(y.mean() - x.mean()))
    if min(len(x), len(y)) < 2 or difference == 0:
        return None
    deviation = math.sqrt((x.var(ddof=1) + y.var(ddof=1)) / 2)

    def enough(n: int) -> bool:
        error = deviation * math.sqrt(2 / n)
        return difference > 10 * error or power(difference / error, 2 * n - 2) >= POWER

    sizes = range(MIN_SEEDS, MOST_SEEDS + 1)
    place = bisect_left(sizes, True, key=enough)
    return sizes[place] if place < len(sizes) else None
