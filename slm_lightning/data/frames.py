"""Observations of a replay memory, each image kept once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from slm_lightning.core import EnvInfo

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
        self.frames = torch.zeros(
            self.length * self.num_envs, *self.frame_shape, dtype=dtype, device=device
        )
        self.envs = torch.arange(self.num_envs, device=device)
        self.written = torch.full((self.num_envs,), -1, device=device)
        """Position of the newest frame of each sub-environment."""
        self.age = torch.zeros(self.num_envs, dtype=torch.int64, device=device)
        """Age of that frame."""
        self.latest: Tensor | None = None
        """The observation that ``written`` completes."""

    def append(self, obs: Tensor, next_obs: Tensor) -> tuple[Tensor, Tensor]:
        """One vector step from ``obs`` to ``next_obs [N, *obs_shape]``; returns the position ``[N]``
        and the age ``[N]`` of ``obs``. Where ``obs`` is not the latest successor an episode began."""
        fresh = (
            torch.ones_like(self.written, dtype=torch.bool)
            if self.latest is None
            else (_words(obs) != _words(self.latest)).any(1)
        )
        self.written = self.written + fresh
        self._write(obs)
        position, age = self.written, torch.where(fresh, 0, self.age)
        self.written = self.written + 1
        self._write(next_obs)
        self.age = self._older(age)
        self.latest = next_obs.clone()
        return position, age

    def read(self, position: Tensor, env: Tensor, age: Tensor) -> Tensor:
        """``obs [..., *obs_shape]`` at ``position, env, age [...]``."""
        if self.stack == 1:
            return self._take(self._row(position, env)).view(*position.shape, *self.obs_shape)
        back = torch.arange(self.stack - 1, -1, -1, device=position.device)  # oldest first
        rows = self._row(position[..., None] - back, env[..., None])
        images = self._take(rows).mul_((back <= age[..., None]).view(-1, 1))
        return images.view(*position.shape, *self.obs_shape)

    def read_next(self, position: Tensor, env: Tensor, age: Tensor) -> Tensor:
        """The successor of what ``read`` gives."""
        return self.read(position + 1, env, self._older(age))

    def lost(self, position: Tensor) -> bool:
        """Whether an image of an observation at ``position [N]`` has been written over."""
        oldest_image = position - self.stack + 1
        return not self.roomy and bool((self.written - oldest_image >= self.length).any())

    def _older(self, age: Tensor) -> Tensor:
        return (age + 1).clamp(max=self.stack - 1)

    def _write(self, obs: Tensor) -> None:
        newest = obs[:, -self.frame_shape[0] :] if self.stack > 1 else obs
        self.frames[self._row(self.written, self.envs)] = newest

    def _take(self, rows: Tensor) -> Tensor:
        """The frames at ``rows [...]``, flat ``[..., frame]``; whole rows are copied, which is far
        quicker than general indexing."""
        return self.frames.view(len(self.frames), -1).index_select(0, rows.flatten())

    def _row(self, position: Tensor, env: Tensor) -> Tensor:
        return (position % self.length) * self.num_envs + env

    def since(self, first: Tensor) -> dict[str, Tensor]:
        """The frames from those on that the observations at positions ``first [N]`` are made of, on the
        CPU: one sub-environment after the other."""
        first = (first - self.stack + 1).clamp(min=0)
        frames = self.frames[self._places(first, self.written)]
        return {"first": first.cpu(), "last": self.written.cpu(), "frames": frames.cpu()}

    def put(self, frames: dict[str, Tensor]) -> None:
        """Writes down what ``since`` gave, once more."""
        device = self.frames.device
        places = self._places(frames["first"].to(device), frames["last"].to(device))
        self.frames[places] = frames["frames"].to(device)

    def _places(self, first: Tensor, last: Tensor) -> Tensor:
        """Where the frames of positions ``first .. last [N]`` of all sub-environments lie."""
        count = (last - first + 1).clamp(min=0)
        env = self.envs.repeat_interleave(count)
        before = (count.cumsum(0) - count)[env]
        return self._row(first[env] + torch.arange(len(env), device=env.device) - before, env)

    def state_dict(self) -> dict[str, Any]:
        """Where to go on."""
        return {"written": self.written, "age": self.age, "latest": self.latest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        device = self.frames.device
        self.written, self.age = state["written"].to(device), state["age"].to(device)
        self.latest = None if state["latest"] is None else state["latest"].to(device)


def _words(rows: Tensor) -> Tensor:
    """``[N, ...]`` as ``[N, words]``, as few as can be: for a comparison bit by bit."""
    flat = rows.flatten(1)
    size = flat.shape[1] * flat.element_size()
    return flat.view(torch.int64) if size % 8 == 0 and flat.is_contiguous() else flat
