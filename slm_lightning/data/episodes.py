"""Memories of whole episodes: those to be imitated, and the best of a rollout."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from slm_lightning.core import Batch, EnvInfo
from slm_lightning.data.arrays import Array, array, tensor
from slm_lightning.data.memory import PrioritizedReplay
from slm_lightning.data.replay import PrioritizedMemory
from slm_lightning.rl.returns import discounted_sum


class EpisodeMemory(PrioritizedMemory):
    """The latest transitions, each to be drawn once its episode has ended.

    A sample is the n-step return with n up to the end of the episode: ``reward`` is ``Σ_{i<m} γ^i
    r_{t+i}``, ``next_obs`` the last observation, after which nothing follows where it is terminal. What
    runs lies in the ring as well, with priority 0; the beginning of an episode that is longer than the
    ring is lost.
    """

    def __init__(self, params: PrioritizedReplay, env: EnvInfo, *args: Any):
        super().__init__(params, env, *args)
        self.ret = torch.zeros_like(self.reward)
        """Discounted rewards to the end of the episode."""
        self.left = torch.zeros_like(self.position)
        """Steps to the end of the episode; 0 while it runs."""
        self.begun = torch.zeros(self.num_envs, dtype=torch.int64, device=self.reward.device)
        """Vector step at which each running episode began."""
        self.newest = self.begun[:0]
        """Places of what entered with the latest rollout, in order of time."""

    def __len__(self) -> int:
        return int(self.tree.priority.count_nonzero())

    def _enter(self, first: int) -> None:
        """The episodes that ended at vector step ``first`` or later become drawable as a whole."""
        self._set(first, self.head, torch.zeros_like(self.highest))
        self.left[torch.arange(first, self.head, device=self.left.device) % self.steps] = 0
        step = torch.arange(max(int(self.begun.min()), self.tail), self.head, device=self.left.device)
        row = step % self.steps
        done = (self.terminated | self.truncated)[row]  # [L, N]
        ended = done.flip(0).cumsum(0).flip(0) > 0
        fresh = ended & (self.left[row] == 0)
        place = row[:, None] * self.num_envs + torch.arange(self.num_envs, device=row.device)
        self.newest = place[fresh]
        if not len(self.newest):
            return
        runs_on = (~done).float()
        ret = discounted_sum(self.reward[row], self.gamma * runs_on)
        left = discounted_sum(torch.ones_like(ret), runs_on).long()
        self.ret.view(-1)[self.newest] = ret[fresh]
        self.left.view(-1)[self.newest] = left[fresh]
        self.begun = torch.maximum(self.begun, torch.where(done, step[:, None] + 1, 0).amax(0))
        self.tree.set(self.newest, self.highest.expand(len(self.newest)))

    def _combine(self, index: Tensor) -> None:
        newest = self.newest[-len(index) :]
        index[len(index) - len(newest) :] = newest

    def _returns(self, index: Array) -> tuple[Array, Array, Array]:
        ret, left = (column.view(-1)[tensor(index)] for column in (self.ret, self.left))
        last = (index + (array(left) - 1) * self.num_envs) % self.reward.numel()
        return array(ret), last, array(self.gamma**left)

    def state_dict(self) -> dict[str, Any]:
        used = min(self.head, self.steps)
        kept = {"ret": self.ret[:used].clone(), "left": self.left[:used].clone(), "begun": self.begun}
        return super().state_dict() | kept

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        for name in ("ret", "left", "begun"):
            column = getattr(self, name)
            column[: len(state[name])] = state[name].to(column.device)


def best_episodes(batch: Batch, quantile: float) -> Batch:
    """Of a rollout ``[T, 1, ...]`` the episodes whose undiscounted return reaches ``quantile`` of the
    returns in it, one after the other; 1 keeps all.

    An episode that the rollout cuts short has no return yet and goes, but where there is no other.
    P.-T. de Boer et al., *A tutorial on the cross-entropy method*, 2005, calls these the elite samples.
    """
    ended = batch.ended[:, 0]
    count = int(ended.sum())
    if quantile == 1 or count == 0:
        return batch
    episode = ended.cumsum(0) - ended.long()  # the index of each step's episode
    returns = torch.zeros(count + 1, dtype=torch.float64, device=ended.device)
    returns.index_add_(0, episode, batch.reward[:, 0].double())
    best = returns >= returns[:count].quantile(quantile)
    best[count] = False
    keep = best[episode]
    rows: dict[str, Any] = {key: x[keep] for key, x in batch._asdict().items() if isinstance(x, Tensor)}
    return batch._replace(**rows)
