"""Policies and critics: nets whose heads are read as a distribution and as a value."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slm_lightning.core import EnvInfo, Seen
from slm_lightning.errors import SpecError
from slm_lightning.nets.layers import Whole
from slm_lightning.nets.masks import masked, without_mask
from slm_lightning.nets.net import Learner, Net
from slm_lightning.nets.recurrent import RecurrentNet
from slm_lightning.rl.distributions import Argmax, Distribution, Normal, distribution_for
from slm_lightning.spec.model import NetParams


class Policy(Whole):
    """π(·|s). With ``log_std_init`` a Gaussian's log σ is a parameter, the same in every state.

    Args: ``extra_heads``: sizes of a critic's heads on the same body, returned beside the distribution;
    ``extra_gain``: of their initialiser.
    """

    def __init__(
        self,
        net: NetParams,
        env: EnvInfo,
        pdtype: str = "default",
        extra_heads: tuple[int, ...] = (),
        extra_gain: float | None = None,
    ):
        super().__init__()
        self.distribution = distribution_for(env.action, pdtype)
        if self.distribution is Argmax:
            raise SpecError.at(
                "agent.algorithm.action_pdtype",
                "Argmax has no gradient by which a policy could learn; choose Categorical, or default",
            )
        heads = self.distribution.heads(env.action)
        self.log_std: nn.Parameter | None = None
        if net.log_std_init is not None and issubclass(self.distribution, Normal):
            self.log_std = nn.Parameter(torch.full((heads.pop(),), net.log_std_init))
        self.num_heads = len(heads)
        gains = [net.init_std] * len(heads) + [extra_gain] * len(extra_heads)
        self.mask_size = env.mask_size
        self.net = Net(net, env.net_shape, [*heads, *extra_heads], gains)

    def forward(
        self, obs: Seen, temperature: Tensor | float = 1.0
    ) -> tuple[Distribution, tuple[Tensor, ...]]:
        """The distribution over actions for ``obs [B, *obs_shape]``, and the extra heads' outputs."""
        outputs = self.net(without_mask(obs, self.mask_size))
        parameters, extra = outputs[: self.num_heads], outputs[self.num_heads :]
        if self.mask_size:
            parameters = (masked(parameters[0], obs, self.mask_size),)
        if self.log_std is not None:
            parameters = (*parameters, self.log_std)
        return self.distribution(parameters, temperature), extra

    def learner(self) -> Learner:
        return Learner(list(self.parameters()), self.net.params)


class ActorCriticNet(Whole):
    """π(·|s) and V(s), on one shared body or on two separate nets (``agent.net.shared``)."""

    def __init__(self, net: NetParams, env: EnvInfo, pdtype: str = "default"):
        super().__init__()
        self.optimizers = ("agent",) if net.shared else ("actor", "critic")
        """Names of the optimizers that step this net."""
        actor, critic = net.part("actor"), net.part("critic")
        self.actor = Policy(actor, env, pdtype, (1,) if net.shared else (), critic.init_std)
        self.critic = None if net.shared else Net(critic, env.net_shape, [1])
        self.mask_size = env.mask_size
        if self.critic is not None and isinstance(self.critic.body, RecurrentNet):
            self.critic.body.offset = self.actor.net.body.state_size

    def policy(self, obs: Seen, temperature: Tensor | float = 1.0) -> Distribution:
        """π(·|s) for ``obs [B, *obs_shape]``."""
        return self.actor(obs, temperature)[0]

    def value(self, obs: Seen) -> Tensor:
        """V(s) ``[B]``."""
        return self.actor(obs)[1][0].squeeze(-1) if self.critic is None else self._criticise(obs)

    def forward(self, obs: Seen, temperature: Tensor | float = 1.0) -> tuple[Distribution, Tensor]:
        """π(·|s) and V(s) in one pass."""
        pi, extra = self.actor(obs, temperature)
        return pi, extra[0].squeeze(-1) if self.critic is None else self._criticise(obs)

    def _criticise(self, obs: Seen) -> Tensor:
        assert self.critic is not None
        return self.critic(without_mask(obs, self.mask_size))[0].squeeze(-1)

    def learners(self) -> dict[str, Learner]:
        """One learner when shared, else one for the actor and one for the critic."""
        parts: list[Policy | Net] = [self.actor]
        if self.critic is not None:
            parts.append(self.critic)
        return {name: part.learner() for name, part in zip(self.optimizers, parts)}
