"""Critics of actor-critic algorithms that learn from a replay memory: Q(s, a), twice."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from slm_lightning.core import EnvInfo
from slm_lightning.nets.layers import Whole
from slm_lightning.nets.net import Learner, Net
from slm_lightning.nets.q_net import QNet
from slm_lightning.spec.model import NetParams


class Critic(Whole):
    """``Q(s, a) [B]`` for ``obs [B, *obs_shape]`` and continuous ``action [B, k]``, laid end to end."""

    def __init__(self, net: NetParams, env: EnvInfo):
        super().__init__()
        width = math.prod(env.obs_shape) + env.action.sizes[0]
        self.net = Net(net, (width,), [1])

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        return self.net(torch.cat([obs.flatten(1), action], -1))[0].squeeze(-1)

    def learner(self) -> Learner:
        """All parameters, by the keys of the net's section."""
        return self.net.learner()


class TwinCritics(Whole):
    """Two critics that differ in their first weights only.

    ``(obs, action) -> Q_i(s, a) [2, B]`` where actions are continuous, ``(obs,) -> Q_i(s, ·) [2, B,
    A]`` where they are discrete.
    """

    optimizers = ("q1", "q2")
    """Names of their optimizers."""

    def __init__(self, net: NetParams, env: EnvInfo):
        super().__init__()
        kind = Critic if env.action.kind == "continuous" else QNet
        self.q1, self.q2 = kind(net, env), kind(net, env)

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.stack([self.q1(*inputs), self.q2(*inputs)])

    def learners(self) -> dict[str, Learner]:
        """One learner each."""
        return dict(zip(self.optimizers, (self.q1.learner(), self.q2.learner())))
