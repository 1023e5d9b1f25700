"""Stretches of experience out of a replay memory, for agents that remember.

S. Kapturowski et al., *Recurrent experience replay in distributed reinforcement learning*, 2019 (R2D2):
beside each transition the memory keeps what the agent remembered before it, and a sequence begins with
that. So an agent may use what it saw longer ago than a sequence is long, which it could not if each
began with nothing (M. Hausknecht & P. Stone 2015). What is kept is as old as the transition; from there
on the net computes anew. Nothing crosses the end of an episode: where one ends within a sequence, what
is remembered becomes 0, so that all rows of all sequences count.
"""

from __future__ import annotations

import torch
from torch import Tensor

from slm_lightning.core import Sequences


class SequenceRows:
    """What a replay memory of ``steps`` vector steps keeps for sequences of ``length``."""

    def __init__(self, steps: int, num_envs: int, length: int, hidden_size: int, device: torch.device):
        self.length = length
        self.hidden = torch.empty(steps, num_envs, hidden_size, device=device)
        """Before the observation of the row."""
        self.ended = torch.zeros(steps, num_envs, dtype=torch.bool, device=device)
        """Whether a new episode begins after it."""

    def windows(self, index: Tensor, tail: int, head: int) -> Tensor:
        """The places ``[K, L, B]`` of the sequences that end with the transitions at ``index [K, B]``;
        near the beginning of the recording, vector steps ``[tail, head)``, those that begin with it. L
        is ``length``, or the whole recording while that is shorter."""
        steps, num_envs = self.ended.shape
        length = min(self.length, head - tail)
        age = (index // num_envs - tail) % steps  # vector steps since the oldest
        first = tail + (age - length + 1).clamp(min=0)
        ahead = torch.arange(length, device=index.device)[:, None]
        return (first[:, None] + ahead) % steps * num_envs + (index % num_envs)[:, None]

    def gather(self, windows: Tensor, obs: Tensor, next_obs: Tensor) -> tuple[list, list]:
        """``obs`` and ``next_obs [K, L * B, ...]`` as K Sequences each, of ``windows [K, L, B]``."""
        num_envs, shape = self.ended.shape[1], windows.shape
        row, env = windows // num_envs, windows % num_envs
        start = torch.zeros_like(windows, dtype=torch.bool)
        start[:, 1:] = self.ended[row, env][:, :-1]
        hidden = self.hidden[row[:, 0], env[:, 0]]
        obs, next_obs = (x.view(*shape, *x.shape[2:]) for x in (obs, next_obs))
        seen = [Sequences(*parts) for parts in zip(obs, hidden, start)]
        return seen, [Sequences(*parts) for parts in zip(obs, hidden, start, next_obs)]
