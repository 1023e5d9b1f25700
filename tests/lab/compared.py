"""Samples of seeds to compare, with curves that rise to their scores."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from slm_lightning.lab.analysis import session_scalars, total_reward_ma
from slm_lightning.lab.compare.runs import Contender, Seed
from slm_lightning.tracking import Record
from tests.lab.search_record import RANDOM, RUN_STATUS
from tests.support import TINY

FRAMES = 2000


def curve(score: float, frames: int = FRAMES) -> pd.DataFrame:
    """A session's record whose ``total_reward_ma`` ends at ``score``."""
    frame = np.arange(200, frames + 1, 200)
    rise = np.linspace(0.5, 1, len(frame))
    returns = pd.Series(rise * score / rise.mean())
    return pd.DataFrame(
        {
            "frame": frame,
            "total_reward": returns,
            "total_reward_ma": total_reward_ma(returns),
            "state": [f"{i}:{score}" for i in range(len(frame))],
        }
    )


def contender(
    label: str,
    values: Sequence[float],
    env: str = "CartPole-v1",
    max_frame: int = FRAMES,
    random: float | None = 20.0,
    **more: Any,
) -> Contender:
    """A trial of this name; a NaN among ``values`` is a session that failed."""
    seeds = tuple(
        Seed(f"{label}-{i}", i, "failed", math.nan, "failed: it broke", pd.DataFrame())
        if math.isnan(value)
        else Seed(f"{label}-{i}", i, "done", float(value), "", curve(value))
        for i, value in enumerate(values)
    )
    return Contender(
        run_id=f"{label}-run",
        trial_id=f"{label}-run",
        kind="trial",
        label=label,
        environment=env,
        max_frame=max_frame,
        log_frequency=200,
        seeds=seeds,
        random=random,
        **{"method": label, **more},
    )


def record_trial(
    record: Record,
    name: str,
    values: Sequence[float],
    ends: Mapping[int, str] | None = None,
    max_session: int | None = None,
    env: Mapping[str, Any] | None = None,
) -> str:
    """A trial in the record whose sessions scored ``values``. ``ends`` says how sessions ended that are
    not done; a NaN has no score; ``env`` are keys of the spec's section. Returns its run's id."""
    ends = ends or {}
    spec = copy.deepcopy(TINY)
    spec["env"] |= {"max_frame": FRAMES, **(env or {})}
    spec["meta"]["max_session"] = max_session or len(values)
    tags = {"slm.mode": "train", "slm.trial": "0"}
    trial = record.create_run(experiment=name, name=f"{name}_t0", kind="trial", tags=tags)
    resolved = record.folder(trial) / "spec_resolved.json"
    resolved.write_text(json.dumps({"name": name, **spec}), encoding="utf-8")
    record.log_artifacts(trial, resolved)
    for i, value in enumerate(values):
        session = record.create_run(
            experiment=name,
            name=f"{name}_t0_s{i}",
            kind="session",
            parent=trial,
            tags=tags | {"slm.session": str(i)},
        )
        if not math.isnan(value):
            (record.folder(session) / "tables").mkdir()
            table = record.folder(session) / "tables" / "metrics.csv"
            curve(value).to_csv(table, index=False)
            record.log_artifacts(session, table, "tables")
            record.log_metrics(session, session_scalars(curve(value), RANDOM), step=FRAMES)
        end = ends.get(i, "done")
        if end != "running":
            record.set_tags(session, {"slm.status": end, "slm.reason": "" if end == "done" else "why"})
            record.finish(session, RUN_STATUS[end])
    record.finish(trial, "FINISHED")
    return trial
