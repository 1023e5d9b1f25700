"""REINFORCE: Monte-Carlo policy gradient.

R. J. Williams, *Simple statistical gradient-following algorithms for connectionist reinforcement
learning*, Machine Learning 8, 1992.

    for each batch of experience from π_θ:
        R_t = Σ_{k ≥ t} γ^{k-t} r_k                   returns, to the end of the episode
        Â_t = (R_t - mean R) / std R                  the batch mean is the baseline
        θ ← θ + α ∇_θ [ mean log π_θ(a_t|s_t) Â_t + c_H mean H(π_θ(·|s_t)) ]

Rollouts of OnPolicyBatchReplay end in the midst of episodes: there R_t ends with the rollout.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from slm_lightning.algorithms.agent import Agent, Info, Optimize
from slm_lightning.core import Batch, EnvInfo, Seen
from slm_lightning.nets.actor_critic import Policy
from slm_lightning.nets.net import Learner
from slm_lightning.rl.returns import discounted_returns, standardize
from slm_lightning.rl.schedules import value_at
from slm_lightning.spec.model import AlgorithmParams, Count, Float, NetParams, ScheduleSpec


class Reinforce(Agent):
    """One gradient step per batch on returns standardised over the batch; no critic."""

    class Params(AlgorithmParams):
        acts_on_tensors = True
        unread: ClassVar[dict[str, str]] = {
            "center_return": "returns are always standardised over the batch",
        }

        training_frequency: Count
        """Vector steps between updates (OnPolicyBatchReplay), or episodes (OnPolicyReplay)."""
        policy_loss_coef: Float = 1.0
        """Factor of the policy loss."""
        entropy_coef_spec: ScheduleSpec | None = None
        """Schedule of the entropy bonus c_H; null is none."""

        @property
        def horizon(self) -> int:
            return self.training_frequency

    params: Params
    recurrent = masks = True

    def __init__(self, params: Params, net: NetParams, env: EnvInfo):
        super().__init__(params, net, env)
        self.policy = Policy(net.part("actor"), env, params.action_pdtype)

    def act(self, obs: Tensor, explore: bool = True) -> Tensor:
        return self.choose(self.policy(obs, self.temperature)[0], explore)

    def learn(self, batch: Batch, optimize: Optimize) -> Info:
        zero = torch.zeros_like(batch.reward)
        returns = discounted_returns(
            batch.reward, zero, batch.terminated, batch.truncated, self.params.gamma
        )
        advantage = standardize(returns).flatten()
        rows = batch.flatten()
        entropy_coef = advantage.new_tensor(value_at(self.params.entropy_coef_spec, self.frame))
        return optimize("policy", self.loss, rows.obs, rows.action, advantage, entropy_coef)

    def loss(
        self, obs: Seen, action: Tensor, advantage: Tensor, entropy_coef: Tensor
    ) -> tuple[Tensor, Info]:
        """``-mean log π(a|s) Â - c_H mean H``. Args ``[B, …]``; ``entropy_coef`` a scalar."""
        pi, _ = self.policy(obs, self.temperature)
        policy_loss = -self.params.policy_loss_coef * (pi.log_prob(action) * advantage).mean()
        entropy = pi.entropy().mean()
        loss = policy_loss - entropy_coef * entropy
        return loss, {"loss": loss, "policy_loss": policy_loss, "entropy": entropy}

    def learners(self) -> dict[str, Learner]:
        return {"policy": self.policy.learner()}
