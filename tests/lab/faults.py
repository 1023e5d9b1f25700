"""An environment that goes wrong at a known step of a known session."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from gymnasium.envs.classic_control import CartPoleEnv

NAN = float("nan")


class Faulty(CartPoleEnv):
    """CartPole with a fault: what happens in step ``at`` of an environment whose first episode began
    with ``first_seed``.

    ``raise`` an error; reward ``nan``; ``kill`` or ``stop`` the session's process; ``signal`` process
    ``lab`` to stop; ``hang`` and do so again and again; or ``sleep`` for ever. With a path ``once`` the
    first to go wrong makes that file, and no other does after it. A ``token`` is not looked at.
    """

    def __init__(
        self,
        fault: str,
        at: int,
        first_seed: int,
        once: str | None = None,
        token: str = "",
        lab: int = 0,
        render_mode: str | None = None,
    ):
        super().__init__(render_mode=render_mode)
        self.fault, self.at, self.first_seed = fault, at, first_seed
        self.once, self.lab = once, lab
        self.begun: int | None = None
        self.taken = 0

    def reset(self, *, seed=None, options=None):
        if self.begun is None:
            self.begun = seed
        return super().reset(seed=seed, options=options)

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        self.taken += 1
        if self.taken == self.at and self.begun == self.first_seed and self._first():
            reward = self._fail(reward)
        return obs, reward, terminated, truncated, info

    def _first(self) -> bool:
        if self.once is None:
            return True
        try:
            Path(self.once).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def _fail(self, reward: float) -> float:
        match self.fault:
            case "raise":
                raise RuntimeError("the motor burnt out")
            case "nan":
                return NAN
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stop":
                os.kill(os.getpid(), signal.SIGTERM)
            case "signal":
                os.kill(self.lab, signal.SIGTERM)
            case "hang":
                while True:
                    os.kill(self.lab, signal.SIGTERM)
                    time.sleep(0.5)
            case "sleep":
                signal.sigwait([])
        return reward
