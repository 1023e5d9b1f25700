"""What actor-critics with two critics and a replay memory have in common: SAC, CrossQ, TD3."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self, cast

import torch
from torch import Tensor

from slm_lightning.algorithms.agent import Agent, Info, Optimize, Step, mean_info
from slm_lightning.core import EnvInfo, Sample
from slm_lightning.nets.critic import TwinCritics
from slm_lightning.nets.net import Learner, regression_loss
from slm_lightning.nets.target import TargetNet
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
    ``policy_delay``-th of all also the policy and the target nets that follow by polyak, all in one
    update; targets that are copies are replaced between rounds.

    Args: ``critic_net``: the section that describes the critics; their loss and their targets are those
    of ``net``. ``start``: frames of random actions, each worker's own.
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
        for target in self.targets():
            if not target.polyak:
                target.follow(self.round_start, self.frame, self.workers)
        infos = []
        for update, minibatch in enumerate(batch.minibatches(), start=int(self.updates)):
            critics = self.critics_step(minibatch)
            if update % self.policy_delay == 0:
                policy = self.policy_step(minibatch.obs)
                infos.append(optimize(*critics, then=(policy, ((), self.move_targets))))
                self.settle()
            else:
                infos.append(optimize(*critics))
            self.updates += 1
        td_error = torch.stack([info.pop("td_error") for info in infos])
        return mean_info(infos) | {"td_error": td_error}

    @abstractmethod
    def critics_step(self, batch: Sample) -> Step:
        """The step of both critics on rows ``[B, …]``; among its metrics is ``td_error [B]``."""

    @abstractmethod
    def policy_step(self, obs: Tensor) -> Step:
        """The step of the policy in the states ``obs [B, *obs_shape]``, valued by the new critics."""

    def targets(self) -> Sequence[TargetNet]:
        """The target nets."""
        return ()

    def move_targets(self) -> None:
        """Moves the targets that follow in steps by one."""
        for target in self.targets():
            target.after_update()

    def settle(self) -> None:
        """What there is to do once the policy is updated."""

    def regress(self, q: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        """``Σ_i mean w · loss(Q_i, y)`` for ``q [2, B]``, ``y [B]``, ``weight [B]``."""
        return (weight * self.regression(q, y.expand_as(q))).mean(-1).sum()

    def learners(self) -> dict[str, Learner]:
        return self.critics.learners()
