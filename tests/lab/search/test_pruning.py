"""What is asked of a trial on its way."""

from __future__ import annotations

import pytest

from slm_lightning.lab.running.job import Rung
from slm_lightning.lab.search.pruning import Known, rung_frames, rungs, watched
from tests.lab.searching import planned


def by_frames(pruner, **options):
    return planned(trials=30, pruner=pruner, **options)


def test_halving_asks_for_the_best_third_at_rungs_three_times_further() -> None:
    spec = by_frames({"name": "halving", "grace_period": 200, "reduction_factor": 3})
    assert rung_frames(spec, 7) == [200, 600, 1800]
    known = [Known(n, {200: float(n), 600: 10.0 * n}) for n in range(7)]
    assert rungs(spec, 11, known) == [
        Rung(200, "total_reward_ma", 4.0),
        Rung(600, "total_reward_ma", 40.0),
    ]
    assert rungs(spec, 0, []) == []


def test_what_is_minimised_must_be_among_the_lowest() -> None:
    spec = by_frames(
        {"name": "halving", "grace_period": 200, "reduction_factor": 2}, objective={"loss": "minimize"}
    )
    (rung,) = rungs(spec, 5, [Known(n, {200: float(n)}) for n in range(3)])
    assert rung == Rung(200, "loss", 1.0, minimize=True)


def test_hyperband_deals_trials_to_brackets_that_do_not_know_each_other() -> None:
    spec = by_frames({"name": "hyperband", "grace_period": 100, "reduction_factor": 3, "brackets": 3})
    assert [rung_frames(spec, n) for n in range(4)] == [
        [100, 300, 900],
        [300, 900],
        [900],
        [100, 300, 900],
    ]
    known = [Known(0, {900: 5.0}), Known(1, {900: 50.0}), Known(2, {900: 500.0})]
    assert rungs(spec, 5, known) == [Rung(900, "total_reward_ma", 500.0)]


def test_the_median_is_asked_for_once_enough_are_known() -> None:
    spec = by_frames({"name": "median", "grace_period": 500, "n_startup_trials": 3})
    assert rung_frames(spec, 0) == [500, 1000, 1500]
    known = [Known(n, {500: float(n)}) for n in range(3)]
    assert rungs(spec, 9, known) == [Rung(500, "total_reward_ma", 1.0)]
    assert rungs(spec, 9, known[:2]) == []


@pytest.mark.parametrize(
    ("objective", "metric"),
    [
        ("score", ("total_reward_ma", False)),
        ({"eval_score": "maximize"}, ("eval/return", False)),
        ({"entropy": "minimize"}, ("entropy", True)),
    ],
)
def test_the_objective_is_watched_where_it_has_values_by_frame(objective, metric) -> None:
    assert watched(planned(objective=objective)) == metric
