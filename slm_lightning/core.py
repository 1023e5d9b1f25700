"""The types that every part of the lab shares.

Shapes are named here once: ``T`` vector steps of a rollout, ``N`` sub-environments, ``B`` rows of a
minibatch, ``K`` minibatches sampled at once. A *frame* is one agent decision in one sub-environment, so
a vector step is ``N`` frames. A *round* is the beat of training: collect some frames, then learn from
them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
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

    obs: Any  # [T, N, *obs_shape]; flattened [T * N, *obs_shape], or Sequences
    action: Tensor  # [T, N, *action.shape]
    reward: Tensor  # [T, N] float32, after the spec's normalising, scaling and clipping
    next_obs: Any  # as obs
    terminated: Tensor  # [T, N] bool
    truncated: Tensor  # [T, N] bool
    version: int  # rounds the agent had learned when it collected this; asserted
    over: Tensor | None = None  # [T, N] bool as of Step; None: wherever terminated or truncated
    hidden: Tensor | None = None  # [T, N, H] what the agent remembered before obs; None: it does not
    past: Sample | None = None  # drawn from past episodes that are to be imitated, where any are kept

    @property
    def done(self) -> Tensor:
        """``[T, N]`` bool: the episode ended here, in either way."""
        return self.terminated | self.truncated

    @property
    def ended(self) -> Tensor:
        """``[T, N]`` bool: a new episode begins after this step."""
        return self.done if self.over is None else self.over

    def flatten(self) -> Batch:
        """Time and sub-environments merged: ``[T, N, ...]`` to ``[T * N, ...]``. Where the agent
        remembers, observations become Sequences, of which a net makes as many rows."""
        merged: dict[str, Any] = {
            key: value.flatten(0, 1)
            for key, value in self._asdict().items()
            if isinstance(value, Tensor)
        }
        if self.hidden is not None:
            start = torch.zeros_like(self.terminated)
            start[1:] = self.ended[:-1]
            obs = Sequences(self.obs, self.hidden[0], start)
            merged |= {"obs": obs, "next_obs": replace(obs, next_obs=self.next_obs)}
        return self._replace(**merged)

    def shuffled(self, size: int) -> Sequence[Tensor]:
        """The rows of the flattened batch, shuffled and cut into minibatches: indices ``[size]``. Where
        the agent remembers, whole sub-environments: as many as ``size`` rows have room for, or one."""
        steps, num_envs = self.reward.shape
        device = self.reward.device
        if self.hidden is None:
            return torch.randperm(steps * num_envs, device=device).split(size)
        first = torch.arange(steps, device=device)[:, None] * num_envs
        columns = torch.randperm(num_envs, device=device).split(max(1, size // steps))
        return [(first + column).flatten() for column in columns]


@dataclass(frozen=True)
class Sequences:
    """Observations in their order, for nets that remember what they saw.

    With ``next_obs`` a net looks at those, each after all that came before it.
    """

    obs: Tensor  # [T, N, *obs_shape]
    hidden: Tensor  # [N, H] what was remembered before the first of them
    start: Tensor  # [T, N] bool: obs is the first of an episode, so that all before it is forgotten
    next_obs: Tensor | None = None  # [T, N, *obs_shape] the true successors

    @property
    def rows(self) -> Tensor:
        """What is looked at, ``[T * N, *obs_shape]``."""
        return (self.obs if self.next_obs is None else self.next_obs).flatten(0, 1)

    def __getitem__(self, index: Tensor) -> Sequences:
        """The sub-environments whose rows are ``index``, one of those ``Batch.shuffled`` gives."""
        column = index[: len(index) // len(self.start)]
        next_obs = None if self.next_obs is None else self.next_obs[:, column]
        return Sequences(self.obs[:, column], self.hidden[column], self.start[:, column], next_obs)


class Recalled(NamedTuple):
    """Observations to act on, with all that the agent remembers."""

    obs: Tensor  # [N, *obs_shape]
    hidden: Tensor  # [N, H] after obs was seen

    @property
    def rows(self) -> Tensor:
        """What is looked at."""
        return self.obs


Seen = Tensor | Sequences | Recalled
"""What nets look at: rows ``[B, *obs_shape]`` each on its own, or together with what came before."""


class Sample(NamedTuple):
    """Transitions drawn from a replay memory: ``K`` minibatches of ``B``.

    With n-step returns ``reward`` is ``Σ_{i<m} γ^i r_{t+i}`` and ``next_obs`` is ``s_{t+m}``, where m
    is n, or fewer where the episode or the recording ends; the target is ``reward + discount · (1 -
    terminated) · V(next_obs)``.
    """

    obs: Any  # [K, B, *obs_shape]; where the agent remembers K Sequences of B rows
    action: Tensor  # [K, B, *action.shape]
    reward: Tensor  # [K, B]
    next_obs: Any  # as obs
    terminated: Tensor  # [K, B] bool
    discount: Tensor  # [K, B] γ^m
    weight: Tensor  # [K, B] importance weights, at most 1; all 1 where the memory draws uniformly
    place: Tensor  # [K, B] int64, where they lie in the memory

    def target(self, next_value: Tensor) -> Tensor:
        """Of a minibatch ``reward + discount · (1 - terminated) · next_value``, ``next_value`` being
        ``[B]`` or ``[B, n]``."""
        each = (-1, *[1] * (next_value.dim() - 1))
        reward, discount = self.reward.view(each), self.discount.view(each)
        return reward + discount * torch.where(self.terminated.view(each), 0.0, next_value)

    def minibatches(self) -> list[Sample]:
        """The ``K`` minibatches ``[B, ...]``."""
        columns = (x.unbind() if isinstance(x, Tensor) else x for x in self)
        return [Sample._make(rows) for rows in zip(*columns)]


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
    frame_stack: int = 1
    """Images in ``obs``, oldest first along its first dimension; at the start of an episode those
    before its first are zero."""
    mask_size: int = 0
    """Trailing entries of ``obs`` that tell which actions are allowed (1) and which are not (0)."""
    in_tensors: bool = False
    """Whether a vector step is operations on tensors and nothing else, which change those of the
    environment in their places: a graph can be made of it."""

    @property
    def net_shape(self) -> tuple[int, ...]:
        """Shape of an observation without its mask, which is what a net sees."""
        return (self.obs_shape[0] - self.mask_size,) if self.mask_size else self.obs_shape


class Step(NamedTuple):
    """One vector step. NumPy arrays from CPU environments, tensors from torch-native ones."""

    next_obs: Any  # [N, *obs_shape] the true successor, at episode ends too
    reward: Any  # [N] raw
    terminated: Any  # [N] bool
    truncated: Any  # [N] bool
    obs: Any  # [N, *obs_shape] where to act next: next_obs, or the first observation of a new episode
    over: Any = None  # [N] bool where a new episode began; None: wherever terminated or truncated

    @property
    def ended(self) -> Any:
        """``[N]`` bool: the episode is over. Not where ``terminated`` only tells of a lost life, after
        which ``obs`` is ``next_obs``, the game goes on, and its return is not complete."""
        return self.terminated | self.truncated if self.over is None else self.over


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
    SEARCH = 6
    TRIAL = 7


@dataclass(frozen=True)
class Keys:
    """Seeds as a pure function of what they are for; there is no generator state to save. The trials of
    a search differ in ``seed``."""

    seed: int
    session: int = 0
    worker: int = 0
    """Of several processes that train one model: they share its initial weights and nothing else."""

    def seed_for(self, stream: Stream, *index: int) -> int:
        """A 31-bit seed for ``stream`` at ``index`` (block; or sub-environment and episode)."""
        key = (0, self.session, int(stream), *index)
        if self.worker and stream is not Stream.INIT:
            key += (self.worker,)
        words: Any = (self.seed, 0, 0, 0, *key)  # what NumPy makes of them, in twice the time
        if max(words) < 2**32:
            sequence = np.random.SeedSequence(np.array(words, dtype=np.uint32))
        else:
            sequence = np.random.SeedSequence(self.seed, spawn_key=key)
        return int(sequence.generate_state(1)[0]) >> 1

    def seed_generators(self, stream: Stream, *index: int) -> None:
        """Restarts the global generators of torch, NumPy and Python from the key."""
        seed = self.seed_for(stream, *index)
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_initialized():  # asking is 80 µs cheaper than torch.manual_seed
            torch.cuda.manual_seed_all(seed)
        np.random.seed(seed)
        random.seed(seed)
