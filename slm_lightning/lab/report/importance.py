"""How much each searched parameter mattered for being among the best trials: PED-ANOVA.

The importance of a parameter is how far its distribution among the best trials differs from that among
all (Watanabe, Bansal, Hutter: "PED-ANOVA", IJCAI 2023; with conditions as in "Conditional PED-ANOVA",
KDD 2026). Optuna computes it, from a study in memory.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from slm_lightning.lab.report.findings import Findings, TrialFinding, place
from slm_lightning.spec.space import Dimension

LEAST = 10
"""Trials below which importances would be noise."""
AMONG_BEST = 10
"""Trials that count as the best, at least: of 60 trials a tenth finds a choice that decides in 17 of 30
simulated searches, ten trials find it in 26."""


def importances(found: Findings) -> dict[str, float]:
    """Share of each dimension's path in what told the best trials apart, largest first; they add up
    to 1. The best are the first tenth of those that are ranked, but at least ten and at most half.

    Empty where fewer than ten trials are ranked, or where nothing tells the best apart.
    """
    ranked = [trial for trial in found.trials if trial.is_ranked]
    if len(ranked) < LEAST or not found.dimensions:
        return {}
    import optuna

    share = min(0.5, max(0.1, AMONG_BEST / len(ranked)))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=share)
    with _quiet():
        shares = evaluator.evaluate(_study(found, ranked))
    total = sum(shares.values())
    return {path: value / total for path, value in shares.items()} if total > 0 else {}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what Optuna says of a study in memory and of what is experimental."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _study(found: Findings, ranked: Sequence[TrialFinding]) -> Any:
    """The trials in Optuna's terms."""
    import optuna

    study = optuna.create_study(directions=list(found.objectives.values()))
    distributions = {dimension.path: _distribution(dimension) for dimension in found.dimensions}
    for trial in ranked:
        drawn = [d for d in found.dimensions if d.path in trial.drawn]
        study.add_trial(
            optuna.create_trial(
                params={d.path: _inner(d, trial.drawn[d.path]) for d in drawn},
                distributions={d.path: distributions[d.path] for d in drawn},
                values=list(trial.values),
            )
        )
    return study


def _distribution(dimension: Dimension) -> Any:
    """The dimension as Optuna's estimator is to see it: a choice by the place of its option."""
    from optuna import distributions

    if dimension.kind == "choice":
        return distributions.CategoricalDistribution(range(len(dimension.choices)))
    return distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _inner(dimension: Dimension, value: Any) -> float | int:
    return place(value, dimension) if dimension.kind == "choice" else float(value)
