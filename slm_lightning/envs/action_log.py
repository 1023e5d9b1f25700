"""What a vector environment has done since its running episodes began: enough to bring it back.

Simulators do not give up their whole state (a pickled MuJoCo environment is silently a new one), but
they repeat themselves: a seeded reset and the same actions lead to the same place. That they did is
checked by a digest of all that they showed on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from slm_lightning.core import Step
from slm_lightning.envs.digest import Digest
from slm_lightning.errors import IntegrityError

TRIM = 4096


class ActionLog:
    """The actions of ``N`` sub-environments, back to the start of the oldest running episode."""

    def __init__(self, num_envs: int, frame_stack: int = 1):
        self.actions: list[np.ndarray] = []
        self.begin = np.zeros(num_envs, dtype=np.int64)
        """Where in ``actions`` each sub-environment's running episode began."""
        self.digest = Digest(num_envs, frame_stack)
        """Of what the running episodes have shown."""

    def clear(self) -> None:
        """All sub-environments have been reset."""
        self.actions.clear()
        self.begin[:] = 0
        self.digest.restart(slice(None))

    def append(self, action: np.ndarray, step: Step, done: np.ndarray | None) -> None:
        """One vector step, after which the ``done`` sub-environments begin an episode."""
        self.actions.append(action)
        self.digest.add(step)
        if done is None:
            return
        self.begin[done] = len(self.actions)
        self.digest.restart(done)
        if (oldest := int(self.begin.min())) >= TRIM:
            del self.actions[:oldest]
            self.begin -= oldest

    def since_begin(self, index: int) -> list[np.ndarray]:
        """The actions of one sub-environment in its running episode."""
        return [action[index] for action in self.actions[self.begin[index] :]]

    def state_dict(self) -> dict[str, Any]:
        """Tensors only, so that it can be loaded without unpickling."""
        oldest = int(self.begin.min())
        actions = self.actions[oldest:]
        return {
            "actions": torch.from_numpy(np.stack(actions)) if actions else None,
            "begin": torch.from_numpy(self.begin - oldest),
            "digest": torch.from_numpy(self.digest.value.view(np.int64).copy()),
        }

    def replay(
        self,
        state: dict[str, Any],
        reset: Callable[[np.ndarray | None], np.ndarray],
        play: Callable[[np.ndarray], tuple[Step, np.ndarray]],
    ) -> np.ndarray:
        """Takes the logged actions again; returns the observations they lead to.

        ``reset(mask)`` starts the running episodes of the masked sub-environments (None: of all) and
        ``play(action)`` returns what they show and which episodes ended. Until its running episode
        begins, a sub-environment takes whatever actions there are.
        Raises IntegrityError, naming the sub-environment, where a running episode ends or shows
        anything else than it did.
        """
        self.begin = state["begin"].numpy().copy()
        self.actions = [] if state["actions"] is None else list(state["actions"].numpy())
        self.digest.restart(slice(None))
        obs = reset(None)
        for t, action in enumerate(self.actions, start=1):
            step, done = play(action)
            obs = step.obs
            self.digest.add(step)
            self.digest.restart(self.begin == t)
            _refuse_difference(done & (self.begin < t), "its episode ended early")
            mask = done | (self.begin == t)
            if mask.any():
                obs = reset(mask)
        shown = state["digest"].numpy().view(np.uint64)
        _refuse_difference(self.digest.value != shown, "its observations, rewards or ends were others")
        return obs


def _refuse_difference(differs: np.ndarray, how: str) -> None:
    """Raises IntegrityError for the first sub-environment that ``differs [N]``."""
    if differs.any():
        raise IntegrityError(
            f"sub-environment {int(differs.argmax())} did not repeat itself from its seed and actions: "
            + how,
            "the session cannot go on exactly; start it again",
        )
