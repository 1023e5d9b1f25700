"""What an agent remembers of the episodes that run."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from slm_lightning.algorithms.agent import Agent
from slm_lightning.core import Recalled


class Recall:
    """The memory of whoever drives an agent: ``hidden [N, H]``, 0 where an episode begins, or None
    where the agent remembers nothing. An evaluation has its own, and leaves that of training alone."""

    def __init__(self, agent: Agent, num_envs: int, device: torch.device):
        self.agent, self.num_envs = agent, num_envs
        size = agent.hidden_size
        self.hidden = torch.zeros(num_envs, size, device=device) if size else None

    def __call__(self, obs: Tensor) -> Any:
        """What the agent acts on once it has seen ``obs [N, *obs_shape]``: those, or Recalled."""
        if self.hidden is None:
            return obs
        self.hidden = self.agent.remember(obs, self.hidden)
        return Recalled(obs, self.hidden)

    def forget(self, ended: Tensor) -> None:
        """Another episode begins where ``ended [N]``."""
        if self.hidden is not None:
            self.hidden = self.hidden.masked_fill(ended[:, None], 0.0)
