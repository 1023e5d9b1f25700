"""The lab's metrics against tables small enough for hand arithmetic, and against their properties."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slm_lightning.lab.analysis import (
    SESSION_SCALARS,
    align,
    consistency,
    efficiency,
    ended_early,
    session_scalars,
    stability,
    total_reward_ma,
    trial_curve,
    trial_scalars,
)
from slm_lightning.lab.baselines import Baseline

NAN = math.nan
RANDOM = Baseline(mean=20.0, std=5.0, episodes=100)
ZERO = Baseline(mean=0.0, std=0.0, episodes=100)

returns = st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=40)


def record(total_reward: list[float], evaluation: list[float] | None = None) -> pd.DataFrame:
    """A session's record with a checkpoint every 10 frames and an optimizer step every 5."""
    n = len(total_reward)
    df = pd.DataFrame(
        {
            "frame": np.arange(1, n + 1) * 10,
            "opt_step": np.arange(n) * 2,
            "total_reward": np.array(total_reward, dtype=float),
        }
    )
    return df if evaluation is None else df.assign(**{"eval/return": evaluation})


def test_session_by_hand():
    # strengths 10, 30, 20 at frames 20, 30, 40 and optimizer steps 2, 4, 6
    scalars = session_scalars(record([NAN, 30, 50, 40], [NAN, 35, NAN, 60]), RANDOM)
    assert list(scalars) == SESSION_SCALARS
    assert scalars["score"] == 40.0
    assert scalars["eval_score"] == 60.0
    assert scalars["strength"] == 20.0
    assert scalars["max_strength"] == 30.0
    assert scalars["final_strength"] == 20.0
    assert scalars["sample_efficiency"] == pytest.approx((10 / 20 + 30 / 30 + 20 / 40) / 60)
    assert scalars["training_efficiency"] == pytest.approx((10 / 2 + 30 / 4 + 20 / 6) / 60)
    assert scalars["stability"] == pytest.approx(1 - 10 / 40)  # one drop of 10 over 10 + 30


def test_moving_average_by_hand():
    ma = total_reward_ma(pd.Series([NAN, 10.0, NAN, 40.0]))
    assert math.isnan(ma[0])
    assert ma[1:].tolist() == [10.0, 10.0, 25.0]


def test_moving_average_spans_a_hundred_checkpoints():
    rewards = pd.Series(np.arange(250.0))
    ma = total_reward_ma(rewards)
    assert ma[99] == pytest.approx(49.5)  # mean of 0 … 99
    assert ma[249] == pytest.approx(199.5)  # mean of 150 … 249
    assert session_scalars(record(rewards.tolist()), ZERO)["score"] == pytest.approx(ma[249])


def test_a_checkpoint_before_the_first_update_counts_in_the_denominator_alone():
    strength, steps = pd.Series([10.0, 30.0]), pd.Series([0, 3])
    assert efficiency(strength, steps) == pytest.approx((30 / 3) / (10 + 30))


@pytest.mark.parametrize("scores", [[20, 20, 20], [10, 12, 5], [60, -19.9, 20]])
def test_ratios_of_an_agent_no_better_than_random_are_not_applicable(scores):
    scalars = session_scalars(record(scores), RANDOM)
    for name in ("sample_efficiency", "training_efficiency", "stability"):
        assert math.isnan(scalars[name]), name
    assert scalars["strength"] == pytest.approx(np.mean(scores) - 20)


def test_without_a_baseline_only_the_scores_are_known():
    scalars = session_scalars(record([30, 50], [NAN, 60]), None)
    assert (scalars.pop("score"), scalars.pop("eval_score")) == (40.0, 60.0)
    assert all(math.isnan(value) for value in scalars.values())


@pytest.mark.parametrize("df", [pd.DataFrame(), record([]), record([NAN, NAN])])
def test_a_session_without_a_finished_episode_has_no_metrics(df):
    assert all(math.isnan(value) for value in session_scalars(df, RANDOM).values())


@given(returns, st.integers(1, 5))
def test_rows_before_the_first_finished_episode_count_nowhere(scores, missing):
    padded = record([NAN] * missing + scores)
    assert session_scalars(padded, ZERO) == pytest.approx(
        session_scalars(padded.iloc[missing:], ZERO), nan_ok=True
    )


