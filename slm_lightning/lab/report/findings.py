"""What a search found, read from the record alone: its trials, the best of them, and what it was after.

A trial that failed, diverged, was pruned or is not finished is among the trials, and never among the
best. With one objective the best are ranked by it; with several they are the Pareto front.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from slm_lightning.errors import UsageError
from slm_lightning.lab.baselines import reward_threshold
from slm_lightning.lab.report.known_scores import best_known, environment_of
from slm_lightning.lab.wording import number
from slm_lightning.spec.dimension import fingerprint
from slm_lightning.spec.search_params import Direction, SearchParams
from slm_lightning.spec.space import Dimension, Space
from slm_lightning.tracking import RESOLVED, Record, RunInfo

METRICS = (
    *("score", "strength", "sample_efficiency", "training_efficiency", "stability", "consistency"),
)
"""Metrics by which settings are compared, besides the objectives."""
STATUSES = ("done", "pruned", "failed", "diverged", "stopped", "running")
"""How a trial stands, in the order in which they are counted."""


@dataclass(frozen=True, eq=False)
class TrialFinding:
    """One setting: what was drawn for it, how it ended, and what it came to."""

    number: int
    run_id: str
    name: str
    status: str
    """One of :data:`STATUSES`."""
    reason: str
    """Why it did not finish; empty where it did."""
    confirms: int | None
    """The trial whose setting it repeats with fresh seeds; None for a trial of the search."""
    drawn: Mapping[str, Any]
    """Value by dotted path, of what was drawn for this trial."""
    values: tuple[float, ...]
    """One for each objective; empty where it has none."""
    scalars: Mapping[str, float]
    """Metrics of the trial, by name; those that are n/a are not there."""

    @property
    def is_ranked(self) -> bool:
        """Whether it may be among the best."""
        return self.status == "done" and bool(self.values) and all(map(math.isfinite, self.values))

    def metric(self, name: str) -> float:
        """A metric of the trial; NaN where it has no value."""
        return self.scalars.get(name, math.nan)

    def interval(self, name: str) -> tuple[float, float]:
        """The 95 % t-interval over sessions of a metric; NaN where none is recorded."""
        return self.metric(f"{name}_ci_low"), self.metric(f"{name}_ci_high")

    @property
    def sessions(self) -> int:
        """Sessions with a score."""
        return int(self.scalars.get("sessions", 0))

    @property
    def frames(self) -> int:
        """Frames that its sessions have spent; 0 where it has left no metrics."""
        return int(self.scalars.get("frames", 0))


@dataclass(frozen=True)
class Goal:
    """A value to be reached by ``metric``, and where it comes from."""

    name: str
    """``target`` or ``best known score``."""
    value: float
    metric: str
    direction: Direction
    source: str

    def is_reached_by(self, value: float) -> bool:
        return value >= self.value if self.direction == "maximize" else value <= self.value


@dataclass(frozen=True, eq=False)
class Findings:
    """A search, as the record has it."""

    run_id: str
    name: str
    environment: str
    algorithm: str
    status: str
    objectives: Mapping[str, Direction]
    """``maximize`` or ``minimize``, by metric."""
    dimensions: tuple[Dimension, ...]
    trials: tuple[TrialFinding, ...]
    """All trials of the search by number, without confirmations."""
    confirmations: tuple[TrialFinding, ...]
    planned: int | None
    """Trials that the search was to run, where that is known."""
    max_frame: int
    """Frames that a session may spend where the search does not draw that."""
    goals: tuple[Goal, ...]
    """What the search is measured against; the first is what the verdict is about."""
    seconds: float | None
    """From the start of the search to the end of its last trial, interruptions included."""
    confirm: int | None
    """Sessions of the confirmation that was asked for."""

    @cached_property
    def best(self) -> tuple[TrialFinding, ...]:
        """Ranked trials, best first; with several objectives the Pareto front, by the first of them."""
        signs = [1 if way == "minimize" else -1 for way in self.objectives.values()]
        costs = {t: tuple(s * v for s, v in zip(signs, t.values)) for t in self.trials if t.is_ranked}
        if len(signs) > 1:
            costs = {t: c for t, c in costs.items() if not any(dominates(o, c) for o in costs.values())}
        return tuple(sorted(costs, key=lambda t: (costs[t], t.number)))

    @cached_property
    def top(self) -> tuple[TrialFinding, ...]:
        """Up to three of the best to look at: the first three, or both ends and the middle of a
        front."""
        best = self.best
        if len(self.objectives) == 1 or len(best) <= 3:
            return best[:3]
        return best[0], best[len(best) // 2], best[-1]

    @property
    def winners(self) -> tuple[TrialFinding, ...]:
        """The best trial; with several objectives :attr:`top`."""
        return self.best[:1] if len(self.objectives) == 1 else self.top

    @cached_property
    def confirmation(self) -> TrialFinding | None:
        """The latest trial that repeats one of :attr:`top` with fresh seeds."""
        shown = {trial.number for trial in self.top}
        return next((t for t in reversed(self.confirmations) if t.confirms in shown), None)

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """The objectives, and the metrics of the lab that any trial has."""
        known = {name for trial in self.trials for name in trial.scalars}
        own = tuple(name for name in self.objectives if name not in METRICS)
        return own + tuple(name for name in METRICS if name in known or name in self.objectives)

    def value(self, trial: TrialFinding, metric: str) -> float:
        """A metric of a trial; of an objective, what the search was told. NaN where it has none."""
        if trial.values and metric in self.objectives:
            return trial.values[list(self.objectives).index(metric)]
        return trial.metric(metric)

    def frames_planned(self, trial: TrialFinding) -> int:
        """Frames that each session of a trial may spend."""
        return int(trial.drawn.get("env.max_frame", self.max_frame))

    @property
    def is_drawable(self) -> bool:
        """Whether there is anything to draw: a parameter, and a trial with a score."""
        return bool(self.dimensions) and any(t.status in ("done", "pruned") for t in self.trials)

    @property
    def counts(self) -> dict[str, int]:
        """Trials of the search by status, those that there are."""
        found = Counter(trial.status for trial in self.trials)
        return {status: found[status] for status in STATUSES if found[status]}

    @property
    def reasons(self) -> list[tuple[str, int]]:
        """The three most frequent reasons of failure, with their counts."""
        failed = [t for t in self.trials if t.status in ("failed", "diverged")]
        return Counter(trial.reason or "no reason recorded" for trial in failed).most_common(3)

    @cached_property
    def labels(self) -> dict[str, str]:
        """A short name for the path of every dimension."""
        return short_names([dimension.path for dimension in self.dimensions])


def findings(record: Record, run_id: str) -> Findings:
    """What the search with this id found. Raises UsageError where the run is no search."""
    run = record.get(run_id)
    if run.kind != "experiment":
        raise UsageError(f"{run.name} is a {run.kind}, not a search", "give the id of an experiment")
    spec = json.loads(record.download(run_id, RESOLVED).read_text(encoding="utf-8"))
    search = SearchParams.model_validate(spec["meta"].get("search") or {})
    children = record.children(run_id)
    trials = [_trial(child) for child in children]
    ends = [child.end for child in children if child.end]
    return Findings(
        run_id=run_id,
        name=run.name,
        environment=spec["env"]["name"],
        algorithm=spec["agent"]["algorithm"]["name"],
        status=_status_of_search(run, trials),
        objectives=search.objectives,
        dimensions=Space.of(spec["search"]).dimensions,
        trials=tuple(trial for trial in trials if trial.confirms is None),
        confirmations=tuple(trial for trial in trials if trial.confirms is not None),
        planned=spec["meta"].get("max_trial"),
        max_frame=spec["env"]["max_frame"],
        goals=tuple(_goals(spec["env"], search)) if _is_one_task(spec["search"]) else (),
        seconds=(max(ends) - run.start).total_seconds() if ends else None,
        confirm=int(run.tags["slm.confirm"]) if "slm.confirm" in run.tags else None,
    )


def _trial(run: RunInfo) -> TrialFinding:
    tags = run.tags
    confirms = tags.get("slm.confirms")
    return TrialFinding(
        number=int(tags["slm.trial"]),
        run_id=run.run_id,
        name=run.name,
        status=_status(run),
        reason=tags.get("slm.reason", ""),
        confirms=None if confirms is None else int(confirms),
        drawn=json.loads(tags.get("slm.drawn", "{}")),
        values=tuple(json.loads(tags.get("slm.values", "[]"))),
        scalars=run.metrics,
    )


def _status(run: RunInfo) -> str:
    """How a run stands; one whose process is gone has stopped."""
    return "running" if run.status == "RUNNING" else run.tags.get("slm.status", "stopped")


def _status_of_search(run: RunInfo, trials: Sequence[TrialFinding]) -> str:
    """As its last process said, unless one is at work."""
    if any(trial.status == "running" for trial in trials):
        return "running"
    return run.tags.get("slm.status") or _status(run)


def _is_one_task(search: Mapping[str, Any]) -> bool:
    """Whether all trials are in one environment, so that one goal is for all."""
    return all(dimension.path != "env.name" for dimension in Space.of(search).dimensions)


def _goals(env: Mapping[str, Any], search: SearchParams) -> Iterable[Goal]:
    """The target, from the spec or else from Gymnasium, and the best known score."""
    metric, direction = next(iter(search.objectives.items()))
    if search.target is not None:
        yield Goal("target", search.target, metric, direction, "meta.search.target")
    if env.get("entry_point"):
        return  # an environment of the user's own, whatever its name
    score = "eval_score" if metric == "eval_score" else "score"
    environment = environment_of({"env": env})
    threshold = reward_threshold(environment)
    if search.target is None and threshold is not None and len(search.objectives) == 1:
        yield Goal("target", threshold, score, "maximize", "Gymnasium's reward threshold")
    if len(search.objectives) > 1:
        return
    if known := best_known(environment):
        source = f"{known.algorithm} in SLM Lab, {number(known.frames, 12)} frames"
        yield Goal("best known score", known.score, "score", "maximize", source)


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether a point of costs is nowhere higher than another, and somewhere lower."""
    return all(a <= b for a, b in zip(one, other)) and any(a < b for a, b in zip(one, other))


def place(value: Any, dimension: Dimension) -> int:
    """Which of the dimension's options a value is, counted from 0."""
    return list(map(fingerprint, dimension.choices)).index(fingerprint(value))


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Each dotted path by the shortest tail of it that no other path ends with."""
    parts = {path: path.split(".") for path in paths}

    def tail(path: str) -> str:
        for length in range(1, len(parts[path])):
            end = parts[path][-length:]
            if sum(other[-length:] == end for other in parts.values()) == 1:
                return ".".join(end)
        return path

    return {path: tail(path) for path in paths}
