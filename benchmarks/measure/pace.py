"""How fast a training goes once it is under way, and when it reaches its target."""

from __future__ import annotations

import time
from collections import deque
from statistics import mean

import torch
from lightning import LightningModule, Trainer

from benchmarks.measure.ceilings import wait_for
from slm_lightning.callbacks.after_round import AfterRound
from slm_lightning.data.rollout_data import RolloutData
from slm_lightning.session import Session

EPISODES = 100
WARM_ROUNDS = 5
"""Rounds before the speed is taken."""


class Pace(AfterRound):
    """Reads the clock after every round, when the device has done all of it."""

    def __init__(self, device: torch.device, target: float):
        self.device, self.target = device, target
        self.returns: deque[float] = deque(maxlen=EPISODES)
        self.marks: list[tuple[float, int]] = []
        """Time and frame after each round."""
        self.reached: tuple[float, int] | None = None
        """Seconds and frames until the mean return of the latest episodes was at the target."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.begun = time.perf_counter()

    def after_round(self, trainer: Trainer, session: Session, data: RolloutData) -> None:
        wait_for(self.device)
        self.marks.append((time.perf_counter(), data.frame))
        self.returns.extend(episode.ret for episode in data.episodes)
        good = len(self.returns) == EPISODES and mean(self.returns) >= self.target
        if good and self.reached is None:
            self.reached = self.marks[-1][0] - self.begun, data.frame

    @property
    def frames_per_second(self) -> float:
        """From the end of the warm rounds to that of the last one."""
        (start, first), (end, last) = self.marks[WARM_ROUNDS - 1], self.marks[-1]
        return (last - first) / (end - start)
