"""SIL: self-imitation learning, on top of A2C and of PPO.

J. Oh et al., *Self-imitation learning*, ICML 2018, Algorithm 1.

    for each rollout from π_θ:
        the update of A2C or PPO
        D ← D ∪ {(s_t, a_t, R_t)} for each episode that has ended,   R_t = Σ_{k ≥ t} γ^{k-t} r_k
        for each of M minibatches (s, a, R) from D, drawn uniformly or in proportion to (R - V)₊:
            L_policy = mean w · -log π_θ(a|s) (R - V_θ(s))₊                                (eq. 2)
            L_value  = mean w · ½ (R - V_θ(s))₊²                                           (eq. 3)
            θ ← θ - α ∇_θ [ c_π L_policy + c_V L_value ]                                   (eq. 1)

(x)₊ is max(x, 0), a constant in L_policy; w are importance weights, 1 where the draw is uniform.

R bounds the optimal value from below because a policy earned it. An episode that was truncated did not
earn the rest of its return: there R_t ends with γ^m V_θ(s_{t+m}), what the present policy expects from
where it was stopped. Without that, where rewards are negative, whatever is done shortly before a time
limit would look good.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from slm_lightning.algorithms.a2c import ActorCritic
from slm_lightning.algorithms.agent import Info, Optimize, mean_info
from slm_lightning.algorithms.ppo import PPO
from slm_lightning.core import Batch, EnvInfo, Sample, Seen
from slm_lightning.spec.model import AlgorithmParams, Count, NetParams, NonNegative


class ImitationParams(AlgorithmParams):
    """Keys of self-imitation; the defaults are the paper's for Atari games."""

    imitates: ClassVar[bool] = True

    sil_policy_loss_coef: NonNegative = 1.0
    """c_π, factor of the policy loss on past episodes."""
    sil_val_loss_coef: NonNegative = 0.01
    """c_V, factor of the value loss on past episodes."""
    training_iter: Count = 4
    """Minibatches M of past episodes in a round."""
    training_batch_iter: Count = 1
    """Gradient steps on each of them."""

    def updates(self, num_envs: int) -> int:
        return self.training_iter

    def steps_on(self, frames: int, num_envs: int) -> int:
        return super().steps_on(frames, num_envs) + self.training_iter * self.training_batch_iter


class SelfImitation:
    """The update on past episodes: the same for every agent with π(·|s) and V(s)."""

    def __init__(self, agent: SIL | PPOSIL):
        self.agent, self.params = agent, agent.params

    def learn(self, past: Sample, optimize: Optimize) -> Info:
        """``training_iter`` minibatches. ``td_error`` is (R - V)₊, which priorities are made of."""
        infos, gains = [], []
        for minibatch in past.minibatches():
            ret = self.returns(minibatch)
            data = minibatch.obs, minibatch.action, ret, minibatch.weight
            for _ in range(self.params.training_batch_iter):
                info = optimize(self.agent.net.optimizers, self.loss, *data)
                gain = info.pop("gain")
                infos.append(info)
            gains.append(gain)
        return mean_info(infos) | {"td_error": torch.stack(gains)}

    @torch.no_grad()
    def returns(self, past: Sample) -> Tensor:
        """``R [B]``: what was earned to the end of the episode, and V where truncation was its end."""
        return past.target(self.agent.net.value(past.next_obs))

    def loss(self, obs: Seen, action: Tensor, ret: Tensor, weight: Tensor) -> tuple[Tensor, Info]:
        """Eq. 1 on one minibatch of rows ``[B, …]``."""
        pi, value = self.agent.net(obs, self.agent.temperature)
        gain = (ret - value).clamp(min=0)
        policy_loss = -(weight * pi.log_prob(action) * gain.detach()).mean()
        value_loss = 0.5 * (weight * gain.square()).mean()
        policy_loss = self.params.sil_policy_loss_coef * policy_loss
        value_loss = self.params.sil_val_loss_coef * value_loss
        loss = policy_loss + value_loss
        return loss, {
            "sil_loss": loss,
            "sil_policy_loss": policy_loss,
            "sil_value_loss": value_loss,
            "gain": gain,
        }


class Imitator:
    """Mixed into an agent: a round of it, then the update on past episodes."""

    recurrent = False

    def __init__(self, params: Any, net: NetParams, env: EnvInfo):
        super().__init__(params, net, env)  # type: ignore[call-arg]
        self.imitation = SelfImitation(self)  # type: ignore[arg-type]

    def learn(self, batch: Batch, optimize: Optimize) -> Info:
        info = super().learn(batch, optimize)  # type: ignore[misc]
        return info if batch.past is None else info | self.imitation.learn(batch.past, optimize)


class SIL(Imitator, ActorCritic):
    """A2C that also imitates those of its past actions that turned out better than expected."""

    class Params(ImitationParams, ActorCritic.Params): ...

    params: Params
    memories = frozenset({"OnPolicyBatchReplay", "OnPolicyReplay"})


class PPOSIL(Imitator, PPO):
    """PPO that also imitates those of its past actions that turned out better than expected."""

    class Params(ImitationParams, PPO.Params):
        unread: ClassVar[dict[str, str]] = {
            key: why
            for key, why in PPO.Params.unread.items()
            if key not in ImitationParams.model_fields
        }

    params: Params
