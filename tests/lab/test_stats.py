"""Summaries and t-intervals against closed forms and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from slm_lightning.lab.stats import summarize, t_half_width

T_3 = 3.182446305  # 97.5 % point of Student's t with 3 degrees of freedom, from a printed table


def test_summary_of_four_values_by_hand():
    summary = summarize([4.0, 1.0, 3.0, 2.0])
    std = math.sqrt(5 / 3)  # (1.5² + 0.5² + 0.5² + 1.5²) / 3
    assert summary.n == 4
    assert summary.mean == 2.5
    assert summary.std == pytest.approx(std)
    assert summary.ci_low == pytest.approx(2.5 - T_3 * std / 2)
    assert summary.ci_high == pytest.approx(2.5 + T_3 * std / 2)
    assert (summary.iqm, summary.min, summary.max) == (2.5, 1.0, 4.0)


def test_interval_of_two_values_has_the_cauchy_quantile():
    # with one degree of freedom t is Cauchy, whose 97.5 % point is tan(0.475 π); std of (0, 2) is √2
    summary = summarize([0.0, 2.0])
    assert summary.ci_high - 1.0 == pytest.approx(math.tan(0.475 * math.pi))


def test_one_value_has_a_mean_but_no_interval():
    summary = summarize([7.0])
    assert (summary.n, summary.mean, summary.iqm, summary.min, summary.max) == (1, 7.0, 7.0, 7.0, 7.0)
    assert all(math.isnan(x) for x in (summary.std, summary.ci_low, summary.ci_high))


def test_nothing_gives_nan():
    summary = summarize([])
    assert summary.n == 0
    assert all(math.isnan(x) for x in summary[1:])


def test_nan_is_not_dropped():
    summary = summarize([1.0, math.nan, 3.0])
    assert summary.n == 3
    assert all(math.isnan(x) for x in summary[1:])


def test_equal_values_have_an_interval_of_no_width():
    summary = summarize([5.0] * 4)
    assert (summary.ci_low, summary.ci_high, summary.std) == (5.0, 5.0, 0.0)


@pytest.mark.parametrize(
    ("values", "iqm"),
    [([0, 10, 20, 1000], 15.0), (range(1, 9), 4.5), ([1, 2, 9], 4.0), ([-900, 1, 2, 3, 90], 2.0)],
)
def test_interquartile_mean_cuts_a_quarter_of_the_values_at_each_end(values, iqm):
    assert summarize(values).iqm == iqm


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30))
def test_interval_is_that_of_scipy(values):
    x = np.array(values)
    if x.std() < 1e-6:
        return
    low, high = stats.t.interval(0.95, len(x) - 1, loc=x.mean(), scale=stats.sem(x))
    summary = summarize(values)
    assert summary.ci_low == pytest.approx(low, rel=1e-9, abs=1e-6)
    assert summary.ci_high == pytest.approx(high, rel=1e-9, abs=1e-6)


def test_interval_covers_the_mean_of_a_normal_sample_as_often_as_it_says():
    samples = np.random.default_rng(0).normal(3.0, 2.0, size=(4000, 4))
    half = t_half_width(samples.std(axis=1, ddof=1), np.full(4000, 4))
    covered = np.abs(samples.mean(axis=1) - 3.0) < half
    assert covered.mean() == pytest.approx(0.95, abs=0.012)  # 3.5 standard errors
