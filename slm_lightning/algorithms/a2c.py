"""A2C: synchronous advantage actor-critic.

V. Mnih et al., *Asynchronous methods for deep reinforcement learning*, ICML 2016 (without the
asynchrony); advantages after J. Schulman et al., *High-dimensional continuous control using
generalized advantage estimation*, ICLR 2016.

    for each rollout [T, N] from π_θ:
        δ_t = r_t + γ V(s_{t+1}) - V(s_t)             V = 0 after termination
        A_t = δ_t + γ λ A_{t+1}                       GAE, or  A_t = R_t - V(s_t)  from n-step returns
        V_t^targ = A_t + V(s_t)
        θ ← θ - α ∇_θ [ -mean log π_θ(a_t|s_t) Â_t - c_H mean H + c_V mean (V_θ(s_t) - V_t^targ)² ]
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from slm_lightning.algorithms.agent import Agent, Info, Optimize
from slm_lightning.core import Batch, EnvInfo, Seen
from slm_lightning.nets.actor_critic import ActorCriticNet
from slm_lightning.nets.net import Learner, regression_loss
from slm_lightning.rl.normalizers import TargetScale, clamp_scaled
from slm_lightning.rl.returns import (
    discounted_returns,
    explained_variance,
    gae,
    next_values,
    standardize,
)
from slm_lightning.rl.schedules import value_at
from slm_lightning.spec.model import (
    AlgorithmParams,
    Count,
    Fraction,
    NetParams,
    NonNegative,
    ScheduleSpec,
)


class ActorCritic(Agent):
    """One gradient step per rollout on advantages standardised over it."""

    class Params(AlgorithmParams):
        acts_on_tensors = True
        training_frequency: Count
        """Vector steps of a rollout (OnPolicyBatchReplay), or its episodes (OnPolicyReplay)."""
        lam: Fraction | None = None
        """λ of GAE; null takes n-step returns."""
        num_step_returns: Annotated[Count | None, Field(le=1_000_000)] = None
        """n of n-step returns, which is then also the rollout length; null (with ``lam`` null too)
        takes the returns of the whole rollout."""
        policy_loss_coef: NonNegative = 1.0
        """Factor of the policy loss."""
        val_loss_coef: NonNegative = 1.0
        """c_V."""
        entropy_coef_spec: ScheduleSpec | None = None
        """Schedule of the entropy bonus c_H; null is none."""
        normalize_v_targets: bool = False
        """Divide values and targets by the running deviation of the targets in the value loss."""

        @property
        def horizon(self) -> int:
            n = self.num_step_returns if self.lam is None else None
            return n or self.training_frequency

    params: Params
    recurrent = masks = True

    def __init__(self, params: Params, net: NetParams, env: EnvInfo):
        super().__init__(params, net, env)
        self.net = ActorCriticNet(net, env, params.action_pdtype)
        self.regression = regression_loss(net.loss_spec)
        self.target_scale = TargetScale()

    def act(self, obs: Tensor, explore: bool = True) -> Tensor:
        return self.choose(self.net.policy(obs, self.temperature), explore)

    def learn(self, batch: Batch, optimize: Optimize) -> Info:
        rows = batch.flatten()
        with torch.no_grad():
            value = self.net.value(rows.obs).view_as(batch.reward)
            advantage = self.advantage(batch, value, next_values(batch, value, self.net.value))
            target = (advantage + value).flatten()
            scale = (
                self.target_scale.update(target)
                if self.params.normalize_v_targets
                else target.new_ones(())
            )
        entropy_coef = scale.new_tensor(value_at(self.params.entropy_coef_spec, self.frame))
        info = optimize(
            self.net.optimizers,
            self.loss,
            rows.obs,
            rows.action,
            standardize(advantage).flatten(),
            target,
            scale,
            entropy_coef,
        )
        return info | {"explained_variance": explained_variance(value.flatten(), target)}

    def advantage(self, batch: Batch, value: Tensor, next_value: Tensor) -> Tensor:
        """``A [T, N]`` by GAE, or from bootstrapped returns where ``lam`` is null."""
        ends = batch.terminated, batch.truncated
        if self.params.lam is not None:
            return gae(batch.reward, value, next_value, *ends, self.params.gamma, self.params.lam)
        return discounted_returns(batch.reward, next_value, *ends, self.params.gamma) - value

    def loss(
        self,
        obs: Seen,
        action: Tensor,
        advantage: Tensor,
        target: Tensor,
        scale: Tensor,
        entropy_coef: Tensor,
    ) -> tuple[Tensor, Info]:
        """Policy loss, entropy bonus and value loss. Rows ``[B, …]``, then scalars."""
        pi, value = self.net(obs, self.temperature)
        policy_loss = -self.params.policy_loss_coef * (pi.log_prob(action) * advantage).mean()
        entropy = pi.entropy().mean()
        if self.params.normalize_v_targets:
            value, target = clamp_scaled(value, scale), clamp_scaled(target, scale)
        value_loss = self.params.val_loss_coef * self.regression(value, target)
        loss = policy_loss - entropy_coef * entropy + value_loss
        return loss, {
            "loss": loss,
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": entropy,
        }

    def learners(self) -> dict[str, Learner]:
        return self.net.learners()
