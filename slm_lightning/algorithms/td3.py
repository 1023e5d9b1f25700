"""TD3: twin delayed deep deterministic policy gradient.

S. Fujimoto et al., *Addressing function approximation error in actor-critic methods*, 2018,
Algorithm 1.

    act by a = clip(μ_φ(s) + σ ε, -1, 1), keep (s, a, r, s') in the memory; then for each minibatch:
        ã' = clip(μ_φ'(s') + clip(σ̃ ε, -c, c), -1, 1)              target policy smoothing
        y = r + γ min_i Q_θ'i(s', ã')                              clipped double Q; y = r if terminal
        θ_i ← θ_i - λ ∇ mean w · loss(Q_θi(s, a), y)
        every d-th time:                                           delayed policy update
            φ ← φ + λ ∇ mean Q_θ1(s, μ_φ(s))
            θ'_i ← θ'_i + τ (θ_i - θ'_i),  φ' ← φ' + τ (φ - φ')

μ is a net with a tanh on its output. Actions are in agent units, in which [-1, 1] is the environment's
range, and so are σ, σ̃ and c.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from slm_lightning.algorithms.agent import Info, Step
from slm_lightning.algorithms.off_policy import OffPolicyActorCritic
from slm_lightning.core import EnvInfo, Sample
from slm_lightning.nets.layers import Whole
from slm_lightning.nets.net import Learner, Net
from slm_lightning.nets.norms import batch_statistics
from slm_lightning.nets.target import TargetNet
from slm_lightning.spec.model import Count, NetParams, NonNegative


class Actor(Whole):
    """``μ(s) [B, k]`` in (-1, 1) for ``obs [B, *obs_shape]``."""

    def __init__(self, net: NetParams, env: EnvInfo):
        super().__init__()
        self.net = Net(net, env.obs_shape, [env.action.sizes[0]])

    def forward(self, obs: Tensor) -> Tensor:
        return self.net(obs)[0].tanh()


class TD3(OffPolicyActorCritic):
    """A deterministic policy, which explores by Gaussian noise."""

    class Params(OffPolicyActorCritic.Params):
        policy_delay: Count = 2
        """d: updates of the critics for each one of the policy and the targets."""
        explore_noise: NonNegative = 0.1
        """σ: deviation of the noise on actions while training."""
        target_noise: NonNegative = 0.2
        """σ̃: deviation of the noise on the target policy's actions."""
        target_noise_clip: NonNegative = 0.5
        """c: largest such noise."""

    params: Params
    actions = frozenset({"continuous"})

    def __init__(self, params: Params, net: NetParams, env: EnvInfo, critic_net: NetParams, start: int):
        super().__init__(params, net, env, critic_net, start)
        self.actor = Actor(net.part("actor"), env)
        self.target_actor = TargetNet(self.actor, net, env.num_envs)
        self.target_critics = TargetNet(self.critics, net, env.num_envs)

    def act_by_policy(self, obs: Tensor, explore: bool) -> Tensor:
        action = self.actor(obs)
        if not explore:
            return action
        return (action + self.params.explore_noise * torch.randn_like(action)).clamp(-1, 1)

    def critics_step(self, batch: Sample) -> Step:
        return self.critics.optimizers, self.loss, batch

    @torch.no_grad()
    def target_value(self, batch: Sample) -> Tensor:
        """``y [B]``."""
        action = self.target_actor(batch.next_obs)
        clip = self.params.target_noise_clip
        noise = (self.params.target_noise * torch.randn_like(action)).clamp(-clip, clip)
        next_q = self.target_critics(batch.next_obs, (action + noise).clamp(-1, 1))
        return batch.target(next_q.amin(0))

    def loss(self, batch: Sample) -> tuple[Tensor, Info]:
        """``Σ_i mean w · loss(Q_θi(s, a), y)``. Rows ``[B, …]``."""
        y = self.target_value(batch)
        with batch_statistics(self.critics):
            q = self.critics(batch.obs, batch.action)
        loss = self.regress(q, y, batch.weight)
        return loss, {"loss": loss, "q": q.mean(), "td_error": y - q.amin(0)}

    def policy_step(self, obs: Tensor) -> Step:
        return ("actor",), self.policy_loss, obs

    def policy_loss(self, obs: Tensor) -> tuple[Tensor, Info]:
        """``-mean Q_θ1(s, μ_φ(s))``."""
        with batch_statistics(self.actor):
            action = self.actor(obs)
        loss = -self.critics.q1(obs, action).mean()
        return loss, {"policy_loss": loss}

    def targets(self) -> Sequence[TargetNet]:
        return [self.target_actor, self.target_critics]

    def learners(self) -> dict[str, Learner]:
        return {"actor": self.actor.net.learner(), **super().learners()}
