"""The metrics of a publication, computed again from its rows: what is recorded of them is what those
show, whatever it says of itself."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import pandas as pd

from slm_lightning.errors import IntegrityError
from slm_lightning.lab.analysis import session_scalars, trial_curve, trial_scalars
from slm_lightning.lab.baselines import SHIPPED, Baseline, arguments_of, baseline_key, read_table
from slm_lightning.lab.publish.arrived import Arrived, ToldRun, plain
from slm_lightning.lab.publish.runs import number_table
from slm_lightning.lab.result import Result, SessionResult
from slm_lightning.lab.running.job import Outcome, Status
from slm_lightning.lab.search.objectives import trial_value
from slm_lightning.lab.trial_record import CURVES
from slm_lightning.registry import REGISTRY
from slm_lightning.spec.load import load_spec
from slm_lightning.spec.model import Spec
from slm_lightning.spec.resolve import resolve
from slm_lightning.tracking import RESOLVED


def recomputed(arrived: Arrived) -> Arrived:
    """The same with those metrics only that follow from its rows; those of an experiment follow from
    its trials, once they are recorded.

    Raises IntegrityError where one that is told differs from its rows beyond rounding.
    """
    top = arrived.runs[0]
    objectives = list(_spec(top).meta.search.objectives) if top.kind == "experiment" else []
    known: dict[str, dict[str, float]] = {}
    for trial in arrived.runs:
        if trial.kind == "trial":
            known |= _of_trial(trial, arrived, objectives)
    for run in arrived.runs:
        for name in run.metrics.keys() & known.get(run.id, {}).keys():
            _check(name, run, run.metrics[name], known[run.id][name], arrived.origin)
    return replace(arrived, runs=[_with(run, known.get(run.id, {})) for run in arrived.runs])


def _with(run: ToldRun, known: Mapping[str, float]) -> ToldRun:
    told = {name: value for name, value in known.items() if name in run.metrics}
    return run.model_copy(update={"metrics": told})


def _of_trial(
    trial: ToldRun, arrived: Arrived, objectives: Sequence[str]
) -> dict[str, dict[str, float]]:
    """The metrics of a trial and of its sessions, by run; of a session by itself only its own.

    Raises IntegrityError where the rows show other values of the ``objectives``.
    """
    spec = _spec(trial)
    runs = [run for run in arrived.runs if run.parent == trial.id]
    tables = [number_table(arrived.rows, run.tags) for run in runs]
    baseline = _baseline(spec, runs, tables)
    sessions = [
        SessionResult(run.id, _outcome(run), table, session_scalars(table, baseline))
        for run, table in zip(runs, tables)
    ]
    known = {session.run_id: session.scalars for session in sessions}
    if len(sessions) != spec.meta.sessions:
        if objectives:
            raise IntegrityError(f"{arrived.origin} lacks sessions of {trial.name}")
        return known
    counted = [s.metrics for s in sessions if s.outcome.status != "pruned"] or tables
    scalars = trial_scalars(counted, baseline, spec.meta.sessions)
    result = Result(trial.id, trial.name, sessions, scalars, figures={})
    for objective, value in zip(objectives, json.loads(trial.tags.get("slm.values", "[]"))):
        _check(objective, trial, value, trial_value(result, objective), arrived.origin)
    curves = {name: _last(trial_curve(tables, name)["mean"]) for name in CURVES if _has(tables, name)}
    return known | {trial.id: curves | scalars}


def _check(name: str, run: ToldRun, told: Any, known: float, origin: str) -> None:
    is_number = isinstance(told, float | int)
    if not is_number or not math.isclose(told, known, rel_tol=1e-6, abs_tol=1e-9):
        said = f"{name} of {run.name} is {plain(str(told))[:20]}"
        raise IntegrityError(
            f"{origin} says that {said}; its rows give {known:.6g}",
            "nothing of it was recorded; ask its author for the numbers as they were recorded",
        )


def _baseline(spec: Spec, runs: Sequence[ToldRun], tables: Sequence[pd.DataFrame]) -> Baseline | None:
    """What a random policy scores: as the lab knows it, or else as its author's strengths have it."""
    shipped = read_table(SHIPPED).get(baseline_key(spec.env.name, arguments_of(spec.env)))
    if shipped:
        return shipped
    for run, table in zip(runs, tables):
        last = _last(table["total_reward"]) if "total_reward" in table else math.nan
        mean = last - run.metrics.get("final_strength", math.nan)
        if math.isfinite(mean):
            return Baseline(mean, math.nan, 0)
    return None


def _last(values: pd.Series) -> float:
    known = values.dropna()
    return float(known.iloc[-1]) if len(known) else math.nan


def _has(tables: Sequence[pd.DataFrame], column: str) -> bool:
    return any(column in table for table in tables)


def _outcome(run: ToldRun) -> Outcome:
    return Outcome(cast(Status, run.tags.get("slm.status", "stopped")), "")


def _spec(run: ToldRun) -> Spec:
    return resolve(load_spec(run.specs[RESOLVED]), REGISTRY)
