"""The statistics of comparisons against SciPy, printed tables and simulation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from slm_lightning.lab.compare.inference import (
    MIN_SEEDS,
    Welch,
    describe,
    detectable,
    direction,
    holm,
    improvement,
    iqm_interval,
    permutation_p,
    power,
    seeds_needed,
    welch,
)

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]

SEEDS: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(400, 50, shape),
    "bimodal": lambda rng, shape: np.where(rng.random(shape) < 0.3, 20, 450) + rng.normal(0, 20, shape),
    "lognormal": lambda rng, shape: rng.lognormal(4, 0.8, shape),
}
"""How the scores of an algorithm's seeds may be spread; of the bimodal ones 30 % fail."""

scores = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=6).map(np.array)


def directions(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The claim made of each pair of samples ``[S, n]`` and ``[S, m]``, a hundred at a time."""
    found = welch(x, y)
    ps = [permutation_p(x[i : i + 100], y[i : i + 100]) for i in range(0, len(x), 100)]
    fewest = min(x.shape[1], y.shape[1])
    return direction(found.ci_low, found.ci_high, np.concatenate(ps), fewest)


@given(scores, scores)
def test_difference_and_interval_are_those_of_scipys_welch_test(x, y):
    if min(x.std(), y.std()) < 1e-3:
        return
    test = stats.ttest_ind(y, x, equal_var=False)
    found = welch(x, y)
    assert found.difference == pytest.approx(y.mean() - x.mean())
    assert found.df == pytest.approx(test.df)
    interval = test.confidence_interval(0.95)
    assert (found.ci_low, found.ci_high) == pytest.approx((interval.low, interval.high))


def test_many_differences_at_once_are_those_one_by_one():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 5)), rng.normal(1, 2, size=(7, 6))
    together = welch(x, y), permutation_p(x, y)
    for i in range(7):
        assert welch(x[i], y[i]) == pytest.approx([values[i] for values in together[0]])
        assert permutation_p(x[i], y[i]) == together[1][i]


@pytest.mark.parametrize(("n", "m"), [(3, 3), (5, 5), (4, 7), (8, 8)])
def test_permutation_test_is_scipys_exact_one(n, m):
    rng = np.random.default_rng(n * m)
    for shift in (0.0, 1.0, 3.0):
        x, y = rng.normal(size=n), rng.normal(shift, 2, size=m)
        exact = stats.permutation_test(
            (x, y),
            lambda x, y, axis: np.abs(x.mean(axis) - y.mean(axis)),
            vectorized=True,
            n_resamples=20_000,
            alternative="greater",
        )
        assert permutation_p(x, y) == pytest.approx(exact.pvalue)


def test_smallest_p_is_that_of_the_most_extreme_of_all_splits():
    low = np.arange(5.0)
    assert permutation_p(low, low + 100) == pytest.approx(2 / math.comb(10, 5))


def test_permutations_of_many_seeds_are_drawn_and_always_the_same():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=15), rng.normal(0.7, 1, size=15)
    p = permutation_p(x, y)
    assert p == permutation_p(x, y)
    # its own limit for many seeds is the t-test; 4 standard errors of 20 000 draws
    assert p == pytest.approx(stats.ttest_ind(x, y).pvalue, abs=0.01)
    assert permutation_p(x, x + 100) == 1 / 20_000  # no split but the one seen is as extreme


def test_equal_seeds_of_both_sides_differ_by_nothing():
    same = np.full(5, 500.0)
    assert welch(same, same)[:4] == (0, 0, 0, 0)
    assert permutation_p(same, same) == 1
    assert seeds_needed(same, same) is None


def test_two_sides_without_spread_are_told_apart_from_five_seeds_on():
    for n, shown in ((4, 0), (5, -1)):
        x, y = np.full(n, 500.0), np.full(n, 480.0)
        found = welch(x, y)
        assert (found.difference, found.ci_low, found.ci_high) == (-20, -20, -20)
        assert direction(found.ci_low, found.ci_high, permutation_p(x, y), n) == shown
        assert detectable(found) == 0


def test_one_side_without_spread_leaves_the_degrees_of_freedom_of_the_other():
    x, y = np.full(6, 500.0), np.array([480.0, 500, 490, 470, 495])
    low, high = stats.t.interval(0.95, 4, loc=y.mean() - 500, scale=stats.sem(y))
    assert welch(x, y)[1:3] == pytest.approx((low, high))


def test_one_seed_has_no_interval_and_shows_nothing():
    x, y = np.array([1.0]), np.array([5.0, 6, 7, 8, 9])
    found = welch(x, y)
    assert found.difference == 6
    assert all(math.isnan(value) for value in found[1:])
    assert math.isnan(detectable(found))
    assert seeds_needed(x, y) is None
    assert direction(found.ci_low, found.ci_high, permutation_p(x, y), 1) == 0


@pytest.mark.parametrize(
    ("low", "high", "p", "seeds", "shown"),
    [
        *((1, 2, 0.01, 5, 1), (-2, -1, 0.01, 5, -1), (-1, 2, 0.01, 5, 0)),
        *((1, 2, 0.05, 5, 0), (1, 2, 0.01, 4, 0), (math.nan, math.nan, 0.01, 9, 0)),
    ],
)
def test_a_claim_takes_the_interval_the_test_and_the_seeds(low, high, p, seeds, shown):
    assert direction(low, high, p, seeds) == shown


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_probability_of_improvement_counts_ties_half():
    found = improvement(np.array([1.0, 2, 3]), np.array([2.0, 4]))
    assert found.probability == pytest.approx((1 + 0.5 + 0 + 1 + 1 + 1) / 6)


@given(scores, scores)
def test_interval_of_improvement_holds_it_and_is_the_same_seen_from_the_other_side(x, y):
    found, other = improvement(x, y), improvement(y, x)
    assert 0 <= found.ci_low <= found.probability <= found.ci_high <= 1
    assert found.ci_high - found.ci_low > 0.05  # a bootstrap of separate samples would say 0
    assert other == pytest.approx((1 - found.probability, 1 - found.ci_high, 1 - found.ci_low))


@pytest.mark.parametrize("n", [5, 8, 10])
@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0])
def test_interval_of_improvement_covers(n, shift):
    rng = np.random.default_rng(0)
    true = stats.norm.cdf(shift / math.sqrt(2))
    found = [improvement(rng.normal(size=n), rng.normal(shift, 1, n)) for _ in range(400)]
    assert np.mean([f.ci_low <= true <= f.ci_high for f in found]) > 0.92


def test_interval_of_the_interquartile_mean_covers():
    rng = np.random.default_rng(0)
    found = [iqm_interval([rng.normal(size=10)], resamples=1000) for _ in range(400)]
    assert 0.9 < np.mean([low <= 0 <= high for low, high in found]) < 0.97


def test_stratified_bootstrap_resamples_each_sample_by_itself():
    rng = np.random.default_rng(1)
    samples = [rng.normal(10 * i, 1, 8) for i in range(6)]
    parts = [sample[rng.integers(0, 8, (20_000, 8))] for sample in samples]
    means = stats.trim_mean(np.concatenate(parts, axis=1), 0.25, axis=1)
    assert iqm_interval(samples) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.02)
    assert iqm_interval(samples) == iqm_interval(samples)


@pytest.mark.parametrize(("effect", "seeds"), [(0.5, 64), (0.8, 26), (1.0, 17)])
def test_seeds_needed_are_those_of_cohens_tables(effect, seeds):
    x = np.array([-1.0, 0, 1])  # deviation 1
    assert seeds_needed(x, x + effect) == seeds


def test_seeds_needed_ends_at_both_sides():
    x = np.array([-1.0, 0, 1])
    assert seeds_needed(x, x + 100) == MIN_SEEDS
    assert seeds_needed(x, x - 1e-3) is None


@pytest.mark.parametrize("df", [1.0, 2.5, 8.0, 500.0])
def test_power_is_that_of_the_noncentral_t(df):
    critical = stats.t.ppf(0.975, df)
    for effect in (0.5, 2.0, 4.0):
        both = stats.nct.sf(critical, df, effect) + stats.nct.cdf(-critical, df, effect)
        assert power(effect, df) == pytest.approx(both, abs=1e-6)


@pytest.mark.parametrize("n", [5, 8])
def test_what_seeds_can_detect_they_do_detect(n):
    error = math.sqrt(2 / n)
    true = Welch(*map(np.float64, (0, 0, 0, error, 2 * n - 2)))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2000, n)), rng.normal(detectable(true), 1, size=(2000, n))
    found = welch(x, y)
    assert np.mean(found.ci_low > 0) == pytest.approx(0.8, abs=0.04)
    assert np.mean(directions(x, y) == 1) > 0.74  # the permutation test must agree, which costs some


@pytest.mark.parametrize("kind", SEEDS)
@pytest.mark.parametrize(("n", "pairs"), [(4, 2000), (5, 5000), (6, 5000), (8, 2000), (10, 500)])
def test_equal_algorithms_are_rarely_told_apart(kind, n, pairs):
    """A/A: both sides are drawn alike, so that every claim is false."""
    rng = np.random.default_rng(n)
    false = directions(SEEDS[kind](rng, (pairs, n)), SEEDS[kind](rng, (pairs, n))) != 0
    assert false.mean() <= (0 if n < MIN_SEEDS else 0.06)


def test_a_side_that_spreads_more_is_not_taken_for_better():
    rng = np.random.default_rng(0)
    false = directions(rng.normal(0, 4, (2000, 5)), rng.normal(0, 1, (2000, 8))) != 0
    assert false.mean() <= 0.06


def test_three_comparisons_make_no_more_false_claims_than_one():
    rng = np.random.default_rng(0)
    first, others = rng.normal(size=(1000, 6)), rng.normal(size=(3, 1000, 6))
    found = [welch(first, other) for other in others]
    ps = np.array([permutation_p(first, other) for other in others])
    adjusted = np.array([holm(list(row)) for row in ps.T]).T
    claims = [direction(f.ci_low, f.ci_high, p, 6) != 0 for f, p in zip(found, adjusted)]
    raw = [direction(f.ci_low, f.ci_high, p, 6) != 0 for f, p in zip(found, ps)]
    assert np.any(claims, axis=0).mean() <= 0.06 < np.any(raw, axis=0).mean()


def test_description_by_hand():
    found = describe([4.0, 1.0, 3.0, 2.0, 100.0])
    assert (found.n, found.mean, found.iqm, found.worst) == (5, 22.0, 3.0, 1.0)
    assert found.worst_quarter == 1.5  # of 5 the lowest 2
    assert found.covered == pytest.approx(0.34, abs=0.005)  # solves 5 c⁴ - 4 c⁵ = 0.05
    assert 5 * found.covered**4 - 4 * found.covered**5 == pytest.approx(0.05)
    assert math.isnan(found.iqm_low)


def test_interval_of_the_interquartile_mean_begins_at_eight_seeds():
    found = describe(np.arange(8.0))
    assert found.iqm_low < found.iqm == 3.5 < found.iqm_high


def test_range_of_the_seeds_covers_what_it_says():
    """For uniform scores the share between least and greatest is their difference."""
    x = np.random.default_rng(0).random((4000, 6))
    covered = describe(x[0]).covered
    assert np.mean(np.ptp(x, axis=1) >= covered) == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize("values", [[], [7.0]])
def test_description_of_hardly_anything(values):
    found = describe(values)
    assert found.n == len(values)
    assert all(math.isnan(x) for x in (found.ci_low, found.ci_high, found.std, found.covered))
