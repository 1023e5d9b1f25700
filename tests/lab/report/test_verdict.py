"""The verdict claims what the seeds carry, and says what it rests on."""

from __future__ import annotations

import pytest

from slm_lightning.lab.report.findings import Goal
from slm_lightning.lab.report.verdict import verdict
from tests.lab.made_findings import TARGET, found, trial


def confirmed(score: float, low: float, high: float, number: int = 9, confirms: int = 0):
    bounds = {"score_ci_low": low, "score_ci_high": high, "sessions": 8.0}
    return trial(number, score, confirms=confirms, **bounds)


@pytest.mark.parametrize(
    ("score", "low", "high", "tone", "words"),
    [
        (110, 105, 115, "good", "reaches the target of 100: score 110 (95 % interval 105 to 115"),
        (105, 95, 115, "good", "reaches on average, but within the uncertainty of its seeds,"),
        (95, 85, 105, "open", "does not reach on average, but may within the uncertainty"),
        (90, 85, 95, "bad", "does not reach the target of 100: score 90"),
    ],
)
def test_a_confirmed_setting_is_judged_by_its_interval(score, low, high, tone, words):
    said = verdict(found(trial(0, 120.0), trial(1, 80.0), confirmations=[confirmed(score, low, high)]))
    assert said.tone == tone
    assert said.sentence.startswith("The best setting, trial 0, ")
    assert words in said.sentence
    assert "8 fresh seeds" in said.sentence
    assert said.caveats == []


@pytest.mark.parametrize(
    ("score", "low", "high", "tone"),
    [(-3, -4, -2, "good"), (-1.5, -3, 0, "good"), (-0.5, -2, 1, "open"), (0, -0.5, 0.5, "bad")],
)
def test_less_is_better_where_the_goal_says_so(score, low, high, tone):
    goal = Goal("target", -1.0, "score", "minimize", "meta.search.target")
    seen = found(
        trial(0, -5.0),
        confirmations=[confirmed(score, low, high)],
        objectives={"score": "minimize"},
        goals=[goal],
    )
    assert verdict(seen).tone == tone


def test_an_unconfirmed_winner_is_called_optimistic():
    said = verdict(found(trial(0, 120.0, score_ci_low=110.0, score_ci_high=130.0), trial(1, 80.0)))
    assert said.sentence == (
        "In the search the best setting, trial 0, reaches the target of 100: "
        "score 120, 2 seeds, not confirmed."
    )
    assert "130" not in said.sentence  # the interval of a winner means nothing
    assert "best of 2 noisy ones" in said.caveats[0]


@pytest.mark.parametrize(
    "again", [trial(9, status="failed", confirms=0), confirmed(99, 98, 100, confirms=1)]
)
def test_a_confirmation_that_failed_or_is_of_another_setting_does_not_count(again):
    said = verdict(found(trial(0, 120.0), trial(1, 80.0), confirmations=[again]))
    assert "not confirmed" in said.sentence


def test_without_a_goal_the_value_is_all_there_is_to_say():
    said = verdict(found(trial(0, 120.0), goals=[]))
    assert said.sentence == "The best setting, trial 0, comes to score 120, 2 seeds, not confirmed."
    assert (said.tone, said.caveats) == ("open", [])


def test_a_goal_of_another_metric_than_the_objective():
    said = verdict(
        found(trial(0, 7.0, score=90.0), objectives={"strength": "maximize"}, goals=[TARGET])
    )
    assert "does not reach the target of 100: score 90" in said.sentence


def test_a_pareto_front():
    both = {"score": "maximize", "sample_efficiency": "maximize"}
    said = verdict(
        found(trial(0, 120.0, 1.0), trial(1, 80.0, 2.0), trial(2, 1.0, 1.0), objectives=both)
    )
    words = (
        "In the search the best by score of 2 settings on the Pareto front reaches the target of 100: "
    )
    assert said.sentence == words + "score 120, 2 seeds, not confirmed."


def test_all_failed():
    reasons = ["out of memory"] * 3 + ["NaN in loss"]
    said = verdict(found(*(trial(i, status="failed", reason=r) for i, r in enumerate(reasons))))
    assert (said.sentence, said.tone) == ("Nothing was found: all of 4 trials failed.", "bad")
    assert said.caveats == ["Most frequent reasons: out of memory (3 trials); NaN in loss (1 trial)"]


def test_none_completed():
    said = verdict(found(trial(0, 1.0, status="pruned"), trial(1, status="failed", reason="x")))
    assert said.sentence == "Nothing was found: none of 2 trials was completed (1 pruned, 1 failed)."


@pytest.mark.parametrize(
    ("trials", "sentence"),
    [([], "No trial has been run yet."), ([trial(0, status="running")], "No trial is done yet.")],
)
def test_a_search_that_has_only_begun(trials, sentence):
    said = verdict(found(*trials, status="running", planned=16))
    assert (said.sentence, said.tone) == (sentence, "open")


def test_a_search_that_was_broken_off_says_how_far_it_came():
    trials = trial(0, 120.0), trial(1, status="failed"), trial(2, status="running")
    said = verdict(found(*trials, status="stopped", planned=16))
    assert said.caveats == ["The search is not complete: 2 of 16 trials have ended."]
