"""The vector environment of ``env.backend: torch``.

All sub-environments are columns of one tensor on the device where training happens. A step is a fixed
sequence of operations on it: nothing loops over sub-environments, and nothing is read back by the host.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from slm_lightning.core import EnvInfo, Keys, Step, Stream
from slm_lightning.envs.gym_backend import ActionMap
from slm_lightning.envs.gym_making import explained, make_single, time_limit
from slm_lightning.envs.torch_native.acrobot import Acrobot
from slm_lightning.envs.torch_native.cartpole import CartPole
from slm_lightning.envs.torch_native.mountain_car import MountainCar, MountainCarContinuous
from slm_lightning.envs.torch_native.pendulum import Pendulum
from slm_lightning.envs.torch_native.starts import Starts
from slm_lightning.errors import MissingError, SpecError
from slm_lightning.spec.model import EnvParams


class Dynamics(Protocol):
    """The physics of an environment with ``D`` state variables; its fields are the keywords that
    Gymnasium's class of the environment takes."""

    low: ClassVar[tuple[float, ...]]
    high: ClassVar[tuple[float, ...]]
    """Bounds of the uniform first state."""

    def step(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """From ``state [D, N]`` float64 and ``action``, ``[N]`` int64 or ``[N, k]`` float32 in units of
        the Box, to the next state, ``reward [N]`` float64 and ``terminated [N]`` bool."""

    def observe(self, state: Tensor) -> Tensor:
        """``obs [N, *obs_shape]`` float32."""


DYNAMICS: dict[str, type[Any]] = {
    "CartPole-v1": CartPole,
    "Pendulum-v1": Pendulum,
    "Acrobot-v1": Acrobot,
    "MountainCar-v0": MountainCar,
    "MountainCarContinuous-v0": MountainCarContinuous,
}

RUNNING = ("state", "elapsed", "episode")
"""What the running episodes are: tensors that stay where they are, for a graph to step them."""


class TorchVectorEnv:
    """``env.backend: torch``: Gymnasium's classic control on ``device``.

    From the same state and actions it goes where Gymnasium goes, computed in float64. Each episode
    starts from a state that is a function of the keys, the sub-environment and the episode's index.
    Spaces, keywords, time limit and pictures are those of the one Gymnasium environment that it holds.
    Raises SpecError or MissingError where the environment cannot be made or is not among ``DYNAMICS``.
    """

    def __init__(
        self,
        params: EnvParams,
        keys: Keys,
        stream: Stream = Stream.ENV,
        num_envs: int | None = None,
        render_mode: str | None = None,
        device: torch.device | str = "cpu",
    ):
        _check(params)
        self.device = torch.device(device)
        self.num_envs = num_envs or params.num_envs
        with explained(params):
            self.envs = make_single(params, render_mode)
        self.render_mode = render_mode
        if render_mode is not None:
            self.envs.reset()
        self.actions = ActionMap(self.envs.action_space)
        if self.actions.spec.kind == "continuous":
            bounds = (self.actions.centre, self.actions.half)
            self.centre, self.half = (torch.as_tensor(bound, device=self.device) for bound in bounds)
        self.dynamics: Dynamics = DYNAMICS[params.name](**(params.model_extra or {}))
        self.starts = Starts(
            keys, stream, self.num_envs, self.dynamics.low, self.dynamics.high, self.device
        )
        limit = time_limit(params)
        assert limit is not None, "all of them have one"
        self.limit = limit
        self.info = EnvInfo(
            name=params.name,
            num_envs=self.num_envs,
            obs_shape=tuple(self.envs.observation_space.shape or ()),
            obs_dtype=torch.float32,
            action=self.actions.spec,
            max_episode_steps=self.limit,
            in_tensors=render_mode != "human",
        )

    def reset(self) -> Tensor:
        """Starts episode 0 of every sub-environment; ``obs [N, *obs_shape]``."""
        self.episode = torch.zeros(self.num_envs, dtype=torch.int64, device=self.device)
        self.elapsed = torch.zeros_like(self.episode)
        self.state = self.starts(self.episode)
        return self._observe()

    def step(self, action: Tensor) -> Step:
        """Takes ``action [N, *action.shape]``; finished sub-environments begin their next episode."""
        state, reward, terminated = self.dynamics.step(self.state, self._to_env(action))
        truncated = self.elapsed.add_(1) >= self.limit
        done = terminated | truncated
        self.episode.add_(done)
        self.elapsed.masked_fill_(done, 0)
        self.state.copy_(torch.where(done, self.starts(self.episode), state))
        return Step(self.dynamics.observe(state), reward, terminated, truncated, self._observe())

    def state_dict(self) -> dict[str, Any]:
        """The running episodes: their states ``[D, N]``, lengths and indices."""
        return {key: getattr(self, key).clone() for key in RUNNING}

    def load_state_dict(self, state: dict[str, Any]) -> Tensor:
        """Brings them back; returns their observations."""
        for key in RUNNING:
            setattr(self, key, state[key].to(self.device, copy=True))
        return self._observe()

    def from_env(self, obs: Any) -> np.ndarray:
        """An observation of the environment itself is one already."""
        return np.asarray(obs)

    def render(self) -> np.ndarray | None:
        """Sub-environment 0 as Gymnasium draws it."""
        single: Any = self.envs.unwrapped
        single.state = self.state[:, 0].cpu().numpy()
        return single.render()

    def close(self) -> None:
        self.envs.close()

    def _observe(self) -> Tensor:
        if self.render_mode == "human":
            self.render()
        return self.dynamics.observe(self.state)

    def _to_env(self, action: Tensor) -> Tensor:
        """From agent units to those of the Box, and clipped to it, as :class:`ActionMap` does."""
        action = action.to(self.device)
        if self.actions.spec.kind == "discrete":
            return action
        return self.centre + self.half * action.clamp(-1, 1)


def _check(params: EnvParams) -> None:
    instead = "leave out env.backend to run it by Gymnasium"
    if params.entry_point is not None:
        raise SpecError.at("env.entry_point", "backend torch has environments of its own only", instead)
    if params.vectorization_mode == "async":
        raise SpecError.at("env.vectorization_mode", 'backend torch has no processes; write "sync"')
    for key in ("frame_stack", "action_repeat"):
        if (getattr(params, key) or 1) > 1:
            raise SpecError.at(f"env.{key}", "not of backend torch; write 1", instead)
    if params.name not in DYNAMICS:
        has = ", ".join(DYNAMICS)
        raise MissingError(f'backend torch has no environment "{params.name}"; it has {has}', instead)
