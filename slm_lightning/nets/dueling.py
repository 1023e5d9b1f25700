"""Dueling nets: the action values as the state's value plus each action's advantage.

Z. Wang et al., *Dueling network architectures for deep reinforcement learning*, 2016, eq. 9:

    Q(s, a) = V(s) + A(s, a) - mean_a' A(s, a')
"""

from __future__ import annotations

from torch import Tensor, nn

from slm_lightning.nets.conv import ConvNet
from slm_lightning.nets.mlp import MLPNet


class DuelingHead(nn.Module):
    """``features [B, in_features] -> Q [B, actions]``, two linear layers on the same features."""

    def __init__(self, in_features: int, actions: int):
        super().__init__()
        self.value = nn.Linear(in_features, 1)
        self.advantage = nn.Linear(in_features, actions)

    def forward(self, features: Tensor) -> Tensor:
        advantage = self.advantage(features)
        return self.value(features) + advantage - advantage.mean(-1, keepdim=True)


class DuelingMLPNet(MLPNet):
    """An MLPNet whose heads are dueling: for action values, not for policies."""


class DuelingConvNet(ConvNet):
    """A ConvNet whose heads are dueling: for action values, not for policies."""
