"""Observations of a replay memory, each image kept once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from slm_lightning.core import EnvInfo
from slm_lightning.data.arrays import Array, array, chosen, joined, running_max, taken, tensor

SMALL = 4096
"""Bytes up to which an observation is so small that room for twice the steps is given away."""


class FrameRing:
    """The latest observations of ``N`` sub-environments, in the order in which they were seen.

    An episode of L steps is L + 1 observations in a row, so the successor of the one at ``position``
    is at ``position + 1``, the true last one included. Stacked images are kept one by one and stacked
    again when they are read: ``age`` tells how many before an image belong to its episode.
    """

    def __init__(self, env: EnvInfo, dtype: torch.dtype, steps: int, device: torch.device):
        self.num_envs, self.obs_shape = env.num_envs, env.obs_shape
        self.stack = env.frame_stack if dtype == torch.uint8 else 1
        self.frame_shape = (env.obs_shape[0] // self.stack, *env.obs_shape[1:])
        self.roomy = torch.Size(self.frame_shape).numel() * dtype.itemsize <= SMALL
        """Whether there is room for episodes of a single step; else for those of sixteen on average."""
        self.length = self.stack + (2 * steps if self.roomy else steps + steps // 16)
        self.most = min(steps, self.length // 2)
        """Vector steps that can be appended at once."""
        self.size = self.length * self.num_envs
        self.frames = torch.zeros(self.size + 1, *self.frame_shape, dtype=dtype, device=device)
        """The last one stays zero: it stands for images before the first of an episode."""
        self.array = array(self.frames)
        self.envs = array(torch.arange(self.num_envs, device=device))
        self.back = array(torch.arange(self.stack - 1, -1, -1, device=device))
        """How far before the newest image of a stack the others lie, oldest first."""
        self.written = array(torch.full((self.num_envs,), -1, device=device))
        """Position of the newest frame of each sub-environment."""
        self.age = array(torch.zeros(self.num_envs, dtype=torch.int64, device=device))
        """Age of that frame."""
        self.latest = array(torch.zeros(self.num_envs, *self.obs_shape, dtype=dtype, device=device))
        """The observation that ``written`` completes."""
        self.empty = True
        """Whether there is none yet."""
        whole_words = torch.Size(self.obs_shape).numel() * dtype.itemsize % 8 == 0
        word = torch.int64 if whole_words else torch.uint8
        self.word: Any = array(torch.empty(0, dtype=word, device=device)).dtype
        """In what observations are compared, bit by bit."""
        self.latest_words = self._words(self.latest[None])

    def append(self, obs: Array, next_obs: Array) -> dict[str, Array]:
        """Vector steps from ``obs`` to ``next_obs [T, N, *obs_shape]``, at most ``most``. Returns the
        position ``[T, N]`` of each ``obs``, and its age where images are stacked. Where ``obs`` is not
        the latest successor an episode began."""
        fresh = self._fresh(obs, next_obs)
        position = (fresh + 1).cumsum(0) + (self.written - 1)
        number = position * self.num_envs + self.envs
        self._write(number + self.num_envs, next_obs)
        self._write(number, obs)
        self.written = position[-1] + 1
        self.latest[...] = next_obs[-1]
        self.empty = False
        if self.stack == 1:
            return {"position": position}
        step = (fresh | True).cumsum(0) - 1
        begun = running_max(step * fresh - self.age * ~fresh)
        age = (step - begun).clip(None, self.stack - 1)
        self.age = self._older(age[-1])
        return {"position": position, "age": age}

    def _fresh(self, obs: Array, next_obs: Array) -> Array:
        """``[T, N]`` bool: whether an episode began with ``obs``."""
        before = joined(self.latest_words, self._words(next_obs)[:-1])
        fresh = (self._words(obs) != before).any(-1)
        if self.empty:
            fresh[0] = True
        return fresh

    def _words(self, rows: Array) -> Array:
        return rows.reshape(*rows.shape[:2], -1).view(self.word)

    def _write(self, number: Array, obs: Array) -> None:
        newest = obs[:, :, -self.frame_shape[0] :] if self.stack > 1 else obs
        self.array[number % self.size] = newest

    def read(self, number: Array, age: Array | None) -> Array:
        """``obs [..., *obs_shape]`` whose newest frames have the ``number [...]``, that is ``position *
        N + env``; where images are stacked with the ``age [...]``."""
        if age is None:
            return taken(self.array, number % self.size)
        places = (number[..., None] - self.back * self.num_envs) % self.size
        images = taken(self.array, chosen(self.back <= age[..., None], places, self.size))
        return images.reshape(*number.shape, *self.obs_shape)

    def read_next(self, number: Array, age: Array | None) -> Array:
        """The successor of what ``read`` gives."""
        return self.read(number + self.num_envs, None if age is None else self._older(age))

    def lost(self, position: Array) -> int:
        """How many of the vector steps ``position [T, N]``, from the first on, have an image that has
        been written over."""
        oldest_image = position - self.stack + 1
        return int((self.written - oldest_image >= self.length).any(-1).sum())

    def _older(self, age: Any) -> Any:
        return (age + 1).clip(None, self.stack - 1)

    def since(self, first: Tensor) -> dict[str, Tensor]:
        """The frames from those on that the observations at positions ``first [N]`` are made of, on the
        CPU: one sub-environment after the other."""
        first, last = (first - self.stack + 1).clamp(min=0), tensor(self.written)
        frames = self.frames[self._places(first, last)]
        return {"first": first.cpu(), "last": last.cpu(), "frames": frames.cpu()}

    def put(self, frames: dict[str, Tensor]) -> None:
        """Writes down what ``since`` gave, once more."""
        device = self.frames.device
        places = self._places(frames["first"].to(device), frames["last"].to(device))
        self.frames[places] = frames["frames"].to(device)

    def _places(self, first: Tensor, last: Tensor) -> Tensor:
        """Where the frames of positions ``first .. last [N]`` of all sub-environments lie."""
        count = (last - first + 1).clamp(min=0)
        env = tensor(self.envs).repeat_interleave(count)
        before = (count.cumsum(0) - count)[env]
        position = first[env] + torch.arange(len(env), device=env.device) - before
        return (position * self.num_envs + env) % self.size

    def state_dict(self) -> dict[str, Any]:
        """Where to go on."""
        latest = None if self.empty else tensor(self.latest).clone()
        return {"written": tensor(self.written), "age": tensor(self.age), "latest": latest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        device = self.frames.device
        self.written, self.age = (array(state[name].to(device)) for name in ("written", "age"))
        self.empty = state["latest"] is None
        if not self.empty:
            self.latest[...] = array(state["latest"].to(device))
