"""Verdicts: what is claimed of samples, what is not, and how it is said."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from slm_lightning.lab.compare.comparison import Comparison, Difference, side_by_side
from slm_lightning.lab.compare.inference import holm
from slm_lightning.lab.compare.text import WIDTH, text, to_dict
from slm_lightning.output import to_json
from tests.lab.compared import contender

LOW = [100.0, 110, 95, 105, 90]
HIGH = [200.0, 210, 195, 205, 190]
MIDDLE = [103.0, 118, 99, 92, 121]
NAN = math.nan


def difference(x, y, metric: str = "score", **more) -> Difference:
    (found,) = side_by_side([contender("a", x), contender("b", y, **more)], metric).differences
    return found


@pytest.mark.parametrize(
    ("metric", "words"), [("score", ("better", "worse")), ("kl", ("higher", "lower"))]
)
def test_what_the_seeds_carry_is_said(metric, words):
    up, down = difference(LOW, HIGH, metric), difference(HIGH, LOW, metric)
    assert (up.verdict, down.verdict) == words
    assert (up.difference, down.difference) == (100, -100)
    numbers = "+100 (95 % interval 88.47 to 111.5), permutation p = 0.0079"
    assert up.sentence == f"b is {words[0]} than a in CartPole-v1: {numbers}; 5 + 5 seeds."


def test_what_they_do_not_carry_is_not_shown_and_says_what_they_could_have_shown():
    found = difference(LOW, MIDDLE)
    assert found.verdict == "not shown"
    low, high = stats.ttest_ind(MIDDLE, LOW, equal_var=False).confidence_interval(0.95)
    p = stats.permutation_test((MIDDLE, LOW), lambda x, y: np.mean(x) - np.mean(y)).pvalue
    seen = f"+6.6 (95 % interval −{-low:.4g} to {high:.4g}), permutation p = {p:.2g}"
    assert f"No difference between b and a in CartPole-v1 is shown: {seen}; " in found.sentence
    assert "these 5 + 5 seeds can only detect differences of 21.7 or more" in found.sentence
    assert "to show one of the size seen takes about 41 on each side" in found.sentence


def test_four_seeds_are_too_few_however_far_apart():
    found = difference(LOW[:4], HIGH)
    assert found.verdict == "not shown"
    assert found.ci_low > 0 and found.p < 0.05
    assert "a verdict takes 5 seeds on each side" in found.sentence


@pytest.mark.parametrize(("x", "y"), [([5.0], [7.0]), ([5.0], HIGH), ([5.0], [5.0])])
def test_one_seed_shows_nothing(x, y):
    found = difference(x, y)
    assert found.verdict == "not shown"
    assert math.isnan(found.ci_low) and math.isnan(found.detectable) and found.seeds_needed is None


def test_equal_scores_without_any_spread():
    found = difference([500] * 5, [500] * 5)
    assert found.verdict == "not shown"
    assert (
        found.sentence
        == "No difference between b and a in CartPole-v1 is shown: all 5 + 5 seeds scored the same."
    )


def test_different_scores_without_any_spread():
    assert difference([500] * 5, [480] * 5).verdict == "worse"
    assert difference([500] * 4, [480] * 4).verdict == "not shown"


def test_one_side_without_spread():
    assert difference([500] * 5, LOW).verdict == "worse"
    assert difference([500] * 5, [480, 510, 495, 520, 490]).verdict == "not shown"


def test_missing_seeds_leave_no_verdict_but_the_numbers_of_the_others():
    comparison = side_by_side([contender("a", LOW), contender("b", [*HIGH, NAN, NAN])], "score")
    (found,) = comparison.differences
    assert found.verdict == "no verdict"
    reason = "b lacks 2 of its 7 seeds (session 5 failed: it broke, and 1 other)"
    assert comparison.refusals == [f"No verdict on b against a in CartPole-v1: {reason}."]
    assert found.difference == 100
    assert "5/7" in text(comparison)


def test_a_run_without_any_score_has_no_verdict():
    comparison = side_by_side([contender("a", [NAN] * 5), contender("b", HIGH)], "score")
    assert comparison.differences[0].verdict == "no verdict"
    assert math.isnan(comparison.differences[0].difference)
    assert "n/a" in text(comparison)


def test_different_budgets_leave_no_verdict():
    found = difference(LOW, HIGH, max_frame=4_000)
    assert found.verdict == "no verdict"
    assert "they trained for 2\u202f000 and 4\u202f000 frames" in found.sentence


def test_the_title_says_for_how_long_each_trained():
    same, other = [contender("b", HIGH)], [contender("b", HIGH, max_frame=4_000)]
    titles = [
        text(side_by_side([contender("a", LOW), *rest], "score")).split("\n\n")[1].splitlines()[0]
        for rest in (same, other)
    ]
    assert titles == [
        "score in CartPole-v1 after 2\u202f000 frames",
        "score in CartPole-v1 after 2\u202f000 to 4\u202f000 frames",
    ]


def test_runs_of_different_environments_are_not_compared():
    runs = [contender("a", LOW), contender("b", HIGH, env="Acrobot-v1")]
    comparison = side_by_side(runs, "score")
    assert not comparison.differences
    assert comparison.refusals == [
        "No verdict on a: no other run is in CartPole-v1.",
        "No verdict on b: no other run is in Acrobot-v1.",
    ]


def test_winner_of_a_search_is_not_better_on_the_seeds_that_chose_it():
    found = difference(LOW, HIGH, chosen_among=16)
    assert found.verdict == "not shown"
    assert "b was chosen among 16 trials on these very seeds; repeat it with fresh ones" in found.reason
    assert difference(HIGH, LOW, chosen_among=16).verdict == "worse"  # although it was favoured
    found = difference(HIGH, LOW, "loss", chosen_among=16)  # of which the search may have wanted little
    assert found.verdict == "not shown"
    assert "b was chosen among 16 trials" in found.reason


def test_several_comparisons_are_adjusted_together():
    runs = [contender("a", LOW), *(contender(n, MIDDLE) for n in "bc"), contender("d", HIGH)]
    comparison = side_by_side(runs, "score")
    ps = [found.p for found in comparison.differences]
    assert [found.p_adjusted for found in comparison.differences] == holm(ps)
    assert [found.verdict for found in comparison.differences] == ["not shown", "not shown", "better"]
    assert "permutation p = 0.024 (Holm, 3 comparisons)" in comparison.differences[2].sentence
    assert len(comparison.pairs) == 6
    assert [found.p_adjusted for found in comparison.pairs] == holm([d.p for d in comparison.pairs])


def test_what_has_no_verdict_is_not_counted_among_the_comparisons():
    runs = [contender("a", LOW), contender("b", HIGH), contender("c", [NAN, *HIGH])]
    first, second = side_by_side(runs, "score").differences
    assert (first.verdict, first.comparisons) == ("better", 1)
    assert second.verdict == "no verdict"


def several() -> Comparison:
    """Two methods in two environments, the second the better one by half of the scale in both."""
    return side_by_side(
        [
            contender("ours_0", [20.0, 40, 60, 80, 100], method="ours"),
            contender("base_0", [40.0, 80, 120, 160, 200], method="base"),
            contender("ours_1", [-5.0] * 5, "Acrobot-v1", random=-10.0, method="ours"),
            contender("base_1", [0.0] * 5, "Acrobot-v1", random=-10.0, method="base"),
        ],
        "score",
    )


def test_several_environments_are_put_on_one_scale():
    overall = several().overall
    assert overall is not None and not overall.reason
    assert overall.scales == {"CartPole-v1": (20.0, 120.0), "Acrobot-v1": (-10.0, 0.0)}
    ours, base = overall.methods
    assert ours.scores["CartPole-v1"] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert ours.scores["Acrobot-v1"] == pytest.approx([0.5] * 5)
    assert ours.iqm == pytest.approx((0.4 + 0.5 * 5) / 6)  # of ten the middle six
    assert ours.iqm_low < ours.iqm < ours.iqm_high
    assert ours.improvement == 0.5
    assert base.improvement == pytest.approx((20 / 25 + 1) / 2)  # ties count half


def test_profile_is_the_share_of_seeds_above():
    overall = several().overall
    assert overall is not None
    ours = overall.methods[0].profile(np.array([-0.1, 0.3, 0.45, 0.7, 0.9]))
    assert ours == pytest.approx([1, (3 / 5 + 1) / 2, (2 / 5 + 1) / 2, 1 / 10, 0])


@pytest.mark.parametrize(
    ("change", "metric", "reason"),
    [
        ({}, "loss", "loss is not a return"),
        ({"method": "base"}, "score", "ours has no run in Acrobot-v1"),
        ({"max_frame": 1}, "score", "different numbers of frames"),
        ({"values": [1.0, NAN]}, "score", "seeds of ours_1 are missing"),
        (
            {"values": [-20.0] * 5, "rest": [-30.0] * 5},
            "score",
            "no run is better than the random policy",
        ),
        ({"random": None}, "score", "what the random policy scores"),
    ],
)
def test_what_has_no_common_scale_is_not_put_together(change, metric, reason):
    more = {key: value for key, value in change.items() if key not in ("values", "rest")}
    values, rest = change.get("values", [1.0] * 5), change.get("rest", [0.0] * 5)
    runs = [
        contender("ours_0", LOW, method="ours"),
        contender("base_0", HIGH, method="base"),
        contender("ours_1", values, "Acrobot-v1", **{"random": -10.0, "method": "ours", **more}),
        contender(
            "base_1", rest, "Acrobot-v1", random=None if "random" in change else -10.0, method="base"
        ),
    ]
    overall = side_by_side(runs, metric).overall
    assert overall is not None and reason in overall.reason
    assert not overall.methods


def test_two_seeds_in_an_environment_have_no_interval_over_all():
    runs = [
        contender(f"{method}{i}", [50.0, 60], env, method=method)
        for i, env in enumerate(["CartPole-v1", "Acrobot-v1"])
        for method in ("ours", "base")
    ]
    overall = side_by_side(runs, "score").overall
    assert overall is not None and math.isnan(overall.methods[0].iqm_low)


def test_text_fits_the_terminal_and_has_every_number():
    name = "a_rather_long_name_for_a_spec_of_somebody_t0"
    comparison = side_by_side([contender(name, LOW), contender("b", HIGH)], "score")
    page = text(comparison)
    assert max(map(len, page.splitlines())) <= WIDTH
    assert page.startswith("b is better than")
    assert "worst" not in page, "of a loss the lowest seed is not"
    for number in ("200", "190.2 to 209.8", "+100", "88.47 to 111.5", "0.0079"):
        assert number in page
    assert all(f"{value:g}" in page for value in LOW + HIGH)
    assert max(map(len, text(several()).splitlines())) <= WIDTH
    assert "over all environments" in text(several())


def test_data_is_json_and_has_every_pair_and_seed():
    runs = [contender("a", LOW), contender("b", HIGH), contender("c", [NAN, 7.0])]
    data = json.loads(to_json(to_dict(side_by_side(runs, "score"))))
    assert [run["label"] for run in data["runs"]] == ["a", "b", "c"]
    assert [seed["value"] for seed in data["runs"][2]["seeds"]] == [None, 7.0]
    assert len(data["differences"]) == 2
    assert len(data["pairs"]) == 3
    assert data["differences"][0]["verdict"] == "better"
    assert data["refusals"] == [data["verdicts"][1]]
    assert json.loads(to_json(to_dict(several())))["overall"]["methods"][1]["name"] == "base"
