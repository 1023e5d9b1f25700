"""QR-DQN: distributional Q-learning by quantile regression.

W. Dabney et al., *Distributional reinforcement learning with quantile regression*, 2018, Algorithm 1.

    the net gives N quantiles θ_i(s, a) of the return, at τ̂_i = (2 i - 1) / 2 N
    as DQN with Q(s, a) = 1/N Σ_i θ_i(s, a), but for each minibatch:
        a* = argmax_a' Q'(s', a'),   y_j = r + γ θ'_j(s', a*)            y_j = r where s' is terminal
        θ ← θ - α ∇ mean w · Σ_i 1/N Σ_j ρ_τ̂i(y_j - θ_i(s, a))
        ρ_τ(u) = |τ - 1{u < 0}| L(u),  L(u) = u²/2 where |u| ≤ 1, else |u| - 1/2        (eq. 9, 10)
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from slm_lightning.algorithms.agent import Info
from slm_lightning.algorithms.dqn import DQN
from slm_lightning.core import EnvInfo, Sample, Seen
from slm_lightning.errors import SpecError
from slm_lightning.nets.masks import masked, without_mask
from slm_lightning.nets.net import HEADS
from slm_lightning.nets.norms import batch_statistics
from slm_lightning.nets.q_net import QNet
from slm_lightning.spec.model import Count, NetParams


class QuantileNet(QNet):
    """``Q(s, ·) [B, A]`` for ``obs [B, *obs_shape]``, as the mean of N quantiles.

    Raises SpecError for a dueling net, whose parts are action values.
    """

    def __init__(self, net: NetParams, env: EnvInfo, num_quantiles: int):
        if net.type in HEADS:
            raise SpecError.at("agent.net.type", f"{net.type} gives action values, not their quantiles")
        super().__init__(net, env, num_quantiles)
        self.num_quantiles = num_quantiles

    def forward(self, obs: Seen) -> Tensor:
        return self.mean(self.quantiles(obs), obs)

    def quantiles(self, obs: Seen) -> Tensor:
        """``θ(s, ·) [B, A, N]``."""
        theta = self.net(without_mask(obs, self.mask_size))[0]
        return theta.unflatten(-1, (-1, self.num_quantiles))

    def mean(self, theta: Tensor, obs: Seen) -> Tensor:
        """``Q(s, ·) [B, A]`` out of ``θ(s, ·) [B, A, N]``."""
        return masked(theta.mean(-1), obs, self.mask_size)


def quantiles_of(theta: Tensor, action: Tensor) -> Tensor:
    """``θ(s, a) [B, N]`` out of ``θ(s, ·) [B, A, N]`` for ``action [B]``."""
    return theta[torch.arange(len(action), device=action.device), action]


class QRDQN(DQN):
    """The net gives quantiles of the return; ``loss_spec`` is not read."""

    class Params(DQN.Params):
        num_quantiles: Count = 200
        """N."""

    params: Params
    q: QuantileNet

    def make_net(self, net: NetParams, env: EnvInfo) -> QuantileNet:
        return QuantileNet(net, env, self.params.num_quantiles)

    @torch.no_grad()
    def target_value(self, batch: Sample) -> Tensor:
        """``y [B, N]``."""
        target = cast(QuantileNet, self.target.net)
        theta = target.quantiles(batch.next_obs)
        return batch.target(quantiles_of(theta, target.mean(theta, batch.next_obs).argmax(-1)))

    def loss(self, batch: Sample) -> tuple[Tensor, Info]:
        """``mean w · Σ_i 1/N Σ_j ρ_τ̂i(y_j - θ_i(s, a))``. Rows ``[B, …]``."""
        y = self.target_value(batch)
        with batch_statistics(self.q):
            theta = quantiles_of(self.q.quantiles(batch.obs), batch.action)
        loss = (batch.weight * quantile_huber(theta, y)).mean()
        q = theta.mean(-1)
        return loss, {"loss": loss, "q": q.mean(), "td_error": y.mean(-1) - q}


def quantile_huber(theta: Tensor, y: Tensor) -> Tensor:
    """``Σ_i 1/M Σ_j ρ_τ̂i(y_j - θ_i) [B]`` for ``theta [B, N]`` and ``y [B, M]``."""
    n = theta.shape[-1]
    tau = (torch.arange(n, device=theta.device) + 0.5) / n
    theta, y = torch.broadcast_tensors(theta[:, :, None], y[:, None, :])
    above = (y < theta).float()  # 1{u < 0} with u = y - θ
    rho = (tau[:, None] - above).abs() * huber_loss(theta, y, reduction="none")
    return rho.mean(-1).sum(-1)
