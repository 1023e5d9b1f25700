"""Compares runs, and claims no more than their seeds carry.

Runs are compared within their environment, each with the first one named there. A verdict takes 5 seeds
on each side, a difference outside Welch's 95 % interval and a permutation p below .05, adjusted by Holm
where several differences are looked at; docs/statistics.md has the reasons and the error rates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Literal

from slm_lightning.errors import UsageError
from slm_lightning.lab.analysis import SESSION_SCALARS
from slm_lightning.lab.compare.environments import Overall, overall
from slm_lightning.lab.compare.inference import (
    MIN_SEEDS,
    Description,
    Improvement,
    describe,
    detectable,
    direction,
    holm,
    improvement,
    permutation_p,
    seeds_needed,
    welch,
)
from slm_lightning.lab.compare.runs import RETURNS, Contender, contenders
from slm_lightning.lab.wording import bracketed, count, number
from slm_lightning.tracking import Record

Verdict = Literal["better", "worse", "higher", "lower", "not shown", "no verdict"]
GOOD = {*SESSION_SCALARS, *RETURNS}
"""Metrics of which more is better; of any other it is only higher."""


@dataclass(frozen=True, eq=False)
class Difference:
    """How ``contender`` differs from ``reference``, in the same environment. NaN where there are too
    few seeds to say."""

    reference: Contender
    contender: Contender
    difference: float
    ci_low: float
    ci_high: float
    p: float
    improvement: Improvement
    detectable: float
    seeds_needed: int | None
    p_adjusted: float = math.nan
    comparisons: int = 1
    """How many p-values were adjusted together."""
    verdict: Verdict = "no verdict"
    reason: str = ""
    """Why it is not shown, or why there is no verdict."""

    @property
    def seeds(self) -> str:
        """``5 + 5 seeds``"""
        return f"{len(self.reference.values)} + {len(self.contender.values)} seeds"

    @property
    def numbers(self) -> str:
        """``+12.5 (95 % interval −3 to 28), permutation p = 0.12``"""
        shown = signed(self.difference) + bracketed(self.ci_low, self.ci_high)
        several = self.comparisons > 1 and not math.isnan(self.p_adjusted)
        p = self.p_adjusted if several else self.p
        chance = "p < 0.001" if p < 0.001 else f"p = {number(p, 2)}"
        adjusted = f" (Holm, {self.comparisons} comparisons)" if several else ""
        return f"{shown}, permutation {chance}{adjusted}"

    @property
    def sentence(self) -> str:
        """The verdict for a reader who reads nothing else."""
        ours, theirs = self.contender.label, self.reference.label
        where = self.contender.environment
        match self.verdict:
            case "no verdict":
                return f"No verdict on {ours} against {theirs} in {where}: {self.reason}."
            case "not shown":
                return f"No difference between {ours} and {theirs} in {where} is shown: {self.reason}."
        return f"{ours} is {self.verdict} than {theirs} in {where}: {self.numbers}; {self.seeds}."


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs side by side, by one metric."""

    metric: str
    contenders: tuple[Contender, ...]
    differences: tuple[Difference, ...]
    """Each run against the first named of its environment."""
    pairs: tuple[Difference, ...]
    """Every two runs of an environment, adjusted for as many comparisons."""
    overall: Overall | None
    """The environments together, where there are several and a method has runs in each."""

    @cached_property
    def descriptions(self) -> dict[Contender, Description]:
        """The sample of each contender."""
        return {c: describe(c.values) for c in self.contenders}

    @property
    def title(self) -> str:
        """The methods where the environments are put together, else the runs."""
        if self.overall and self.overall.methods:
            names = [method.name for method in self.overall.methods]
            return f"{' · '.join(names)} in {len(self.environments)} environments"
        return " · ".join(c.label for c in self.contenders)

    @property
    def environments(self) -> dict[str, list[Contender]]:
        """Contenders by environment, in the order named."""
        return by_environment(self.contenders)

    @property
    def refusals(self) -> list[str]:
        """Every verdict that could not be given at all, with its reason. Empty where each run was
        compared, whether or not a difference was shown."""
        alone = [group[0] for group in self.environments.values() if len(group) == 1]
        return [
            *(d.sentence for d in self.differences if d.verdict == "no verdict"),
            *(f"No verdict on {c.label}: no other run is in {c.environment}." for c in alone),
        ]

    @property
    def sentences(self) -> list[str]:
        """The verdicts, plainly."""
        settled = [d.sentence for d in self.differences if d.verdict != "no verdict"]
        return settled + self.refusals

    @property
    def notes(self) -> list[str]:
        """What else a reader should know of the runs."""
        notes = [f"{c.label}: {note}." for c in self.contenders for note in c.notes]
        for c in self.contenders:
            counted = [seed for seed in c.seeds if seed.reason and not seed.is_missing]
            notes += [
                f"{c.label}: session {s.session} {s.reason} ({number(s.value)})." for s in counted
            ]
        if self.metric in ("score", "total_reward_ma"):
            spans = "log_frequency differs, so its 100 checkpoints span different numbers of frames"
            for environment, group in self.environments.items():
                if len({c.log_frequency for c in group}) > 1:
                    notes.append(f"{self.metric} in {environment}: {spans}.")
        return notes


