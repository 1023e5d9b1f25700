"""What takes part in a comparison: runs of any kind as samples of seeds, read from the record.

A *contender* is a trial with its sessions, one value each; a session by itself is one of a single seed.
Of an experiment it is the confirmation of its winner, or, where there is none, the winner itself.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from slm_lightning.errors import UsageError
from slm_lightning.lab.analysis import SESSION_SCALARS
from slm_lightning.lab.baselines import arguments_of, baseline_key
from slm_lightning.lab.report.findings import findings
from slm_lightning.lab.wording import count
from slm_lightning.spec.model import EnvParams, MetaParams
from slm_lightning.tracking import RESOLVED, Record, RunInfo

RETURNS = ("score", "eval_score", "total_reward", "total_reward_ma", "eval/return")
"""Metrics on the scale of the environment's return."""
STRENGTHS = ("strength", "max_strength", "final_strength")
"""Metrics whose zero is the random policy."""


@dataclass(frozen=True, eq=False)
class Seed:
    """One session: what it scored, or why it has no score."""

    run_id: str
    """Empty for one that was never begun."""
    session: int
    status: str
    value: float
    """NaN where it has none."""
    reason: str
    """Why it has no value, or, for one that diverged, what its value is; else empty."""
    history: pd.DataFrame = field(repr=False)

    @property
    def is_missing(self) -> bool:
        return math.isnan(self.value)


@dataclass(frozen=True, eq=False)
class Contender:
    """A sample of seeds under a name."""

    run_id: str
    """The run that was named."""
    trial_id: str
    """The run whose sessions count."""
    kind: str
    label: str
    method: str
    """What it is called over several environments: the name it was given, or its algorithm."""
    environment: str
    """Name and constructor arguments."""
    max_frame: int
    log_frequency: int
    seeds: tuple[Seed, ...]
    random: float | None
    """What the random policy scores; None where the record does not say."""
    notes: tuple[str, ...] = ()
    chosen_among: int = 0
    """Settings of a search of which it is the best on these very seeds, so that its score is too high;
    0 where it was not chosen so."""

    @property
    def values(self) -> NDArray[np.float64]:
        """The scores of the seeds that have one, ``[n]``."""
        return np.array([seed.value for seed in self.seeds if not seed.is_missing], dtype=float)

    @property
    def missing(self) -> list[Seed]:
        """Seeds without a score."""
        return [seed for seed in self.seeds if seed.is_missing]

    @property
    def histories(self) -> list[pd.DataFrame]:
        """The curves of the sessions."""
        return [seed.history for seed in self.seeds]


def contenders(runs: Sequence[str], record: Record, metric: str) -> list[Contender]:
    """A contender for each of ``runs``: an id, a beginning of one or a name, if wanted after a name to
    show it under, as ``ours=3f2a91``.

    Raises UsageError where there is no such run, no such metric, nothing finished in an experiment, or
    where two runs share a session.
    """
    found = [_contender(run, record, metric) for run in runs]
    owners: dict[str, str] = {}
    for run, contender in zip(runs, found):
        for seed in filter(lambda seed: seed.run_id, contender.seeds):
            if seed.run_id in owners:
                raise UsageError(
                    f'"{owners[seed.run_id]}" and "{run}" are the same seeds', "compare different runs"
                )
            owners[seed.run_id] = run
    _check_metric(found, metric)
    places = Counter((c.label, c.environment) for c in found)
    return [
        replace(c, label=f"{c.label} {c.trial_id[:8]}") if places[c.label, c.environment] > 1 else c
        for c in found
    ]


