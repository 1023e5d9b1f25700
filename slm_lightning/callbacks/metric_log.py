"""The rows of the record."""

from __future__ import annotations

import json
import math
import time
from collections import deque
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer

from slm_lightning.callbacks.after_round import AfterRound
from slm_lightning.callbacks.state_hash import state_hash
from slm_lightning.data.collector import Episode
from slm_lightning.data.rollout_data import RolloutData
from slm_lightning.errors import DivergedError, IntegrityError
from slm_lightning.files import Appended
from slm_lightning.session import Session
from slm_lightning.spec.model import Spec

MA_WINDOW = 100
CALMER = "lower the learning rate, clip gradients, or normalise rewards"
"""What to do about numbers that run away."""


class MetricLog(AfterRound):
    """Appends a row to ``metrics.jsonl`` for every ``log_frequency`` frames, and a last one.

    ``total_reward`` is the mean raw return of the latest 100 training episodes (of the latest one with
    a single sub-environment), ``total_reward_ma`` its mean over the latest 100 rows. Marks that fall
    inside a round are logged as they stood at that frame, when the round has ended. Several workers
    all keep the record, of everybody's episodes, and the first writes it.
    The last row of a round holds its number and a hash of the session's ``state`` behind it.
    Raises DivergedError when the loss is not finite.
    """

    def __init__(self, spec: Spec, path: Path):
        self.spec, self.path = spec, path
        self.next_mark = spec.meta.log_frequency
        self.frames_per_step = spec.env.num_envs * spec.meta.workers
        self.returns: deque[float] = deque(maxlen=100 if self.frames_per_step > 1 else 1)
        self.rewards: deque[float] = deque(maxlen=MA_WINDOW)
        self.finished_episodes = 0
        self.best = -math.inf
        self.elapsed = 0.0
        """Seconds of training before this process."""
        self.written = 0
        """Bytes of the file that belong to the session; what a killed process wrote after its last
        checkpoint is written again."""
        self.improved = False
        """Whether ``total_reward_ma`` reached its best value so far in the latest round."""
        self.state = ""
        """The latest link of the chain of hashes."""
        self.rows: list[dict[str, float]] = []
        """The rows of the latest round."""

    @property
    def total_reward_ma(self) -> float:
        """Mean of the latest rows' total_reward; NaN before the first episode has ended."""
        return sum(self.rewards) / len(self.rewards) if self.rewards else math.nan

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.started = time.monotonic() - self.elapsed
        self.file: Appended | None = None
        assert isinstance(pl_module, Session)
        if pl_module.workers.first:
            self._open()

    def _open(self) -> None:
        self.file = Appended(self.path, self.written)
        if self.file.is_short:
            raise IntegrityError(f"{self.path} is shorter than its checkpoint says")

    def after_round(self, trainer: Trainer, session: Session, data: RolloutData) -> None:
        stride, frequency = self.frames_per_step, self.spec.meta.log_frequency
        episodes = deque(data.episodes)
        self.rows = rows = []
        while self.next_mark <= data.frame:
            frame = min(math.ceil(self.next_mark / stride) * stride, data.frame)
            rows.append(self._row(frame, episodes))
            self.next_mark = (frame // frequency + 1) * frequency
        if data.finished and not (rows and rows[-1]["frame"] == data.frame):
            rows.append(self._row(data.frame, episodes))
        self._count(episodes, data.frame)
        self.improved = bool(rows) and self.total_reward_ma >= self.best
        self.best = max(self.best, self.total_reward_ma) if self.improved else self.best
        diverged = not math.isfinite(session.info.get("loss", 0.0))  # Random has none
        if rows or diverged:
            self._write(rows or [self._row(data.frame, episodes)], session, data)
        if diverged:
            _blame_environment(data)
            raise DivergedError(
                f"the loss is {session.info['loss'].item()} at frame {data.frame}", CALMER
            )

    def _row(self, frame: int, episodes: deque[Episode]) -> dict[str, float]:
        self._count(episodes, frame)
        row: dict[str, float] = {"frame": frame, "epi": self.finished_episodes}
        if self.returns:
            self.rewards.append(sum(self.returns) / len(self.returns))
            row |= {"total_reward": self.rewards[-1], "total_reward_ma": self.total_reward_ma}
        return row

    def _count(self, episodes: deque[Episode], frame: int) -> None:
        while episodes and episodes[0].frame <= frame:
            self.returns.append(episodes.popleft().ret)
            self.finished_episodes += 1

    def _write(self, rows: list[dict[str, float]], session: Session, data: RolloutData) -> None:
        if self.file is None:
            return
        values = [value.double() for value in session.info.values()]
        info = dict(zip(session.info, torch.stack(values).tolist() if values else ()))
        self.elapsed = time.monotonic() - self.started
        learned = {k: v for k, v in info.items() if not k.startswith("eval/")}
        common = {
            "opt_step": session.opt_step,
            "lr": session.learning_rate(),
            **session.agent.schedules(),
            **learned,
            "wall_t": self.elapsed,
            "fps": rows[-1]["frame"] / max(self.elapsed, 1e-9),
            "time": time.time(),
        }
        for row in rows:
            row |= common
        rows[-1] |= {k: v for k, v in info.items() if k.startswith("eval/")}
        self.state = state_hash(self.state, session, data)
        lines: list[dict[str, Any]] = [*rows[:-1], {**rows[-1], "state": f"{data.rounds}:{self.state}"}]
        self.file.append("".join(json.dumps(line) + "\n" for line in lines).encode())
        self.written = self.file.size

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self.file is not None:
            self.file.close()

    def state_dict(self) -> dict[str, Any]:
        plain = ("next_mark", "finished_episodes", "best", "elapsed", "written", "state")
        state = {key: getattr(self, key) for key in plain}
        return state | {"returns": list(self.returns), "rewards": list(self.rewards)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for key, value in state.items():
            held = getattr(self, key)
            setattr(self, key, deque(value, held.maxlen) if isinstance(held, deque) else value)


def _blame_environment(data: RolloutData) -> None:
    """Raises DivergedError where what some worker collected last is not finite itself."""
    assert data.collector is not None
    latest = data.collector.latest
    for name in ("obs", "reward", "next_obs") if latest is not None else ():
        if data.workers.any(not getattr(latest, name).isfinite().all()):
            raise DivergedError(
                f"the environment gave a {name} that is not finite, by frame {data.frame}",
                f"look into {data.env.info.name}",
            )
