"""Findings made by hand, without a record, for what is computed from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from slm_lightning.lab.report.findings import Findings, Goal, TrialFinding
from slm_lightning.spec.space import Space

SEARCH = {
    "net.lr__loguniform": [1e-4, 1e-1],
    "gamma__uniform": [0.9, 1.0],
    "net.layers__choice": [[16], [64, 64], "wide"],
    "epochs__randint": [1, 9],
}
TARGET = Goal("target", 100.0, "score", "maximize", "meta.search.target")


def trial(
    number: int = 0,
    *values: float,
    status: str = "done",
    reason: str = "",
    drawn: Mapping[str, Any] | None = None,
    confirms: int | None = None,
    **scalars: float,
) -> TrialFinding:
    """A trial; its first value is its ``score`` unless ``scalars`` say otherwise."""
    if values:
        scalars = {"score": values[0], "sessions": 2.0, "sessions_planned": 2.0} | scalars
    return TrialFinding(
        number=number,
        run_id=f"{number:032x}",
        name=f"search_t{number}",
        status=status,
        reason=reason,
        confirms=confirms,
        drawn=drawn if drawn is not None else {"net.lr": 1e-2, "gamma": 0.99},
        values=values,
        scalars=scalars,
    )


def found(
    *trials: TrialFinding,
    search: Mapping[str, Any] = SEARCH,
    objectives: Mapping[str, Any] | None = None,
    goals: Sequence[Goal] = (TARGET,),
    confirmations: Sequence[TrialFinding] = (),
    status: str = "done",
    planned: int | None = None,
) -> Findings:
    return Findings(
        run_id="f" * 32,
        name="search",
        environment="CartPole-v1",
        algorithm="PPO",
        status=status,
        objectives=objectives or {"score": "maximize"},
        dimensions=Space.of(search).dimensions,
        trials=trials,
        confirmations=tuple(confirmations),
        planned=planned,
        max_frame=1000,
        goals=tuple(goals),
        seconds=60.0,
        confirm=None,
    )
