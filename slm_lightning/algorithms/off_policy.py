"""What actor-critics with two critics and a replay memory have in common: SAC, CrossQ, TD3."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self, cast

import torch
from torch import Tensor

from slm_lightning.algorithms.agent import Agent, Info, Optimize, mean_info
from slm_lightning.core import EnvInfo, Sample
from slm_lightning.nets.critic import TwinCritics
from slm_lightning.nets.net import Learner, regression_loss
from slm_lightning.rl.exploration import random_action
from slm_lightning.spec.model import (
    AgentSpec,
    Count,
    Frame,
    NetParams,
    ReplayAlgorithmParams,
)


class OffPolicyActorCritic(Agent, ABC):
    """Acts at random before ``training_start_step``. Then each minibatch updates the critics, and every
    ``policy_delay``-th of all also the policy and the target nets.

    Args: ``critic_net``: the section that describes the critics. ``start``: frames of random actions,
    each worker's own.
    """

    class Params(ReplayAlgorithmParams):
        training_iter: Count | None = None  # type: ignore[assignment]
        """Minibatches drawn for a round; default ``env.num_envs``."""
        training_start_step: Frame | None = None
        """Frames of uniformly random actions before the first round; default 1000, or the memory's
        ``batch_size`` where that is more."""
        policy_delay: Count = 1
        """Updates of the critics for each one of the policy."""

        def start(self, batch_size: int) -> int:
            start = self.training_start_step
            return max(1000, batch_size) if start is None else start

        def updates(self, num_envs: int) -> int:
            return self.training_iter or num_envs

    params: Params
    on_policy = False
    memories = frozenset({"Replay", "PrioritizedReplay"})
    has_critics = True
    updates: Tensor  # [] int64, minibatches learned from

    def __init__(self, params: Params, net: NetParams, env: EnvInfo, critic_net: NetParams, start: int):
        super().__init__(params, net, env)
        self.policy_delay, self.start = params.policy_delay, start
        self.critics = TwinCritics(critic_net.part("critic"), env)
        self.regression = regression_loss(net.loss_spec, reduction="none")
        self.register_buffer("updates", torch.tensor(0))

    @classmethod
    def build(cls, spec: AgentSpec, env: EnvInfo) -> Self:
        start = cast(ReplayAlgorithmParams, spec.algorithm).start(dict(spec.memory)["batch_size"])
        return cls(spec.algorithm, spec.net, env, spec.critic_net or spec.net, start).eval()  # type: ignore[arg-type]

    def act(self, obs: Tensor, explore: bool = True) -> Tensor:
        if explore and self.frame < self.start * self.workers:
            return random_action(self.action_spec, len(obs), obs.device)
        return self.act_by_policy(obs, explore)

    @abstractmethod
    def act_by_policy(self, obs: Tensor, explore: bool) -> Tensor:
        """Actions ``[N, *action.shape]`` once learning has begun."""

    def learn(self, batch: Sample, optimize: Optimize) -> Info:
        critic_infos, policy_infos, td_errors = [], [], []
        for update, minibatch in enumerate(batch.minibatches(), start=int(self.updates)):
            info = self.update_critics(minibatch, optimize)
            td_errors.append(info.pop("td_error"))
            critic_infos.append(info)
            if update % self.policy_delay == 0:
                policy_infos.append(self.update_policy(minibatch.obs, optimize))
                self.update_targets()
            self.updates += 1
        policy_info = mean_info(policy_infos) if policy_infos else {}
        return mean_info(critic_infos) | policy_info | {"td_error": torch.stack(td_errors)}

    @abstractmethod
    def update_critics(self, batch: Sample, optimize: Optimize) -> Info:
        """One step of both critics on rows ``[B, …]``; its metrics, among them ``td_error [B]``."""

    @abstractmethod
    def update_policy(self, obs: Tensor, optimize: Optimize) -> Info:
        """One step of the policy in the states ``obs [B, *obs_shape]``, valued by the new critics."""

    def update_targets(self) -> None:
        """Moves the target nets, where there are any."""

    def regress(self, q: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        """``Σ_i mean w · loss(Q_i, y)`` for ``q [2, B]``, ``y [B]``, ``weight [B]``."""
        return (weight * self.regression(q, y.expand_as(q))).mean(-1).sum()

    def learners(self) -> dict[str, Learner]:
        return self.critics.learners()
