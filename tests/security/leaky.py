"""An environment that says what it should not, in every way there is, and then fails."""

from __future__ import annotations

import logging
import multiprocessing
import os
import subprocess
import sys
import warnings
from typing import Any

from gymnasium.envs.classic_control import CartPoleEnv


class Leaky(CartPoleEnv):
    """CartPole that repeats the secrets it was given (``options``) and those in ``says`` when it takes
    its step ``at``, where it is trained, and raises them all as an error."""

    def __init__(self, at: int, says: list[str], render_mode: str | None = None, **options: Any):
        super().__init__(render_mode=render_mode)
        self.at, self.taken = at, 0
        self.secrets = [*says, *map(str, options.values())]

    def step(self, action):
        self.taken += 1
        if self.taken == self.at:
            if multiprocessing.parent_process() is not None:
                self._say()
            raise ConnectionError(f"login failed with {' '.join(self.secrets)}\nand so on")
        return super().step(action)

    def _say(self) -> None:
        for secret in self.secrets:
            print("printed", secret, "whole")
            print(f"in pieces {secret}", end="", file=sys.stderr)
            logging.getLogger(__name__).warning("logged %s", secret)
            warnings.warn(f"warned {secret}", stacklevel=1)
            os.write(1, f"written past Python {secret}\n".encode())
        subprocess.run(["echo", *self.secrets], check=True)
