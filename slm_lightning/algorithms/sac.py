"""SAC: the soft actor-critic, for continuous and for discrete actions.

T. Haarnoja et al., *Soft actor-critic algorithms and applications*, 2018, Algorithm 1;
P. Christodoulou, *Soft actor-critic for discrete action settings*, 2019.

    act by π_φ, keep (s, a, r, s') in the memory; then for each minibatch drawn from it:
        V'(s') = min_i Q_θ'i(s', ã') - α log π_φ(ã'|s'),  ã' ~ π_φ(·|s')                 (eq. 3)
        y = r + γ V'(s')                                       y = r where s' is terminal
        θ_i ← θ_i - λ ∇ mean w · loss(Q_θi(s, a), y)                                    (eq. 5)
        φ ← φ + λ ∇ mean [min_i Q_θi(s, ã) - α log π_φ(ã|s)],  ã = tanh(μ_φ + σ_φ ε)    (eq. 9)
        α ← α - λ ∇ α mean [H(π_φ(·|s)) - H̄]                                            (eq. 18)
        θ'_i ← θ'_i + τ (θ_i - θ'_i)

Where actions are discrete, the expectations over ã are sums, ``Σ_a π(a|s) [Q(s, a) - α log π(a|s)]``,
and Q is the mean of the two critics instead of Christodoulou's minimum, which underestimates there
(H. Zhou et al., *Revisiting discrete soft actor-critic*, 2022). For both kinds of actions the policy is
improved on the critics as just updated.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from slm_lightning.algorithms.agent import Info, Step
from slm_lightning.algorithms.off_policy import OffPolicyActorCritic
from slm_lightning.core import ActionSpec, EnvInfo, Sample
from slm_lightning.errors import SpecError
from slm_lightning.nets.actor_critic import Policy
from slm_lightning.nets.net import Learner, spectral_norm
from slm_lightning.nets.norms import batch_statistics
from slm_lightning.nets.target import TargetNet
from slm_lightning.rl.distributions import Categorical, NormalTanh
from slm_lightning.rl.returns import symlog
from slm_lightning.rl.schedules import value_at
from slm_lightning.spec.model import (
    Float,
    Frame,
    NetParams,
    NonNegative,
    Positive,
    ScheduleSpec,
    SpecModel,
)

ENTROPY_RATE = 0.01
"""Weight of a new entropy in the running one that ``entropy_penalty_coef`` keeps to."""


class EntropyAnneal(SpecModel):
    """The target entropy of discrete actions, as a share of the largest possible one."""

    start_ratio: Float = 0.6
    """Share of ln A at frame 0."""
    end_ratio: Float | None = None
    """Share of ln A from ``frames`` on; default ``start_ratio``."""
    frames: Frame = 0
    """Frames over which the share changes linearly."""

    @property
    def schedule(self) -> ScheduleSpec:
        """The share as a function of the frame."""
        return ScheduleSpec(
            name="linear_decay",
            start_val=self.start_ratio,
            end_val=self.end_ratio,
            end_step=self.frames,
        )


class MaximumEntropy(OffPolicyActorCritic):
    """A stochastic policy that is improved on soft values, and its temperature α; without the critics'
    loss."""

    class Params(OffPolicyActorCritic.Params):
        target_entropy: Literal["auto"] | Float = "auto"
        """Entropy H̄ that α keeps the policy at; ``auto`` is minus the number of continuous action
        dimensions, or ``entropy_anneal`` of discrete actions."""
        entropy_anneal: EntropyAnneal = EntropyAnneal()
        """``auto`` for discrete actions: shares of the largest entropy, ln A."""
        alpha_lr: Positive | None = None
        """Learning rate of log α; default the actor's. Weight decay never applies to log α."""
        log_alpha_min: Float = -5.0
        """Least log α."""
        log_alpha_max: Float = 2.0
        """Largest log α."""
        fixed_alpha: NonNegative | None = None
        """A constant α, which is then not learned."""
        alpha_anneal_frames: Frame = 0
        """Frames over which ``fixed_alpha`` falls linearly to 0; 0 keeps it."""
        entropy_penalty_coef: NonNegative = 0.0
        """β of the penalty ``β/2 (H̃ - H)²`` on the policy's entropy leaving its running mean H̃."""
        symlog: bool = False
        """Compress values and targets by sign(x) ln(1 + |x|) in the critics' loss."""
        spectral_norm: bool = False
        """Spectral normalisation of the critics' last hidden layer."""

    params: Params
    entropy_mean: Tensor  # [] running mean of the policy's entropy

    def __init__(self, params: Params, net: NetParams, env: EnvInfo, critic_net: NetParams, start: int):
        super().__init__(params, net, env, critic_net, start)
        self.continuous = env.action.kind == "continuous"
        self.policy = Policy(net.part("actor"), env, _pdtype(params.action_pdtype, env.action))
        self.log_alpha: nn.Parameter | None = None
        if params.fixed_alpha is None:
            start_at = torch.zeros(()).clamp(params.log_alpha_min, params.log_alpha_max)
            self.log_alpha = nn.Parameter(start_at)
        if params.spectral_norm:
            spectral_norm(self.critics.q1.net)
            spectral_norm(self.critics.q2.net)
        self.register_buffer("entropy_mean", torch.zeros(()))

    def act_by_policy(self, obs: Tensor, explore: bool) -> Tensor:
        return self.choose(self.policy(obs, self.temperature)[0], explore)

    def scheduled(self, key: str) -> Tensor:
        """The scheduled value of ``key`` at the current frame, a scalar on the device."""
        return self.entropy_mean.new_tensor(self.schedules()[key])

    @property
    def alpha(self) -> Tensor:
        """The temperature α, without gradient."""
        return self.scheduled("alpha") if self.log_alpha is None else self.log_alpha.detach().exp()

    def draw(self, obs: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """What to ask the critics about ``obs [B, *obs_shape]``, and how likely it is: ``(s, ã)`` and
        log π(ã|s) ``[B]``, or where actions are discrete ``(s,)`` and log π(·|s) ``[B, A]``."""
        pi = self.policy(obs)[0]
        if isinstance(pi, Categorical):
            return (obs,), pi.log_probs
        action, log_prob = pi.rsample_with_log_prob()
        return (obs, action), log_prob

    def soft_value(self, q: Tensor, log_prob: Tensor, alpha: Tensor) -> Tensor:
        """V(s) ``[B]`` of π: from what :meth:`draw` gave, and what the critics said to it."""
        if self.continuous:
            return q.amin(0) - alpha * log_prob
        return (log_prob.exp() * (q.mean(0) - alpha * log_prob)).sum(-1)

    def target_value(self, batch: Sample, next_q: Tensor, log_prob: Tensor, alpha: Tensor) -> Tensor:
        """``y [B]``."""
        return batch.target(self.soft_value(next_q, log_prob, alpha))

    def critic_loss(self, q: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Info]:
        """Both critics' regression, for ``q [2, B]`` of the actions taken."""
        td_error = y - q.amin(0)
        if self.params.symlog:
            q, y = symlog(q), symlog(y)
        loss = self.regress(q, y, weight)
        return loss, {"loss": loss, "q": q.mean(), "td_error": td_error}

    def asked(self, obs: Tensor, action: Tensor) -> tuple[Tensor, ...]:
        """What the critics are asked for Q(s, a) of the actions taken."""
        return (obs, action) if self.continuous else (obs,)

    def taken(self, q: Tensor, action: Tensor) -> Tensor:
        """Q(s, a) ``[2, B]`` of the actions taken, out of the critics' answer."""
        return q if self.continuous else q.gather(-1, action.expand(2, -1)[..., None]).squeeze(-1)

    def critics_step(self, batch: Sample) -> Step:
        return self.critics.optimizers, self.loss, batch, self.alpha

    @abstractmethod
    def loss(self, batch: Sample, alpha: Tensor) -> tuple[Tensor, Info]:
        """``Σ_i mean w · loss(Q_θi(s, a), y)``. Rows ``[B, …]``."""

    def policy_step(self, obs: Tensor) -> Step:
        if self.log_alpha is None:
            return ("actor",), self.policy_loss, obs, self.alpha
        return ("actor", "alpha"), self.policy_loss, obs, self.alpha, self.scheduled("target_entropy")

    @torch.no_grad()
    def settle(self) -> None:
        if self.log_alpha is not None:
            self.log_alpha.clamp_(self.params.log_alpha_min, self.params.log_alpha_max)

    def policy_loss(
        self, obs: Tensor, alpha: Tensor, target_entropy: Tensor | None = None
    ) -> tuple[Tensor, Info]:
        """``-mean V(s)``, and the loss of log α, which has no gradient in common with it."""
        with batch_statistics(self.policy):
            inputs, log_prob = self.draw(obs)
        policy_loss = -self.soft_value(self.critics(*inputs), log_prob, alpha).mean()
        entropy = -(log_prob if self.continuous else (log_prob.exp() * log_prob).sum(-1)).mean()
        info = {"policy_loss": policy_loss, "entropy": entropy}
        loss = policy_loss
        if self.params.entropy_penalty_coef > 0:
            loss = loss + self.entropy_penalty(entropy)
        if self.log_alpha is not None:
            assert target_entropy is not None
            loss = loss + self.log_alpha.exp() * (entropy.detach() - target_entropy)
            info["alpha"] = alpha
        return loss, info

    def entropy_penalty(self, entropy: Tensor) -> Tensor:
        """``β/2 (H̃ - H)²``; H̃ begins with the first entropy and then takes in the new ones."""
        now = entropy.detach()
        mean = torch.where(self.updates == 0, now, self.entropy_mean)
        self.entropy_mean.copy_(mean.lerp(now, ENTROPY_RATE))
        return self.params.entropy_penalty_coef * 0.5 * (mean - entropy).square()

    def learners(self) -> dict[str, Learner]:
        actor = self.policy.learner()
        learners = {"actor": actor, **super().learners()}
        if self.log_alpha is not None:
            learners["alpha"] = Learner([self.log_alpha], _alpha_net(actor.net, self.params.alpha_lr))
        return learners

    def schedules(self) -> dict[str, float]:
        params, schedules = self.params, super().schedules()
        if params.fixed_alpha is not None:
            gone = self.frame / params.alpha_anneal_frames if params.alpha_anneal_frames else 0.0
            return schedules | {"alpha": params.fixed_alpha * max(0.0, 1 - gone)}
        if params.target_entropy != "auto":
            target = params.target_entropy
        elif self.continuous:
            target = -float(self.action_spec.sizes[0])
        else:
            share = value_at(params.entropy_anneal.schedule, self.frame)
            target = share * math.log(self.action_spec.sizes[0])
        return schedules | {"target_entropy": target}


class SoftActorCritic(MaximumEntropy):
    """Target critics value the next state."""

    actions = frozenset({"discrete", "continuous"})

    def __init__(
        self,
        params: MaximumEntropy.Params,
        net: NetParams,
        env: EnvInfo,
        critic_net: NetParams,
        start: int,
    ):
        super().__init__(params, net, env, critic_net, start)
        self.target = TargetNet(self.critics, net, env.num_envs)

    def loss(self, batch: Sample, alpha: Tensor) -> tuple[Tensor, Info]:
        with torch.no_grad():
            inputs, log_prob = self.draw(batch.next_obs)
            y = self.target_value(batch, self.target(*inputs), log_prob, alpha)
        with batch_statistics(self.critics):
            q = self.critics(*self.asked(batch.obs, batch.action))
        return self.critic_loss(self.taken(q, batch.action), y, batch.weight)

    def targets(self) -> Sequence[TargetNet]:
        return [self.target]


def _pdtype(name: str, action: ActionSpec) -> str:
    """The distribution of SAC's policy. GumbelSoftmax, which draws as Categorical does, is read as it:
    the sums over actions need no draw to have a gradient. Raises SpecError for any other."""
    allowed = {
        "discrete": ("Categorical", "GumbelSoftmax"),
        "continuous": (NormalTanh.__name__, "Normal"),
    }[action.kind]
    if name not in ("default", *allowed):
        raise SpecError.at(
            "agent.algorithm.action_pdtype",
            f'"{name}" does not fit this algorithm; choose {" or ".join(allowed)}, or default',
        )
    return allowed[0]


def _alpha_net(actor: NetParams, lr: float | None) -> NetParams:
    """How log α is stepped: as the actor, with a rate of its own, unclipped and without weight decay,
    which would draw α to 1."""
    optim = actor.optim_spec
    keywords = optim.keywords
    if optim.name == "AdamW" or "weight_decay" in keywords:
        keywords["weight_decay"] = 0.0
    optim = type(optim)(**keywords | {"name": optim.name, "lr": lr or optim.lr})
    return actor.model_copy(update={"optim_spec": optim, "clip_grad_val": None})
