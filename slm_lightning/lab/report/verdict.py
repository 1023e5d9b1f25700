"""The sentence that a search comes to: did its best setting reach what it was measured against?

What counts is the confirmation, whose seeds the search has not seen. A winner's score in the search is
the largest of many noisy ones, so without a confirmation the sentence says that it is optimistic.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from slm_lightning.lab.report.findings import Findings, Goal, TrialFinding
from slm_lightning.lab.wording import count, interval, number


class Verdict(NamedTuple):
    """One sentence, how it is to be taken, and what to bear in mind."""

    sentence: str
    tone: str
    """``good``, ``bad`` or, where it is neither, ``open``."""
    caveats: list[str]


def verdict(found: Findings) -> Verdict:
    """What the search found, in one sentence."""
    if not found.best:
        return _nothing(found)
    winner = found.best[0]
    again = found.confirmation
    if again is None or not again.is_ranked or again.confirms != winner.number:
        again = None
    confirmed = again is not None
    sentence, tone = _against_goal(found, again or winner, confirmed)
    return Verdict(sentence, tone, [*_unfinished(found), *_optimism(found, confirmed)])


def _nothing(found: Findings) -> Verdict:
    counts = found.counts
    if not found.trials:
        return Verdict("No trial has been run yet.", "open", [])
    if "running" in counts or "stopped" in counts:
        return Verdict("No trial is done yet.", "open", _unfinished(found))
    failed = counts.get("failed", 0) + counts.get("diverged", 0)
    total = count(len(found.trials), "trial")
    if failed == len(found.trials):
        sentence = (
            f"Nothing was found: all of {total} failed." if failed > 1 else "The only trial failed."
        )
    else:
        parts = ", ".join(f"{number(n, 15)} {status}" for status, n in counts.items())
        sentence = f"Nothing was found: none of {total} was completed ({parts})."
    often = [f"{reason} ({count(times, 'trial')})" for reason, times in found.reasons]
    return Verdict(sentence, "bad", ["Most frequent reasons: " + "; ".join(often)] if often else [])


def _against_goal(found: Findings, trial: TrialFinding, confirmed: bool) -> tuple[str, str]:
    goal = found.goals[0] if found.goals else None
    first = next(iter(found.objectives))
    metric = goal.metric if goal else first
    measured = _measured(found, trial, metric, confirmed)
    setting = f"the best setting, trial {trial.number if trial.confirms is None else trial.confirms},"
    if len(found.objectives) > 1:
        front = count(len(found.best), "setting")
        setting = f"the best by {_words(first)} of {front} on the Pareto front"
    if goal is None:
        return _sentence(f"{setting} comes to {measured}"), "open"
    value = found.value(trial, metric)
    low, high = trial.interval(metric) if confirmed else (math.nan, math.nan)
    how, tone = _outcome(goal, value, low, high)
    where = "" if confirmed else "in the search "
    return _sentence(
        f"{where}{setting} {how} the {goal.name} of {number(goal.value)}: {measured}"
    ), tone


def _outcome(goal: Goal, value: float, low: float, high: float) -> tuple[str, str]:
    """What to say of a value with its interval, NaN where it has none."""
    if math.isnan(value):
        return "has no value to compare with", "open"
    surely, perhaps = (low, high) if goal.direction == "maximize" else (high, low)
    if goal.is_reached_by(value):
        if math.isnan(surely) or goal.is_reached_by(surely):
            return "reaches", "good"
        return "reaches on average, but within the uncertainty of its seeds,", "good"
    if not math.isnan(perhaps) and goal.is_reached_by(perhaps):
        return "does not reach on average, but may within the uncertainty of its seeds,", "open"
    return "does not reach", "bad"


def _measured(found: Findings, trial: TrialFinding, metric: str, confirmed: bool) -> str:
    """The value with its interval, as far as it has one that means something."""
    value = f"{_words(metric)} {number(found.value(trial, metric))}"
    if not confirmed:
        return f"{value}, {count(trial.sessions, 'seed')}, not confirmed"
    bounds = interval(*trial.interval(metric))
    details = [f"95 % interval {bounds}"] if bounds else []
    return f"{value} ({', '.join([*details, count(trial.sessions, 'fresh seed')])})"


def _unfinished(found: Findings) -> list[str]:
    ended = sum(trial.status not in ("running", "stopped") for trial in found.trials)
    planned = found.planned or 0
    if found.status == "done" or ended >= planned:
        return []
    return [f"The search is not complete: {number(ended, 15)} of {count(planned, 'trial')} have ended."]


def _optimism(found: Findings, confirmed: bool) -> list[str]:
    if confirmed:
        return []
    ranked = sum(trial.is_ranked for trial in found.trials)
    if ranked < 2:
        return []
    return [
        f"A score from the search is optimistic: it is the best of {number(ranked, 15)} noisy ones. "
        "Only a confirmation on fresh seeds says what the setting is worth."
    ]


def _words(metric: str) -> str:
    return metric.replace("_", " ")


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."
