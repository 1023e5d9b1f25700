"""DQN and its kin: Q-learning from a replay memory.

V. Mnih et al., *Human-level control through deep reinforcement learning*, Nature 518, 2015,
Algorithm 1; H. van Hasselt et al., *Deep reinforcement learning with double Q-learning*, AAAI 2016.

    act ε-greedily on Q_θ (or by a Boltzmann policy), keep (s, a, r, s') in the memory;
    then for each minibatch drawn from it, with weights w (1 where the draw is uniform):
        y = r + γ max_a' Q_θ'(s', a')                     DQN: the target net chooses and values
        y = r + γ Q_θ'(s', argmax_a' Q_θ(s', a'))         double DQN: the online net chooses
        y = r + γ max_a' Q_θ(s', a')                      vanilla DQN: there is no target net
        θ ← θ - α ∇_θ mean w · loss(Q_θ(s, a), y)         y = r where s' is terminal
    θ' follows θ (``update_type``).

Dueling nets (Z. Wang et al. 2016) are a kind of net; prioritized replay (T. Schaul et al. 2016),
combined replay and n-step returns are properties of the memory.
"""

from __future__ import annotations

import torch
from torch import Tensor

from slm_lightning.algorithms.agent import Agent, Info, Optimize, mean_info
from slm_lightning.core import EnvInfo, Sample, Seen
from slm_lightning.nets.net import Learner, regression_loss
from slm_lightning.nets.norms import batch_statistics
from slm_lightning.nets.q_net import QNet, value_of
from slm_lightning.nets.target import TargetNet
from slm_lightning.spec.model import Count, NetParams, ReplayAlgorithmParams


class VanillaDQN(Agent):
    """The net is its own target."""

    class Params(ReplayAlgorithmParams):
        training_batch_iter: Count = 1
        """Gradient steps on each minibatch, its targets computed anew."""

        def steps_on(self, frames: int, num_envs: int) -> int:
            return self.updates(num_envs) * self.training_batch_iter

    params: Params
    on_policy = False
    actions = frozenset({"discrete"})
    recurrent = masks = True
    memories = frozenset({"Replay", "PrioritizedReplay"})

    def __init__(self, params: Params, net: NetParams, env: EnvInfo):
        super().__init__(params, net, env)
        self.q = self.make_net(net, env)
        self.regression = regression_loss(net.loss_spec, reduction="none")

    def make_net(self, net: NetParams, env: EnvInfo) -> QNet:
        """Q_θ."""
        return QNet(net, env)

    def act(self, obs: Tensor, explore: bool = True) -> Tensor:
        return self.choose_by_value(self.q, obs, explore)

    def learn(self, batch: Sample, optimize: Optimize) -> Info:
        infos, td_errors = [], []
        for minibatch in batch.minibatches():
            for _ in range(self.params.training_batch_iter):
                info = optimize("q", self.loss, minibatch)
                td_error = info.pop("td_error")
                infos.append(info)
            td_errors.append(td_error)
        return mean_info(infos) | {"td_error": torch.stack(td_errors)}

    @torch.no_grad()
    def target_value(self, batch: Sample) -> Tensor:
        """``y [B]``."""
        return batch.target(self.next_value(batch.next_obs))

    def next_value(self, next_obs: Seen) -> Tensor:
        """``max_a' Q_θ(s', a') [B]``."""
        return self.q(next_obs).amax(-1)

    def loss(self, batch: Sample) -> tuple[Tensor, Info]:
        """``mean w · loss(Q_θ(s, a), y)``. Rows ``[B, …]``."""
        y = self.target_value(batch)
        with batch_statistics(self.q):
            q = value_of(self.q(batch.obs), batch.action)
        loss = (batch.weight * self.regression(q, y)).mean()
        return loss, {"loss": loss, "q": q.mean(), "td_error": y - q}

    def learners(self) -> dict[str, Learner]:
        return {"q": self.q.learner()}


class DQN(VanillaDQN):
    """The target net both chooses and values the next action."""

    def __init__(self, params: VanillaDQN.Params, net: NetParams, env: EnvInfo):
        super().__init__(params, net, env)
        self.target = TargetNet(self.q, net, env.num_envs)

    def learn(self, batch: Sample, optimize: Optimize) -> Info:
        self.target.follow(self.round_start, self.frame, self.workers)
        return super().learn(batch, optimize)

    def next_value(self, next_obs: Seen) -> Tensor:
        """``max_a' Q_θ'(s', a') [B]``."""
        return self.target(next_obs).amax(-1)


class DoubleDQN(DQN):
    """The online net chooses the next action, the target net values it."""

    def next_value(self, next_obs: Seen) -> Tensor:
        """``Q_θ'(s', argmax_a' Q_θ(s', a')) [B]``."""
        return value_of(self.target(next_obs), self.q(next_obs).argmax(-1))
