"""Where a rollout is written down, one vector step at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from slm_lightning.core import Batch, EnvInfo, Step
from slm_lightning.data.arrays import array


class Rollout:
    """Room for ``steps`` vector steps, allocated once.

    What the agent sees and does lies on ``device``, where training happens. So does what the
    environment says, but where that lives on the host and training does not: then it lies in pinned
    memory, and moves once for the whole rollout. Memory of the host is written through NumPy, at a
    fraction of what PyTorch takes for a small tensor.
    """

    def __init__(
        self,
        info: EnvInfo,
        obs_dtype: torch.dtype,
        hidden_size: int,
        steps: int,
        device: torch.device,
        on_host: bool,
    ):
        """``on_host``: whether the environment gives NumPy arrays."""
        self.steps, self.device = steps, device
        self.apart = on_host and device.type != "cpu"
        shape = (steps, info.num_envs)
        said: dict[str, Any] = {"pin_memory": True} if self.apart else {"device": device}
        self.seen = torch.empty(
            steps + 1, info.num_envs, *info.obs_shape, dtype=obs_dtype, device=device
        )
        """What the agent acts on: one row more than there are steps."""
        self.views = self.seen.unbind()
        """Its rows; to take one of them out of it costs more."""
        self.whole = whole = Batch(
            obs=self.seen[:steps],
            action=torch.empty(*shape, *info.action.shape, dtype=info.action.dtype, device=device),
            reward=torch.empty(shape, **said),
            next_obs=torch.empty_like(self.seen[:steps]),
            terminated=torch.empty(shape, dtype=torch.bool, **said),
            truncated=torch.empty(shape, dtype=torch.bool, **said),
            version=0,
            over=torch.empty(shape, dtype=torch.bool, **said),
            hidden=torch.empty(*shape, hidden_size, device=device) if hidden_size else None,
        )
        self.part, self.hidden = whole, whole.hidden
        self.reward, self.terminated, self.truncated, self.over = (
            _writable(rows, on_host)
            for rows in (whole.reward, whole.terminated, whole.truncated, whole.over)
        )
        self.obs, self.next_obs = (
            _writable(rows, on_host and not self.apart) for rows in (self.seen, whole.next_obs)
        )
        self.action = array(whole.action)

    def write(self, t: int, action: Tensor, step: Step) -> None:
        """Takes down what was done and what came of it; observations come through their normaliser."""
        self.action[t] = array(action)
        self.reward[t] = step.reward
        self.terminated[t] = step.terminated
        self.truncated[t] = step.truncated
        if step.over is not None:
            self.over[t] = step.over

    def write_at(self, place: Tensor, action: Tensor, step: Step) -> None:
        """As ``write``, of tensors only and with the observations, in the row that ``place [1]`` tells:
        a number would be a constant of a graph."""
        rows = self.whole
        for column, row in (
            (rows.action, action),
            (rows.reward, step.reward),
            (rows.next_obs, step.next_obs),
            (rows.terminated, step.terminated),
            (rows.truncated, step.truncated),
        ):
            column.index_copy_(0, place, row.to(column.dtype)[None])
        self.seen.index_copy_(0, place + 1, step.obs[None])

    def take(self, other: Rollout) -> None:
        """Takes over the rows of a shorter one."""
        own, given = (rollout.whole._replace(obs=rollout.seen) for rollout in (self, other))
        for rows, old in zip(own, given):
            if isinstance(rows, Tensor) and isinstance(old, Tensor):
                rows[: len(old)] = old

    def first(self, steps: int) -> Batch:
        """The first ``steps`` vector steps, on the device where training happens."""
        if len(self.part.reward) != steps:
            self.part = Batch._make(x[:steps] if isinstance(x, Tensor) else x for x in self.whole)
        if not self.apart:
            return self.part
        moved = (x.to(self.device) if isinstance(x, Tensor) else x for x in self.part)
        return Batch._make(moved)


def _writable(rows: Tensor | None, on_host: bool) -> Any:
    """The same memory, to be written by ``rows[t] = x``."""
    return rows.numpy() if on_host and rows is not None else rows
