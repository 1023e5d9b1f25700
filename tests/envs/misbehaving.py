"""Environments that break the interface, their process, or the promise to repeat themselves.

``env.entry_point: tests.envs.misbehaving:Name`` makes them.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import re
import signal
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces


def misbehaving(fault: str, name: str = "Misbehaving", **keys: Any) -> dict[str, Any]:
    """The section ``env`` of a spec for one of them."""
    return {"name": f"tests/{name}-v0", "entry_point": f"{__name__}:{name}", "fault": fault} | keys


class Misbehaving(gym.Env):
    """Ten steps, shown as they are counted; in step ``at`` since it was made something is wrong.
    With a path ``stopped`` the first session to come there makes that file, and stops."""

    observation_space = spaces.Box(0, 10, (2,))
    action_space = spaces.Discrete(2)
    made: ClassVar[int] = 0

    def __init__(self, fault: str, at: int = 13, notes: str | None = None, stopped: str | None = None):
        Misbehaving.made += 1
        self.fault, self.at, self.notes, self.stopped = fault, at, notes, stopped
        self.number = Misbehaving.made
        """Which it is of those that this process has made."""
        self.taken = self.resets = 0
        self._note("made")

    def _note(self, what: str) -> None:
        if self.notes is not None:
            with Path(self.notes).open("a") as file:
                file.write(what + "\n")

    def _obs(self) -> Any:
        return np.full(2, self.steps, dtype=np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.resets = 0, self.resets + 1
        return self._obs(), {}

    def step(self, action):
        self.steps += 1
        self.taken += 1
        in_session = multiprocessing.current_process().name.startswith("session")
        if in_session and self.taken == self.at and self.stopped and not Path(self.stopped).exists():
            Path(self.stopped).touch()
            os.kill(os.getpid(), signal.SIGTERM)
        if self.fault == "random" and self.steps == 4:
            return self._obs(), float(os.urandom(1)[0] + 256 * self.number), False, False, {}
        if self.fault == "leak":
            return self._obs(), float(self.resets), self.steps == 10, False, {}
        if self.taken == self.at:
            return self._wrong()
        return self._obs(), 1.0, self.steps == 10, False, {}

    def _wrong(self) -> Any:
        obs: Any = self._obs()
        reward: Any = 1.0
        terminated: Any = False
        match self.fault:
            case "outside":
                obs[1] = 11
            case "nan":
                obs[0] = np.nan
            case "shape":
                obs = obs[:1]
            case "dtype":
                obs = obs.astype(np.complex64)
            case "reward":
                reward = float("inf")
            case "array":
                reward = np.ones(1)
            case "flag":
                terminated = 1
            case "four":
                return obs, reward, terminated, {}
            case "raise":
                raise ZeroDivisionError("no bottom")
            case "quit":
                raise SystemExit(3)
            case "segfault":
                ctypes.string_at(0)
            case "exit":
                os._exit(3)
            case "sleep":
                signal.sigwait([])
            case "spin":  # in C, with the interpreter's lock
                re.match(r"(a+)+$", "a" * 60 + "b")
        return obs, reward, terminated, False, {}

    def close(self) -> None:
        self._note("closed")


class Seedless(Misbehaving):
    """Takes no seed."""

    def reset(self):  # type: ignore[override]
        return super().reset()


class Hidden(gym.Env):
    """Shows nothing, and rewards by a number of the process: what is restored looks like what was, and
    is another."""

    observation_space = spaces.Box(0, 1, (1,))
    action_space = spaces.Discrete(2)
    state: ClassVar[float] = 0.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.odd = bool(seed is not None and seed % 2)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), Hidden.state * self.odd, False, False, {}
