"""The metrics of the lab, as SLM Lab defines them, for one session and for the sessions of a trial.

A *session's record* is a DataFrame with one row per checkpoint (log point), ordered by ``frame``, each
frame once. Read here: ``frame``, ``opt_step``, ``total_reward`` (mean return of the last finished
episodes, NaN before the first) and, where the agent was evaluated, ``eval/return``. A session without
any row is an empty DataFrame, so that a session's place in a list stays its index.

``str_i = total_reward_i - R_random`` is the strength at checkpoint i, with the random policy's mean
return as its zero. Checkpoints before the first finished episode count nowhere. A metric that divides
by a sum of strengths means nothing for an agent near or below random: it is then NaN, shown as n/a.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from slm_lightning.lab.baselines import Baseline
from slm_lightning.lab.stats import summarize, t_half_width

WINDOW = 100
"""Checkpoints that the moving average of ``total_reward`` spans."""

NEAR_ZERO = 0.01
"""A sum of strengths below this share of the sum of their absolute values counts as zero."""

SESSION_SCALARS = [
    "score",
    "eval_score",
    "strength",
    "max_strength",
    "final_strength",
    "sample_efficiency",
    "training_efficiency",
    "stability",
]

TRIAL_SCALARS = [
    *SESSION_SCALARS,
    *("consistency", "score_ci_low", "score_ci_high", "score_std", "score_iqm", "score_min"),
    *("eval_score_ci_low", "eval_score_ci_high"),
]


def total_reward_ma(total_reward: pd.Series) -> pd.Series:
    """At each checkpoint the mean of ``total_reward`` over the last 100 checkpoints, NaN skipped."""
    return total_reward.rolling(WINDOW, min_periods=1).mean()


def efficiency(strength: pd.Series, t: pd.Series) -> float:
    """``Σ_i str_i / t_i  /  Σ_i str_i``: the mean of 1/t, weighted by strength; early gains count most.

    ``t`` counts frames (sample efficiency) or optimizer steps (training efficiency). A checkpoint with
    t = 0 counts in the denominator alone.
    """
    started = t > 0
    return _per_strength((strength[started] / t[started]).sum(), strength)


def stability(strength: pd.Series) -> float:
    """``1 - |Σ_i min(str_{i+1} - str_i, 0) / Σ_i str_i|`` with i up to the last checkpoint but one.

    1 for a curve that never falls. It depends on the spacing of checkpoints.
    """
    drops = strength.diff().clip(upper=0).sum()
    return 1 - _per_strength(abs(drops), strength.iloc[:-1])


def consistency(strengths: pd.DataFrame) -> float:
    """``1 - 2 Σ_i std_j(str_ij) / Σ_i mean_j(str_ij)`` over sessions j, std with n - 1.

    ``strengths`` has a row per frame and a column per session; frames that some session lacks are left
    out. 1 when all sessions agree; NaN for one session.
    """
    common = strengths.dropna()
    if common.shape[1] < 2:
        return math.nan
    return 1 - _per_strength(2 * common.std(axis=1).sum(), common.mean(axis=1))


def _per_strength(value: float, strength: pd.Series) -> float:
    total = strength.sum()
    return float(value / total) if total > NEAR_ZERO * strength.abs().sum() else math.nan


def session_scalars(df: pd.DataFrame, baseline: Baseline | None) -> dict[str, float]:
    """The metrics of a session; NaN where one is not defined.

    ===================== ========================================================================
    score                 the last ``total_reward_ma``: training returns, SLM Lab's headline number
    eval_score            the last ``eval/return``: greedy policy, environments of its own
    strength              mean of str_i over checkpoints
    max_strength          largest str_i
    final_strength        str_i at the last checkpoint
    sample_efficiency     :func:`efficiency` by frames
    training_efficiency   :func:`efficiency` by optimizer steps
    stability             :func:`stability`
    ===================== ========================================================================

    Without a baseline everything but the two scores is NaN.
    """
    df = df.reindex(columns=["frame", "opt_step", "total_reward", "eval/return"]).astype(float)
    scored = df.dropna(subset="total_reward")
    strength = scored["total_reward"] - (baseline.mean if baseline else math.nan)
    return {
        "score": float(df["total_reward"].tail(WINDOW).mean()),
        "eval_score": _last(df["eval/return"].dropna()),
        "strength": float(strength.mean()),
        "max_strength": float(strength.max()),
        "final_strength": _last(strength),
        "sample_efficiency": efficiency(strength, scored["frame"]),
        "training_efficiency": efficiency(strength, scored["opt_step"]),
        "stability": stability(strength),
    }


def _last(values: pd.Series) -> float:
    return float(values.iloc[-1]) if len(values) else math.nan


def trial_scalars(
    dfs: Sequence[pd.DataFrame], baseline: Baseline | None, planned: int
) -> dict[str, float]:
    """The metrics of a trial from the records of its sessions, each counted up to its last checkpoint.

    The mean over sessions of every session metric, NaN when it is n/a for one of them;
    :func:`consistency`; for both scores the 95 % t-interval over sessions ``*_ci_low``, ``*_ci_high``;
    for ``score`` also the standard deviation, the interquartile mean and the worst session.
    ``sessions`` of ``sessions_planned`` have a score and are in these numbers; of those with a record,
    ``sessions_ended_early`` stop before the last frame of the longest. ``frames`` is what all sessions
    with a record have spent, up to their last checkpoints.
    """
    rows = [session_scalars(df, baseline) for df in dfs]
    table = pd.DataFrame(rows, columns=SESSION_SCALARS, dtype=float).dropna(subset="score")
    score, eval_score = summarize(table["score"]), summarize(table["eval_score"])
    returns = align(dfs, "total_reward").dropna(axis=1, how="all")
    strengths = returns - (baseline.mean if baseline else math.nan)
    return {
        **{name: float(value) for name, value in table.mean(skipna=False).items()},
        "consistency": consistency(strengths),
        "score_ci_low": score.ci_low,
        "score_ci_high": score.ci_high,
        "score_std": score.std,
        "score_iqm": score.iqm,
        "score_min": score.min,
        "eval_score_ci_low": eval_score.ci_low,
        "eval_score_ci_high": eval_score.ci_high,
        "sessions": float(len(table)),
        "sessions_planned": float(planned),
        "sessions_ended_early": float(len(ended_early(dfs))),
        "frames": float(sum(df["frame"].iloc[-1] for df in dfs if len(df))),
    }


def ended_early(dfs: Sequence[pd.DataFrame]) -> list[int]:
    """Places in ``dfs`` of the sessions whose record stops before that of the longest session."""
    last = {i: df["frame"].iloc[-1] for i, df in enumerate(dfs) if len(df)}
    return [i for i, frame in last.items() if frame < max(last.values())]


def align(dfs: Sequence[pd.DataFrame], column: str) -> pd.DataFrame:
    """A column of every session side by side: a row per frame that any session logged, a column per
    session that has the column, named by its place in ``dfs``; NaN where a session has no value."""
    columns = {i: df.set_index("frame")[column] for i, df in enumerate(dfs) if column in df}
    return pd.concat(columns, axis=1).sort_index() if columns else pd.DataFrame()


def trial_curve(dfs: Sequence[pd.DataFrame], column: str) -> pd.DataFrame:
    """Mean over sessions of a column, frame by frame: ``frame, mean, std, ci_low, ci_high, n``.

    ``n`` sessions have a value at the frame (at least one); ``ci_low`` and ``ci_high`` bound the
    pointwise 95 % t-interval of the mean; it and ``std`` are NaN where n is 1.
    """
    values = align(dfs, column).dropna(how="all")
    mean, std, n = values.mean(axis=1), values.std(axis=1), values.count(axis=1)
    half = t_half_width(std, n)
    curve = {"mean": mean, "std": std, "ci_low": mean - half, "ci_high": mean + half, "n": n}
    return pd.DataFrame(curve).rename_axis("frame").reset_index()
