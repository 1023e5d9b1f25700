"""SARSA: on-policy learning of action values.

R. S. Sutton & A. G. Barto, *Reinforcement Learning: An Introduction*, 2nd ed. 2018, section 6.4, with
a net for Q and all steps of a rollout in one update.

    for each rollout [T, N] from the (ε-greedy or Boltzmann) policy on Q_θ:
        y_t = r_t + γ Q_θ(s_{t+1}, a_{t+1})           y_t = r_t where s_{t+1} is terminal
        θ ← θ - α ∇_θ mean loss(Q_θ(s_t, a_t), y_t)

a_{t+1} is the next action of the rollout. Where the rollout or a truncated episode ends before there is
one, it is drawn from the policy.
"""

from __future__ import annotations

import torch
from torch import Tensor

from slm_lightning.algorithms.agent import Agent, Info, Optimize
from slm_lightning.core import Batch, EnvInfo, Seen
from slm_lightning.nets.net import Learner, regression_loss
from slm_lightning.nets.q_net import QNet, value_of
from slm_lightning.spec.model import AlgorithmParams, Count, NetParams


class SARSA(Agent):
    """One gradient step per rollout."""

    class Params(AlgorithmParams):
        training_frequency: Count
        """Vector steps between updates (OnPolicyBatchReplay), or episodes (OnPolicyReplay)."""

        @property
        def horizon(self) -> int:
            return self.training_frequency

    params: Params
    actions = frozenset({"discrete"})
    recurrent = masks = True

    def __init__(self, params: Params, net: NetParams, env: EnvInfo):
        super().__init__(params, net, env)
        self.q = QNet(net, env)
        self.regression = regression_loss(net.loss_spec)

    def act(self, obs: Tensor, explore: bool = True) -> Tensor:
        return self.choose_by_value(self.q, obs, explore)

    def learn(self, batch: Batch, optimize: Optimize) -> Info:
        rows = batch.flatten()
        with torch.no_grad():
            next_q = self.q(rows.next_obs)
            next_action = self.choose_by_value(lambda _: next_q, rows.next_obs).view_as(batch.action)
            next_action[:-1] = torch.where(batch.done[:-1], next_action[:-1], batch.action[1:])
            next_value = value_of(next_q, next_action.flatten())
            y = rows.reward + self.params.gamma * torch.where(rows.terminated, 0.0, next_value)
        return optimize("q", self.loss, rows.obs, rows.action, y)

    def loss(self, obs: Seen, action: Tensor, y: Tensor) -> tuple[Tensor, Info]:
        """``mean loss(Q_θ(s, a), y)``. Rows ``[B, …]``."""
        q = value_of(self.q(obs), action)
        loss = self.regression(q, y)
        return loss, {"loss": loss, "q": q.mean()}

    def learners(self) -> dict[str, Learner]:
        return {"q": self.q.learner()}
