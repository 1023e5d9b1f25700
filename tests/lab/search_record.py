"""Searches as the lab records them, without training: real runs in a real record, with made-up curves.

The score of a setting depends on its learning rate, best at 1e-2, and a little on γ; its curve rises to
it smoothly. So a test knows which trial is the best.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from slm_lightning.lab.analysis import (
    session_scalars,
    total_reward_ma,
    trial_curve,
    trial_scalars,
)
from slm_lightning.lab.baselines import Baseline
from slm_lightning.lab.graphs import table
from slm_lightning.registry import REGISTRY
from slm_lightning.spec.load import load_spec
from slm_lightning.spec.resolve import resolve
from slm_lightning.tracking import Record
from tests.support import TINY

SEARCH = {
    "agent": {
        "net": {"optim_spec": {"lr__loguniform": [1e-4, 1e-1]}, "hid_layers__choice": [[16], [64, 64]]},
        "algorithm": {"gamma__uniform": [0.9, 0.999]},
    }
}
LR, GAMMA, LAYERS = (
    "agent.net.optim_spec.lr",
    "agent.algorithm.gamma",
    "agent.net.hid_layers",
)
RANDOM = Baseline(mean=22.0, std=12.0, episodes=100)
MAX_FRAME, LOG_FREQUENCY = 10_000, 200
RUN_STATUS: dict[str, Any] = {
    "done": "FINISHED",
    "pruned": "FINISHED",
    "failed": "FAILED",
    "diverged": "FAILED",
    "stopped": "KILLED",
}


def draw(number: int) -> dict[str, Any]:
    """A setting for a trial, always the same one for its number."""
    rng = np.random.default_rng(number)
    return {
        LR: float(10 ** rng.uniform(-4, -1)),
        LAYERS: [[16], [64, 64]][rng.integers(2)],
        GAMMA: float(rng.uniform(0.9, 0.999)),
    }


def skill(drawn: Mapping[str, Any]) -> float:
    """The score that a setting is worth, at most 490."""
    return 490 * math.exp(-((math.log10(drawn[LR]) + 2) ** 2)) - 200 * (0.999 - drawn[GAMMA])


def curve(skill: float, seed: int, frames: int = MAX_FRAME) -> pd.DataFrame:
    """A session's record up to ``frames``."""
    rng = np.random.default_rng(seed)
    frame = np.arange(LOG_FREQUENCY, frames + 1, LOG_FREQUENCY)
    rise = 1 - np.exp(-frame / (MAX_FRAME / 5))
    returns = pd.Series(22 + (skill - 22) * rise + rng.normal(0, 8) + rng.normal(0, 4, len(frame)))
    return pd.DataFrame(
        {
            "frame": frame,
            "opt_step": frame // 8,
            "total_reward": returns,
            "total_reward_ma": total_reward_ma(returns),
            "loss": rng.normal(0, 1, len(frame)) * np.exp(-frame / MAX_FRAME),
            "entropy": 0.69 * np.exp(-frame / MAX_FRAME),
        }
    )


