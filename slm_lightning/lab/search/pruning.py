"""What a search asks of a session on its way, so that hopeless settings cost few frames.

The rungs of trial ``n`` are a function of its number and of the trials that were known when it was
drawn, and are fixed before it starts: nothing that runs beside it can change where it ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from slm_lightning.lab.running.job import Rung
from slm_lightning.spec.model import Spec


@dataclass(frozen=True)
class Known:
    """What an earlier trial had reached, by frame."""

    number: int
    reached: Mapping[int, float]


def watched(spec: Spec) -> tuple[str, bool]:
    """The objective as a column of a session's record, and whether less of it is better."""
    ((objective, direction),) = spec.meta.search.objectives.items()
    columns = {"score": "total_reward_ma", "eval_score": "eval/return"}
    return columns.get(objective, objective), direction == "minimize"


def rung_frames(spec: Spec, number: int) -> list[int]:
    """The frames at which trial ``number`` is judged, ascending; none where frames decide nothing."""
    pruner = spec.pruner
    if pruner is None or not pruner.by_frame:
        return []
    keywords = pruner.keywords
    first, last = int(keywords["grace_period"]), spec.env.max_frame
    if pruner.name == "median":
        return list(range(first, last, first))
    eta = keywords["reduction_factor"]
    bracket = number % keywords.get("brackets", 1)
    frames, frame = [], first * eta**bracket
    while frame < last:
        frames.append(round(frame))
        frame *= eta
    return frames


def at_frames(table: pd.DataFrame, metric: str, frames: Sequence[int]) -> dict[int, float]:
    """``metric`` of a session's record at each of ``frames``: in the first row from there on that has a
    value. Frames behind which there is none are left out."""
    if metric not in table:
        return {}
    known = table.dropna(subset=metric)
    rows = {frame: known.loc[known["frame"] >= frame, metric] for frame in frames}
    return {frame: float(values.iloc[0]) for frame, values in rows.items() if len(values)}


def rungs(spec: Spec, number: int, known: Sequence[Known]) -> list[Rung]:
    """What is asked of trial ``number``. Successive halving (Li et al., 2020, "A System for Massively
    Parallel Hyperparameter Tuning"): at each rung to be among the best ``1/η`` of those before it;
    Hyperband: the same, in brackets that begin later and later, each for itself. Median (Golovin et
    al., 2017): to be no worse than the median of those before it."""
    frames, pruner = rung_frames(spec, number), spec.pruner
    if not frames or pruner is None:
        return []
    metric, minimize = watched(spec)
    asked = []
    for frame in frames:
        brackets = pruner.keywords.get("brackets", 1)
        peers = [k for k in known if k.number % brackets == number % brackets]
        values = [k.reached[frame] for k in peers if frame in k.reached]
        least = pruner.keywords.get("n_startup_trials", 1)
        if len(values) < least:
            continue
        share = 0.5 if pruner.name == "median" else 1 / pruner.keywords["reduction_factor"]
        bound = float(np.quantile(values, share if minimize else 1 - share))
        asked.append(Rung(frame, metric, bound, minimize))
    return asked