@given(st.floats(0.1, 1e4), st.integers(2, 50))
def test_a_constant_curve_above_random_is_stable(level, length):
    assert stability(pd.Series([level] * length)) == 1.0


@given(st.lists(st.floats(1.0, 1e3), min_size=2, max_size=40))
def test_efficiency_and_stability_are_the_sums_of_their_definitions(strengths):
    strength, frame = pd.Series(strengths), pd.Series(range(5, 5 * len(strengths) + 1, 5))
    pairs = itertools.pairwise(strengths)
    drops = sum(min(after - before, 0) for before, after in pairs)
    assert stability(strength) == pytest.approx(1 - abs(drops / sum(strengths[:-1])))
    weighted = sum(s / (5 * (i + 1)) for i, s in enumerate(strengths))
    assert efficiency(strength, frame) == pytest.approx(weighted / sum(strengths))


@given(st.lists(st.floats(1.0, 1e3), min_size=2, max_size=20), st.floats(0.01, 100))
def test_ratios_do_not_depend_on_the_scale_of_the_reward(strengths, scale):
    strength, frame = pd.Series(strengths), pd.Series(range(1, len(strengths) + 1))
    assert stability(scale * strength) == pytest.approx(stability(strength))
    assert efficiency(scale * strength, frame) == pytest.approx(efficiency(strength, frame))


def test_consistency_by_hand():
    # std of (10, 30) is √200, of (20, 20) is 0; the means are 20 and 20
    strengths = pd.DataFrame({0: [10.0, 20.0], 1: [30.0, 20.0]})
    assert consistency(strengths) == pytest.approx(1 - 2 * math.sqrt(200) / 40)


def test_consistency_takes_the_frames_that_all_sessions_have():
    strengths = pd.DataFrame({0: [10.0, 20.0, 900.0], 1: [30.0, 20.0, NAN]}, index=[10, 20, 30])
    assert consistency(strengths) == pytest.approx(1 - 2 * math.sqrt(200) / 40)


@given(st.lists(st.floats(1.0, 1e3), min_size=1, max_size=20), st.integers(2, 6))
def test_identical_sessions_are_consistent(strengths, sessions):
    assert consistency(pd.DataFrame(dict.fromkeys(range(sessions), strengths))) == pytest.approx(1.0)


def test_one_session_has_no_consistency():
    assert math.isnan(consistency(pd.DataFrame({0: [10.0, 20.0]})))


def test_trial_by_hand():
    # scores 40, 50, 60, 70: mean 55, standard deviation √(500/3)
    dfs = [record([s, s], [NAN, s + 1]) for s in (40, 50, 60, 70)]
    scalars = trial_scalars(dfs, RANDOM, planned=4)
    std = math.sqrt(500 / 3)
    half = 3.182446305 * std / 2
    assert scalars["score"] == 55.0
    assert scalars["score_ci_low"] == pytest.approx(55 - half)
    assert scalars["score_ci_high"] == pytest.approx(55 + half)
    assert scalars["score_std"] == pytest.approx(std)
    assert scalars["score_iqm"] == 55.0
    assert scalars["score_min"] == 40.0
    assert scalars["eval_score"] == 56.0
    assert scalars["eval_score_ci_low"] == pytest.approx(56 - half)
    assert scalars["strength"] == 35.0
    assert scalars["stability"] == 1.0
    assert scalars["consistency"] == pytest.approx(1 - 2 * (2 * std) / (2 * 35))
    assert (scalars["sessions"], scalars["sessions_planned"]) == (4.0, 4.0)
    assert scalars["sessions_ended_early"] == 0.0
    assert scalars["frames"] == sum(df["frame"].iloc[-1] for df in dfs)