def compare(runs: Sequence[str], record: Record, metric: str = "score") -> Comparison:
    """Compares trials, experiments and sessions by ``metric``: a metric of a session or a column of its
    record, by its last value. ``runs`` are ids, beginnings of ids or names, if wanted with a name to
    show, ``ours=3f2a91``; the first named of an environment is the one that others are compared with.

    Raises UsageError for fewer than two runs, runs that are not there and metrics that nobody has.
    """
    if len(runs) < 2:
        raise UsageError("one run has nothing to be compared with", "name two runs or more")
    return side_by_side(contenders(runs, record, metric), metric)


def side_by_side(found: Sequence[Contender], metric: str) -> Comparison:
    """Compares samples that are there already."""
    groups = by_environment(found).values()
    firsts = [(group[0], other) for group in groups for other in group[1:]]
    pairs = [pair for group in groups for pair in combinations(group, 2)]
    return Comparison(
        metric=metric,
        contenders=tuple(found),
        differences=judge(firsts, metric),
        pairs=judge(pairs, metric),
        overall=overall(found, metric),
    )


def by_environment(found: Sequence[Contender]) -> dict[str, list[Contender]]:
    """The contenders of each environment, in the order named."""
    groups: dict[str, list[Contender]] = {}
    for contender in found:
        groups.setdefault(contender.environment, []).append(contender)
    return groups


def budget(group: Sequence[Contender]) -> str:
    """For how long these trained: ``10 000 frames``, or ``2 000 to 4 000 frames``."""
    frames = [contender.max_frame for contender in group]
    least, most = min(frames), max(frames)
    return count(most, "frame") if least == most else f"{number(least, 15)} to {count(most, 'frame')}"


def judge(pairs: Sequence[tuple[Contender, Contender]], metric: str) -> tuple[Difference, ...]:
    """The differences of these pairs, each with a verdict that counts with all the others."""
    measured = [(_measure(*pair), _hindrance(*pair)) for pair in pairs]
    open_ps = [found.p for found, hindrance in measured if not hindrance]
    adjusted = iter(holm(open_ps))
    return tuple(
        replace(found, reason=hindrance)
        if hindrance
        else _verdict(replace(found, p_adjusted=next(adjusted), comparisons=len(open_ps)), metric)
        for found, hindrance in measured
    )


def _measure(reference: Contender, contender: Contender) -> Difference:
    x, y = reference.values, contender.values
    nothing = Improvement(math.nan, math.nan, math.nan)
    if min(len(x), len(y)) == 0:
        nan = math.nan
        return Difference(reference, contender, nan, nan, nan, nan, nothing, nan, None)
    found = welch(x, y)
    return Difference(
        *(reference, contender),
        *(float(found.difference), float(found.ci_low), float(found.ci_high)),
        p=float(permutation_p(x, y)),
        improvement=improvement(x, y),
        detectable=detectable(found),
        seeds_needed=seeds_needed(x, y),
    )


def _hindrance(reference: Contender, contender: Contender) -> str:
    """Why these two cannot be judged; empty where they can."""
    frames = reference.max_frame, contender.max_frame
    if frames[0] != frames[1]:
        return f"they trained for {number(frames[0], 15)} and {number(frames[1], 15)} frames"
    for side in (reference, contender):
        if side.missing:
            seed, rest = side.missing[0], len(side.missing) - 1
            more = f", and {count(rest, 'other')}" if rest else ""
            return (
                f"{side.label} lacks {len(side.missing)} of its {len(side.seeds)} seeds "
                f"(session {seed.session} {seed.reason}{more})"
            )
    return ""


def _verdict(found: Difference, metric: str) -> Difference:
    fewest = min(len(found.reference.values), len(found.contender.values))
    shown = int(direction(found.ci_low, found.ci_high, found.p_adjusted, fewest))
    if shown == 0:
        return replace(found, verdict="not shown", reason=_not_shown(found, fewest))
    favoured = [found.contender if shown > 0 else found.reference]
    if metric not in GOOD:  # less of it may be what the search was after
        favoured = [found.reference, found.contender]
    for side in favoured:
        if side.chosen_among:
            chosen = f"{side.label} was chosen among {side.chosen_among} trials on these very seeds"
            return replace(found, verdict="not shown", reason=f"{chosen}; repeat it with fresh ones")
    words: tuple[Verdict, Verdict] = ("better", "worse") if metric in GOOD else ("higher", "lower")
    return replace(found, verdict=words[0] if shown > 0 else words[1])


def _not_shown(found: Difference, fewest: int) -> str:
    """What was seen, what these seeds could have shown, and how many it would take."""
    if found.difference == 0 and found.detectable == 0:
        return f"all {found.seeds} scored the same"
    parts = [found.numbers]
    if fewest < MIN_SEEDS:
        parts.append(f"a verdict takes {MIN_SEEDS} seeds on each side")
    if abs(found.difference) < found.detectable:
        least = number(found.detectable, 3)
        parts.append(f"these {found.seeds} can only detect differences of {least} or more")
    if found.seeds_needed and found.seeds_needed > fewest:
        needed = number(found.seeds_needed, 15)
        parts.append(f"to show one of the size seen takes about {needed} on each side")
    return "; ".join(parts)


def signed(value: float) -> str:
    """With its sign, which a difference needs."""
    return f"+{number(value)}" if value > 0 else number(value)