class RecordedSearch:
    """A search in the record, to which trials are added one by one."""

    def __init__(
        self,
        record: Record,
        name: str = "ppo_cartpole",
        search: Mapping[str, Any] = SEARCH,
        env: str = "CartPole-v1",
        sessions: int = 2,
        max_trial: int = 16,
        confirm: int | None = None,
        **asked: Any,
    ):
        """``asked`` is the section ``meta.search``."""
        self.record, self.name, self.sessions = record, name, sessions
        self.spec = copy.deepcopy(TINY) | {"search": dict(search)}
        self.spec["env"] |= {"name": env, "max_frame": MAX_FRAME}
        self.spec["meta"] |= {"max_session": sessions, "max_trial": max_trial, "search": asked}
        self.objectives = asked.get("objective", "score")
        tags = {"slm.mode": "search", "slm.env": env, "slm.algorithm": "ActorCritic", "slm.seed": "3"}
        if confirm:
            tags["slm.confirm"] = str(confirm)
        self.tags = tags
        self.scores: dict[int, float] = {}
        self.run_id = record.create_run(experiment=name, name=name, kind="experiment", tags=tags)
        record.set_tags(self.run_id, {"slm.study": self.run_id})
        self._write(self.run_id, "spec.json", {name: self.spec})
        resolved = resolve(load_spec({name: self.spec}), REGISTRY)
        self._write(self.run_id, "spec_resolved.json", resolved.to_dict())
        record.log_artifacts(self.run_id, record.folder(self.run_id))

    def add(
        self,
        number: int,
        status: str = "done",
        reason: str = "",
        drawn: Mapping[str, Any] | None = None,
        confirms: int | None = None,
        sessions: int | None = None,
        frames: int = MAX_FRAME,
        worth: Callable[[Mapping[str, Any]], float] = skill,
        values: Sequence[float] | None = None,
    ) -> str:
        """A trial with its sessions. ``running`` is left as if at work. Returns its run's id."""
        drawn = draw(number if confirms is None else confirms) if drawn is None else drawn
        sessions = sessions or self.sessions
        mode = "search" if confirms is None else "confirm"
        label = f"t{number}" if confirms is None else "confirm"
        tags = self.tags | {
            "slm.study": self.run_id,
            "slm.trial": str(number),
            "slm.mode": mode,
            "slm.drawn": json.dumps(dict(drawn)),
        }
        tags.pop("slm.confirm", None)
        if confirms is not None:
            tags["slm.confirms"] = str(confirms)
        trial = self._start(f"{self.name}_{label}", "trial", self.run_id, tags)
        spec = self.complete(drawn, sessions)
        self._write(trial, "spec.json", {f"{self.name}_{label}": spec})
        self._write(trial, "spec_resolved.json", {"name": self.name, **spec})
        failed = status in ("failed", "diverged")
        curves = [] if failed else self._curves(trial, label, tags, worth(drawn), sessions, frames)
        if status == "running":
            return trial
        scalars = trial_scalars(curves, RANDOM, sessions)
        self.record.log_metrics(trial, scalars, step=frames)
        names = [self.objectives] if isinstance(self.objectives, str) else list(self.objectives)
        if values is None and status in ("done", "pruned"):
            values = [scalars[name] for name in names]
        if status == "done":
            self.scores[number] = scalars["score"]
        ended = {"slm.status": status, "slm.reason": reason}
        if values is not None:
            ended["slm.values"] = json.dumps(list(values))
        self.record.set_tags(trial, ended)
        tables = self.record.folder(trial) / "tables"
        tables.mkdir()
        table(curves).to_csv(tables / "metrics.csv", index=False)
        trial_curve(curves, "total_reward").to_csv(tables / "trial.csv", index=False)
        self.record.log_artifacts(trial, self.record.folder(trial))
        self.record.finish(trial, RUN_STATUS[status])
        return trial

    @property
    def best(self) -> int:
        """The number of the trial whose score is the highest."""
        return max(self.scores, key=self.scores.__getitem__)

    def complete(self, drawn: Mapping[str, Any], sessions: int) -> dict[str, Any]:
        """The spec of a trial, ready to run."""
        spec = copy.deepcopy(self.spec)
        del spec["search"], spec["meta"]["search"], spec["meta"]["max_trial"]
        spec["meta"]["max_session"] = sessions
        for path, value in drawn.items():
            *sections, key = path.split(".")
            inner = spec
            for section in sections:
                inner = inner.setdefault(section, {})
            inner[key] = value
        return spec

    def finish(self, status: str = "done") -> str:
        """Ends the search. Returns the id of its run."""
        self.record.set_tags(self.run_id, {"slm.status": status})
        self.record.finish(self.run_id, RUN_STATUS[status])
        return self.run_id

    def _curves(
        self, trial: str, label: str, tags: dict[str, str], worth: float, sessions: int, frames: int
    ) -> list[pd.DataFrame]:
        curves = []
        for s in range(sessions):
            df = curve(worth, 100 * int(tags["slm.trial"]) + s, frames)
            name = f"{self.name}_{label}_s{s}"
            session = self._start(name, "session", trial, tags | {"slm.session": str(s)})
            folder = self.record.folder(session) / "tables"
            folder.mkdir()
            df.to_csv(folder / "metrics.csv", index=False)
            self.record.log_artifacts(session, folder, "tables")
            self.record.log_metrics(session, session_scalars(df, RANDOM), step=frames)
            self.record.set_tags(session, {"slm.status": "done"})
            self.record.finish(session, "FINISHED")
            curves.append(df)
        return curves

    def _start(self, name: str, kind: Any, parent: str, tags: Mapping[str, str]) -> str:
        return self.record.create_run(
            experiment=self.name, name=name, kind=kind, parent=parent, tags=tags
        )

    def _write(self, run_id: str, name: str, data: Any) -> None:
        path: Path = self.record.folder(run_id) / name
        path.write_text(json.dumps(data, indent=2), encoding="utf-8")


def recorded(record: Record, **options: Any) -> RecordedSearch:
    """A search of 16 trials, one of which failed, one diverged and two were pruned; not finished."""
    search = RecordedSearch(record, **options)
    for number in range(16):
        match number:
            case 3:
                search.add(
                    number,
                    "failed",
                    "ValueError: the environment broke",
                )
            case 9:
                search.add(number, "diverged", "loss is not finite at frame 1200")
            case 6 | 11:
                search.add(number, "pruned", "worse than trials before it", frames=3000)
            case _:
                search.add(number)
    return search
