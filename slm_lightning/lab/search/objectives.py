"""What a search makes of a trial: the values of its objectives, and those on the way."""

from __future__ import annotations

import math

from slm_lightning.errors import UsageError
from slm_lightning.lab.analysis import SESSION_SCALARS, TRIAL_SCALARS
from slm_lightning.lab.result import Result, SessionResult
from slm_lightning.lab.search.pruning import at_frames, rung_frames, watched
from slm_lightning.lab.search.study import Ended
from slm_lightning.lab.trial import Trial
from slm_lightning.spec.model import Spec
from slm_lightning.spec.wording import did_you_mean, listed


def ended(result: Result, spec: Spec, number: int | None) -> Ended:
    """What became of a trial: failed where one of its sessions did, or a value is not finite. A
    confirmation has no ``number`` in the search, and no values on the way to compare with others.

    Raises UsageError for an objective that no session has.
    """
    if result.status not in ("done", "pruned"):
        return Ended(None)
    for metric in spec.meta.search.objectives:
        _refuse_unknown(metric, result)
    values = [trial_value(result, metric) for metric in spec.meta.search.objectives]
    finite = all(map(math.isfinite, values))
    pruned = result.status == "pruned"
    return Ended(values if finite else None, _on_the_way(result, spec, number), pruned)


def _on_the_way(result: Result, spec: Spec, number: int | None) -> dict[int, float]:
    """By frame where frames decide what is given up, by session where sessions do."""
    if spec.pruner is None or number is None:
        return {}
    if not spec.pruner.by_frame:
        (metric,) = spec.meta.search.objectives
        sessions = [s for s in result.sessions if s.outcome.status == "done"]
        return {i: session_value(session, metric) for i, session in enumerate(sessions)}
    (session,) = result.sessions
    return at_frames(session.metrics, watched(spec)[0], rung_frames(spec, number))


def _refuse_unknown(metric: str, result: Result) -> None:
    known = [*TRIAL_SCALARS, *result.metrics.select_dtypes("number")]
    if metric not in known:
        hint = did_you_mean(metric, known) or f"; they have {listed(sorted(known))}"
        raise UsageError(f'no session has the objective "{metric}" (meta.search.objective){hint}')


def trial_value(result: Result, metric: str) -> float:
    """A metric of a trial: one of the lab's, or the last value of a column, averaged over sessions."""
    if metric in TRIAL_SCALARS:
        return result.scalars[metric]
    counted = [s for s in result.sessions if s.outcome.status == "done"] or result.sessions
    values = [session_value(session, metric) for session in counted]
    return sum(values) / len(values)


def session_value(session: SessionResult, metric: str) -> float:
    """A metric of one session; ``score`` for what only a trial has. NaN where it has none."""
    if metric in TRIAL_SCALARS:
        return session.scalars[metric if metric in SESSION_SCALARS else "score"]
    if metric not in session.metrics or not len(known := session.metrics[metric].dropna()):
        return math.nan
    return float(known.iloc[-1])


def session_values(trial: Trial, metric: str) -> list[float]:
    """Of the sessions that are done, up to the first that is not, in their order."""
    values = []
    for session in range(len(trial.session_ids)):
        outcome = trial.outcomes.get(session)
        if outcome is None or outcome.status != "done":
            break
        values.append(session_value(trial.session_result(session), metric))
    return values