@pytest.mark.parametrize("gone", [pd.DataFrame(), record([NAN, NAN])])
def test_a_session_without_a_score_is_missing_and_said_to_be(gone):
    here = [record([30, 50]), record([40, 60])]
    scalars = trial_scalars([here[0], gone, here[1]], RANDOM, planned=3)
    assert (scalars["sessions"], scalars["sessions_planned"]) == (2.0, 3.0)
    alone = trial_scalars(here, RANDOM, planned=3)
    frames = sum(df["frame"].iloc[-1] for df in [*here, gone] if len(df))
    assert (scalars.pop("frames"), alone.pop("frames")) == (frames, 40.0)
    assert scalars == pytest.approx(alone, nan_ok=True)


def test_a_session_that_ended_early_is_counted_and_said_to_be():
    scalars = trial_scalars([record([30, 50, 70]), record([40])], RANDOM, planned=2)
    assert (scalars["sessions"], scalars["sessions_ended_early"]) == (2.0, 1.0)
    assert scalars["score"] == 45.0
    assert scalars["consistency"] == pytest.approx(1 - 2 * math.sqrt(50) / 15)  # frame 10 alone


def test_a_metric_that_one_session_lacks_is_not_applicable_to_the_trial():
    scalars = trial_scalars([record([30, 50]), record([20, 20])], RANDOM, planned=2)
    assert math.isnan(scalars["sample_efficiency"])
    assert scalars["strength"] == 10.0


def test_a_trial_of_one_session_has_a_score_without_interval():
    scalars = trial_scalars([record([30, 50])], RANDOM, planned=1)
    assert scalars["score"] == 40.0
    assert math.isnan(scalars["score_ci_low"])
    assert math.isnan(scalars["consistency"])


@pytest.mark.parametrize("dfs", [[], [pd.DataFrame()] * 4])
def test_a_trial_of_nothing_has_the_same_metrics_without_values(dfs):
    scalars = trial_scalars(dfs, RANDOM, planned=4)
    assert scalars.keys() == trial_scalars([record([30, 50])], RANDOM, planned=4).keys()
    assert (scalars.pop("sessions"), scalars.pop("sessions_planned")) == (0.0, 4.0)
    assert (scalars.pop("sessions_ended_early"), scalars.pop("frames")) == (0.0, 0.0)
    assert all(math.isnan(value) for value in scalars.values())


def test_curve_by_hand():
    dfs = [record([10, 20, 30]), pd.DataFrame(), record([NAN, 40])]
    curve = trial_curve(dfs, "total_reward")
    assert list(curve) == ["frame", "mean", "std", "ci_low", "ci_high", "n"]
    assert curve["frame"].tolist() == [10, 20, 30]
    assert curve["mean"].tolist() == [10.0, 30.0, 30.0]
    assert curve["n"].tolist() == [1, 2, 1]
    half = math.tan(0.475 * math.pi) * math.sqrt(200) / math.sqrt(2)
    assert curve["std"].tolist() == pytest.approx([NAN, math.sqrt(200), NAN], nan_ok=True)
    assert curve["ci_low"].tolist() == pytest.approx([NAN, 30 - half, NAN], nan_ok=True)
    assert curve["ci_high"].tolist() == pytest.approx([NAN, 30 + half, NAN], nan_ok=True)


def test_curve_has_only_frames_with_a_value():
    dfs = [record([1, 2, 3, 4], [NAN, 5, NAN, 7]), record([1, 2, 3, 4], [NAN, 6, NAN, 8])]
    curve = trial_curve(dfs, "eval/return")
    assert curve["frame"].tolist() == [20, 40]
    assert curve["mean"].tolist() == [5.5, 7.5]


def test_curve_of_a_column_that_nobody_has_is_empty():
    curve = trial_curve([record([1, 2]), pd.DataFrame()], "kl")
    assert curve.empty
    assert list(curve) == ["frame", "mean", "std", "ci_low", "ci_high", "n"]


def test_sessions_are_aligned_by_frame_and_keep_their_index():
    late = record([5, 6]).assign(frame=[20, 30])
    values = align([record([1, 2]), pd.DataFrame(), late], "total_reward")
    assert values.index.tolist() == [10, 20, 30]
    assert values.columns.tolist() == [0, 2]
    assert values.loc[20].tolist() == [2.0, 5.0]
    assert ended_early([record([1, 2]), pd.DataFrame(), late]) == [0]
