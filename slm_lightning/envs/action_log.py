"""What a vector environment has done since its running episodes began: enough to bring it back.

Simulators do not give up their whole state (a pickled MuJoCo environment is silently a new one), but
they repeat themselves: a seeded reset and the same actions lead to the same place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from slm_lightning.errors import IntegrityError

TRIM = 4096


class ActionLog:
    """The actions of ``N`` sub-environments, back to the start of the oldest running episode."""

    def __init__(self, num_envs: int):
        self.actions: list[np.ndarray] = []
        self.begin = np.zeros(num_envs, dtype=np.int64)
        """Where in ``actions`` each sub-environment's running episode began."""

    def clear(self) -> None:
        """All sub-environments have been reset."""
        self.actions.clear()
        self.begin[:] = 0

    def append(self, action: np.ndarray, done: np.ndarray | None) -> None:
        """One vector step, after which the ``done`` sub-environments begin an episode."""
        self.actions.append(action)
        if done is None:
            return
        self.begin[done] = len(self.actions)
        if (oldest := int(self.begin.min())) >= TRIM:
            del self.actions[:oldest]
            self.begin -= oldest

    def state_dict(self) -> dict[str, Any]:
        """Tensors only, so that it can be loaded without unpickling."""
        oldest = int(self.begin.min())
        actions = self.actions[oldest:]
        return {
            "actions": torch.from_numpy(np.stack(actions)) if actions else None,
            "begin": torch.from_numpy(self.begin - oldest),
        }

    def replay(
        self,
        state: dict[str, Any],
        reset: Callable[[np.ndarray | None], np.ndarray],
        step: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    ) -> np.ndarray:
        """Takes the logged actions again; returns the observations they lead to.

        ``reset(mask)`` starts the running episodes of the masked sub-environments (None: of all) and
        ``step(action)`` returns observations and which episodes ended. Until its running episode
        begins, a sub-environment takes whatever actions there are.
        Raises IntegrityError where a running episode ends.
        """
        self.begin = state["begin"].numpy().copy()
        self.actions = [] if state["actions"] is None else list(state["actions"].numpy())
        obs = reset(None)
        for t, action in enumerate(self.actions, start=1):
            obs, done = step(action)
            if (done & (self.begin < t)).any():
                raise IntegrityError("an environment did not repeat itself: an episode ended early")
            mask = done | (self.begin == t)
            if mask.any():
                obs = reset(mask)
        return obs
