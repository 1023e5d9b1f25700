"""PPO: proximal policy optimisation with the clipped surrogate.

J. Schulman et al., *Proximal policy optimization algorithms*, 2017, Algorithm 1.

    for each rollout [T, N] from π_old:
        A_t by GAE,  V_t^targ = A_t + V_old(s_t)
        for epoch in 1..E, for minibatch in shuffled rows:
            ρ = π_θ(a|s) / π_old(a|s)
            L^CLIP = mean min( ρ Â, clip(ρ, 1 - ε, 1 + ε) Â )                            (eq. 7)
            θ ← θ + α ∇_θ [ L^CLIP - c_V mean (V_θ(s) - V^targ)² + c_H mean H(π_θ(·|s)) ] (eq. 9)
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from slm_lightning.algorithms.agent import Agent, Info, Optimize, mean_info
from slm_lightning.core import Batch, EnvInfo, Seen
from slm_lightning.nets.actor_critic import ActorCriticNet
from slm_lightning.nets.net import Learner, regression_loss
from slm_lightning.rl.normalizers import PercentileScale, TargetScale, clamp_scaled
from slm_lightning.rl.returns import explained_variance, gae, next_values, standardize, symlog
from slm_lightning.rl.schedules import value_at
from slm_lightning.spec.model import (
    AlgorithmParams,
    Count,
    Fraction,
    NetParams,
    NonNegative,
    ScheduleSpec,
)


class Rollout(NamedTuple):
    """What is learned from: rows of a rollout ``[T·N, …]``, with what π_old and V_old say of them."""

    obs: Seen
    action: Tensor
    log_prob: Tensor
    value: Tensor
    advantage: Tensor
    target: Tensor

    def at(self, index: Tensor) -> Rollout:
        """The minibatch of the rows ``index [B]``."""
        return Rollout(self.obs[index], *(rows[index] for rows in self[1:]))


class PPO(Agent):
    """Several epochs of minibatches on each rollout; advantages are normalised per minibatch."""

    class Params(AlgorithmParams):
        acts_on_tensors = True
        unread: ClassVar[dict[str, str]] = {
            "clip_val_loss": "write clip_vloss to clip the value loss",
            "training_frequency": "PPO learns after every time_horizon vector steps",
            "policy_loss_coef": "PPO's surrogate has no factor",
            **dict.fromkeys(
                ("sil_policy_loss_coef", "sil_val_loss_coef", "training_iter", "training_batch_iter"),
                "only PPOSIL imitates past episodes",
            ),
        }

        lam: Fraction
        """λ of GAE."""
        clip_eps_spec: ScheduleSpec
        """Schedule of the clip range ε."""
        entropy_coef_spec: ScheduleSpec | None = None
        """Schedule of the entropy bonus c_H; null is none."""
        val_loss_coef: NonNegative = 1.0
        """c_V."""
        time_horizon: Count
        """Vector steps T of a rollout, which holds T·N frames (OnPolicyBatchReplay), or its episodes
        (OnPolicyReplay)."""
        minibatch_size: Count = 4
        """Rows of a minibatch, at most the whole rollout; with a RecurrentNet as many whole
        sub-environments as have at most so many rows, or one."""
        training_epoch: Count
        """Passes E over each rollout."""
        normalize_advantages: Literal["standardize", "percentile"] = "standardize"
        """Per minibatch to mean 0 and deviation 1, or divided by a running percentile range."""
        normalize_v_targets: bool = False
        """Divide values and targets by the running deviation of the targets in the value loss."""
        clip_vloss: bool = False
        """Keep the new value within ε of the old one: half a squared error, whatever ``loss_spec`` and
        ``normalize_v_targets`` say."""
        symlog: bool = False
        """Compress values and targets by sign(x) ln(1 + |x|) in the value loss."""

        @property
        def horizon(self) -> int:
            return self.time_horizon

        def steps_on(self, frames: int, num_envs: int) -> int:
            return self.training_epoch * -(-frames // self.minibatch_size)

    params: Params
    memories = frozenset({"OnPolicyBatchReplay", "OnPolicyReplay"})
    recurrent = masks = True

    def __init__(self, params: Params, net: NetParams, env: EnvInfo):
        super().__init__(params, net, env)
        self.net = ActorCriticNet(net, env, params.action_pdtype)
        self.regression = regression_loss(net.loss_spec)
        self.target_scale = TargetScale()
        self.advantage_scale = PercentileScale()

    def act(self, obs: Tensor, explore: bool = True) -> Tensor:
        return self.choose(self.net.policy(obs, self.temperature), explore)

    def learn(self, batch: Batch, optimize: Optimize) -> Info:
        """At the start π_θ is still π_old: its log-probabilities and values are one pass here."""
        rows = batch.flatten()
        with torch.no_grad():
            pi, value = self.net(rows.obs, self.temperature)
            log_prob = pi.log_prob(rows.action)
            values = value.view_as(batch.reward)
            advantage = gae(
                batch.reward,
                values,
                next_values(batch, values, self.net.value),
                batch.terminated,
                batch.truncated,
                self.params.gamma,
                self.params.lam,
            ).flatten()
            target = advantage + value
        rollout = Rollout(rows.obs, rows.action, log_prob, value, advantage, target)
        scalars = self.scalars(advantage, target)
        infos = []
        for _ in range(self.params.training_epoch):
            for index in batch.shuffled(self.params.minibatch_size):
                infos.append(optimize(self.net.optimizers, self.loss, rollout, index, *scalars))
        return mean_info(infos) | {"explained_variance": explained_variance(value, target)}

    def scalars(self, advantage: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The round's ε, c_H and the scales of advantages and targets."""
        one = target.new_ones(())
        percentile = self.params.normalize_advantages == "percentile"
        return (
            target.new_tensor(value_at(self.params.clip_eps_spec, self.frame)),
            target.new_tensor(value_at(self.params.entropy_coef_spec, self.frame)),
            self.advantage_scale.update(advantage) if percentile else one,
            self.target_scale.update(target) if self.params.normalize_v_targets else one,
        )

    def loss(
        self,
        rollout: Rollout,
        index: Tensor,
        clip_eps: Tensor,
        entropy_coef: Tensor,
        advantage_scale: Tensor,
        target_scale: Tensor,
    ) -> tuple[Tensor, Info]:
        """Negative of eq. 9 on the minibatch of the rows ``index [B]``; then scalars."""
        rows = rollout.at(index)
        pi, value = self.net(rows.obs, self.temperature)
        if self.params.normalize_advantages == "standardize":
            advantage = standardize(rows.advantage)
        else:
            advantage = rows.advantage / advantage_scale

        log_ratio = (pi.log_prob(rows.action) - rows.log_prob).clamp(-20, 20)
        ratio = log_ratio.exp()
        clipped = ratio.clamp(1 - clip_eps, 1 + clip_eps)
        policy_loss = -torch.min(ratio * advantage, clipped * advantage).mean()
        entropy = pi.entropy().mean()
        value_loss = self.params.val_loss_coef * self.value_loss(
            value, rows.value, rows.target, clip_eps, target_scale
        )
        loss = policy_loss - entropy_coef * entropy + value_loss
        return loss, {
            "loss": loss,
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": entropy,
            "kl": (ratio - 1 - log_ratio).mean(),
            "clip_fraction": ((ratio - 1).abs() > clip_eps).float().mean(),
        }

    def value_loss(
        self, value: Tensor, value_old: Tensor, target: Tensor, clip_eps: Tensor, scale: Tensor
    ) -> Tensor:
        """Regression of V on its target, in the variant the spec asks for; ``[B]`` to a scalar."""
        if self.params.symlog:
            value, value_old, target = symlog(value), symlog(value_old), symlog(target)
        if self.params.clip_vloss:
            kept = value_old + (value - value_old).clamp(-clip_eps, clip_eps)
            return 0.5 * torch.max((value - target).square(), (kept - target).square()).mean()
        if self.params.normalize_v_targets:
            value, target = clamp_scaled(value, scale), clamp_scaled(target, scale)
        return self.regression(value, target)

    def learners(self) -> dict[str, Learner]:
        return self.net.learners()
