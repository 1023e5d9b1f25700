"""An environment that falls asleep once, so that a test can do something to the session meanwhile."""

from __future__ import annotations

import os
import signal
from multiprocessing import current_process, parent_process
from pathlib import Path

from gymnasium.envs.classic_control import CartPoleEnv


class Sleeper(CartPoleEnv):
    """CartPole. The first session of all that makes step ``at`` of an environment writes its process id
    to the file ``bed`` and never wakes up."""

    def __init__(self, at: int, bed: str, render_mode: str | None = None):
        super().__init__(render_mode=render_mode)
        self.at, self.bed, self.taken = at, Path(bed), 0

    def step(self, action):
        self.taken += 1
        in_session = parent_process() is not None and current_process().name != "apart"
        if self.taken == self.at and in_session and self._is_first():
            signal.sigwait([])
        return super().step(action)

    def _is_first(self) -> bool:
        aside = self.bed.with_suffix(f".{os.getpid()}")
        aside.write_text(str(os.getpid()))
        try:
            self.bed.hardlink_to(aside)
        except FileExistsError:
            return False
        return True
