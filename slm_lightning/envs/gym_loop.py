"""Gymnasium environments in this process, stepped one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from slm_lightning.envs.crash import trace_of
from slm_lightning.envs.gym_processes import Raised


class EnvLoop:
    """What Gymnasium's SyncVectorEnv does without autoreset, and nothing else: infos are not kept, and
    the observations that it hands out are written over by the next call.

    Raises Raised where an environment raises anything.
    """

    def __init__(self, makers: Sequence[Callable[[], gym.Env]]):
        self.envs = [make() for make in makers]
        self.metadata: dict[str, Any] = dict(self.envs[0].metadata)
        each: list[Any] = [(env.observation_space, env.action_space) for env in self.envs]
        if any(spaces != each[0] for spaces in each):
            raise RuntimeError("its spaces are others each time it is made")
        self.single_observation_space, self.single_action_space = each[0]
        self.shape = self.single_observation_space.shape
        self.obs = np.zeros((len(each), *self.shape), dtype=self.single_observation_space.dtype)
        self.rows = list(self.obs)

    def step(self, actions: np.ndarray) -> tuple[Any, ...]:
        """Takes ``actions [N, ...]``; returns ``obs [N, *obs_shape]``, ``reward [N]`` in double
        precision, ``terminated [N]``, ``truncated [N]`` and no infos."""
        i, num_envs = 0, len(self.envs)
        reward = np.empty(num_envs)
        terminated, truncated = np.empty((2, num_envs), dtype=bool)
        try:
            for i, (env, action) in enumerate(zip(self.envs, actions)):
                obs, reward[i], terminated[i], truncated[i], _ = env.step(action)
                self._show(i, obs)
        except (Exception, SystemExit) as error:
            raise Raised(i, error, trace_of(error)) from error
        return self.obs, reward, terminated, truncated, {}

    def reset(
        self, *, seed: Sequence[int | None], options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode from each ``seed``, with the option ``reset_mask [N]`` only where it is
        true; returns ``obs [N, *obs_shape]`` of all, and no infos."""
        given = None if options is None else {k: v for k, v in options.items() if k != "reset_mask"}
        mask = [True] * len(self.envs) if options is None else options["reset_mask"]
        i = 0
        try:
            for i in np.flatnonzero(mask).tolist():
                self._show(i, self.envs[i].reset(seed=seed[i], options=given)[0])
        except (Exception, SystemExit) as error:
            raise Raised(i, error, trace_of(error)) from error
        return self.obs, {}

    def _show(self, index: int, obs: Any) -> None:
        """Writes down what a sub-environment shows. Raises ValueError or TypeError where that does not
        fit its space."""
        if np.shape(obs) != self.shape:
            raise ValueError(f"an observation has the shape {np.shape(obs)}, its space {self.shape}")
        np.copyto(self.rows[index], obs)

    def render(self) -> list[Any]:
        """The picture of sub-environment 0."""
        return [self.envs[0].render()]

    def close(self) -> None:
        for env in self.envs:
            env.close()