def _contender(name: str, record: Record, metric: str) -> Contender:
    given, _, wanted = name.rpartition("=")
    run = record.find(wanted)
    trial, notes, chosen_among = run, [], 0
    if run.kind == "experiment":
        trial, note, chosen_among = _trial_of(run, record)
        notes.append(note)
    elif run.tags.get("slm.mode") == "search":
        notes.append(
            "one setting of a search: if its score is why it is here, that score is optimistic"
        )
    spec = _spec(record, trial)
    sessions = [run] if run.kind == "session" else record.children(trial.run_id)
    env, meta = EnvParams.model_validate(spec["env"]), MetaParams.model_validate(spec["meta"])
    histories = [record.history(session.run_id) for session in sessions]
    random = _random_return(sessions, histories)
    seeds = [_seed(session, history, metric, random) for session, history in zip(sessions, histories)]
    if run.kind != "session":
        seeds += _never_begun(len(sessions), meta.sessions)
    return Contender(
        run_id=run.run_id,
        trial_id=trial.run_id,
        kind=run.kind,
        label=given or trial.name,
        method=given or spec["agent"]["algorithm"]["name"],
        environment=baseline_key(env.name, arguments_of(env)),
        max_frame=env.max_frame,
        log_frequency=meta.log_frequency,
        seeds=tuple(seeds),
        random=random,
        notes=tuple(notes),
        chosen_among=chosen_among,
    )


def _trial_of(experiment: RunInfo, record: Record) -> tuple[RunInfo, str, int]:
    """The trial that stands for an experiment, how it was chosen, and among how many on its seeds."""
    found = findings(record, experiment.run_id)
    confirmation = found.confirmation
    if confirmation and confirmation.status == "done":
        note = f"repeats trial {confirmation.confirms} of the search with fresh seeds"
        return record.get(confirmation.run_id), note, 0
    if not found.best:
        raise UsageError(
            f"no trial of {experiment.name} has finished", "compare it when one is done, or its trials"
        )
    best, ranked = found.best[0], sum(trial.is_ranked for trial in found.trials)
    note = (
        f"trial {best.number}, the best of {count(ranked, 'trial')} by {next(iter(found.objectives))} "
        "on these seeds: its score is optimistic until --confirm repeats it with fresh ones"
    )
    return record.get(best.run_id), note, ranked if ranked > 1 else 0


def _spec(record: Record, trial: RunInfo) -> dict:
    """The resolved spec of a trial, or of a session's trial."""
    source = trial.parent if trial.kind == "session" and trial.parent else trial.run_id
    return json.loads(record.download(source, RESOLVED).read_text(encoding="utf-8"))


def _random_return(sessions: Sequence[RunInfo], histories: Sequence[pd.DataFrame]) -> float | None:
    """The random policy's mean return as the sessions counted it: what a last return has more than
    ``final_strength``. None where no session says."""
    for session, history in zip(sessions, histories):
        strength = session.metrics.get("final_strength", math.nan)
        returns = history.get("total_reward", pd.Series(dtype=float)).dropna()
        if len(returns) and math.isfinite(strength):
            return float(returns.iloc[-1]) - strength
    return None


def _seed(session: RunInfo, history: pd.DataFrame, metric: str, random: float | None) -> Seed:
    status = "running" if session.status == "RUNNING" else session.tags.get("slm.status", "stopped")
    value = session.metrics.get(metric, math.nan)
    if abs(value) == sys.float_info.max:  # what MLflow makes of infinity
        value = math.nan
    reason = "" if math.isfinite(value) else f"has no {metric}"
    floor = random if metric in RETURNS else 0.0 if metric in STRENGTHS else None
    if status == "diverged" and floor is not None:
        value = min(value, floor) if math.isfinite(value) else floor
        reason = "diverged, and counts as no better than random"
    elif status != "done":
        value, reason = math.nan, f"{status}: {session.tags.get('slm.reason', '')}".removesuffix(": ")
    place = int(session.tags.get("slm.session", 0))
    return Seed(session.run_id, place, status, float(value), reason, history)


def _never_begun(recorded: int, planned: int) -> list[Seed]:
    return [
        Seed("", place, "missing", math.nan, "was never begun", pd.DataFrame())
        for place in range(recorded, planned)
    ]


def _check_metric(found: Sequence[Contender], metric: str) -> None:
    """Raises UsageError where no seed of any contender can have the metric."""
    tables = [history.select_dtypes("number") for c in found for history in c.histories]
    columns = {column for table in tables for column in table}
    if metric not in columns | set(SESSION_SCALARS):
        known = ", ".join([*SESSION_SCALARS, *sorted(columns - {"frame"})])
        raise UsageError(f'no session has a metric "{metric}"', f"one of: {known}")
