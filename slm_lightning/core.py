"""The types that every part of the lab shares.

Shapes are named here once: ``T`` vector steps of a rollout, ``N`` sub-environments, ``B`` rows of a
minibatch. A *frame* is one agent decision in one sub-environment, so a vector step
is ``N`` frames. A *round* is the beat of training: collect some frames, then learn from them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor


class Batch(NamedTuple):
    """Experience to learn from: a rollout ``[T, N, ...]``.

    ``next_obs`` is the true successor of ``obs``, also where an episode ends. ``terminated`` cuts the
    bootstrap; ``terminated`` or ``truncated`` cuts the return and the λ-chain.
    """

    obs: Tensor  # [T, N, *obs_shape]
    action: Tensor  # [T, N, *action.shape]
    reward: Tensor  # [T, N] float32, after the spec's normalising, scaling and clipping
    next_obs: Tensor  # [T, N, *obs_shape]
    terminated: Tensor  # [T, N] bool
    truncated: Tensor  # [T, N] bool
    version: int  # rounds the agent had learned when it collected this; asserted

    @property
    def done(self) -> Tensor:
        """``[T, N]`` bool: the episode ended here, in either way."""
        return self.terminated | self.truncated

    def flatten(self) -> Batch:
        """Time and sub-environments merged: ``[T, N, ...]`` to ``[T * N, ...]``."""
        tensors = {k: v.flatten(0, 1) for k, v in self._asdict().items() if k != "version"}
        return self._replace(**tensors)


@dataclass(frozen=True)
class ActionSpec:
    """What an agent must output for one sub-environment.

    ``sizes``: ``(n,)`` discrete, ``(k,)`` continuous dimensions, ``(n_1, …, n_k)`` multi-discrete,
    ``(k,)`` multi-binary. Continuous actions are in agent units: [-1, 1] is the environment's Box.
    """

    kind: Literal["discrete", "continuous", "multi_discrete", "multi_binary"]
    sizes: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one action: a scalar when discrete, else one entry per dimension."""
        if self.kind == "discrete":
            return ()
        return (len(self.sizes),) if self.kind == "multi_discrete" else self.sizes

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32 if self.kind == "continuous" else torch.int64


@dataclass(frozen=True)
class EnvInfo:
    """What the rest of the lab may know of a vector environment."""

    name: str
    num_envs: int
    obs_shape: tuple[int, ...]
    obs_dtype: torch.dtype
    action: ActionSpec
    max_episode_steps: int | None = None


class Step(NamedTuple):
    """One vector step. NumPy arrays from CPU environments, tensors from torch-native ones."""

    next_obs: Any  # [N, *obs_shape] the true successor, at episode ends too
    reward: Any  # [N] raw
    terminated: Any  # [N] bool
    truncated: Any  # [N] bool
    obs: Any  # [N, *obs_shape] where to act next: next_obs, or the first observation of a new episode


class VectorEnv(Protocol):
    """A backend: N sub-environments that are stepped together and reset by themselves, each
    episode from its own seed."""

    info: EnvInfo

    def reset(self) -> Any:
        """Starts an episode everywhere; returns ``obs [N, *obs_shape]``."""

    def step(self, action: Tensor) -> Step:
        """Takes ``action [N, *action.shape]`` in agent units."""

    def state_dict(self) -> dict[str, Any]:
        """What brings the running episodes back, as tensors and plain numbers."""

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Brings them back; returns ``obs [N, *obs_shape]``."""

    def render(self) -> np.ndarray | None:
        """An RGB picture ``[H, W, 3]`` of sub-environment 0, where it was made with rgb_array."""

    def close(self) -> None: ...


class Stream(IntEnum):
    """Where a random draw is used; part of its key, so that streams never overlap."""

    INIT = 0
    BLOCK = 1
    ENV = 2
    EVAL = 3
    ENJOY = 4
    BASELINE = 5


@dataclass(frozen=True)
class Keys:
    """Seeds as a pure function of what they are for; there is no generator state to save."""

    seed: int
    trial: int = 0
    session: int = 0

    def seed_for(self, stream: Stream, *index: int) -> int:
        """A 31-bit seed for ``stream`` at ``index`` (block; or sub-environment and episode)."""
        key = (self.trial, self.session, int(stream), *index)
        return int(np.random.SeedSequence(self.seed, spawn_key=key).generate_state(1)[0] >> 1)

    def seed_generators(self, stream: Stream, *index: int) -> None:
        """Restarts the global generators of torch, NumPy and Python from the key."""
        seed = self.seed_for(stream, *index)
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
