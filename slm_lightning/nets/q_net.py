"""Action values of discrete actions."""

from __future__ import annotations

from torch import Tensor

from slm_lightning.core import EnvInfo, Seen
from slm_lightning.nets.layers import Whole
from slm_lightning.nets.masks import masked, without_mask
from slm_lightning.nets.net import Learner, Net
from slm_lightning.spec.model import NetParams


class QNet(Whole):
    """``Q(s, ·) [B, A]`` for ``obs [B, *obs_shape]``; FORBIDDEN for actions that are not allowed.

    Args: ``outputs``: of the net, for each action.
    """

    def __init__(self, net: NetParams, env: EnvInfo, outputs: int = 1):
        super().__init__()
        self.net = Net(net, env.net_shape, [env.action.sizes[0] * outputs])
        self.mask_size = env.mask_size

    def forward(self, obs: Seen) -> Tensor:
        return masked(self.net(without_mask(obs, self.mask_size))[0], obs, self.mask_size)

    def learner(self) -> Learner:
        """All parameters, by the keys of ``agent.net``."""
        return self.net.learner()


def value_of(q: Tensor, action: Tensor) -> Tensor:
    """``Q(s, a) [B]`` out of ``Q(s, ·) [B, A]`` for ``action [B]``."""
    return q.gather(-1, action[:, None]).squeeze(-1)
