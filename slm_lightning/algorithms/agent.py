"""What every algorithm is: a policy that acts and a rule that learns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from slm_lightning.core import Batch, EnvInfo
from slm_lightning.nets.net import Learner
from slm_lightning.rl.distributions import Distribution
from slm_lightning.rl.exploration import epsilon_greedy, random_action
from slm_lightning.rl.schedules import value_at
from slm_lightning.spec.model import AlgorithmParams, NetParams

Info = dict[str, Tensor]
Optimize = Callable[..., Info]
"""``optimize(names, loss_fn, *tensors) -> info``: one step of the named optimizers on
``loss_fn(*tensors) -> (loss, info)``. An algorithm hands over the whole update as a function of its
tensors, not a loss, so that forward, backward, clip and step can become one graph."""


class Agent(nn.Module):
    """An algorithm. One file each; ``agent.algorithm.name`` names its class.

    ``frame`` is kept current by whoever drives the agent; scheduled values are functions of it.
    """

    Params: ClassVar[type[AlgorithmParams]]
    on_policy: ClassVar[bool]
    actions: ClassVar[frozenset[str]]
    """Kinds of action space it can act in (``ActionSpec.kind``)."""
    memories: ClassVar[frozenset[str]]
    """Names of the memories it can learn from."""

    def __init__(self, params: AlgorithmParams, net: NetParams, env: EnvInfo):
        super().__init__()
        self.explore_var_spec = params.explore_var_spec
        self.action_policy = params.action_policy
        self.action_spec = env.action
        self.frame = 0

    def act(self, obs: Tensor, explore: bool = True) -> Tensor:
        """Actions ``[N, *action.shape]`` for ``obs [N, *obs_shape]``; greedy without ``explore``."""
        raise NotImplementedError

    def learn(self, batch: Batch, optimize: Optimize) -> Info:
        """One round of learning from ``batch``. Returns metrics, scalars left on the device."""
        raise NotImplementedError

    def learners(self) -> dict[str, Learner]:
        """What each optimizer steps, by name."""
        raise NotImplementedError

    def schedules(self) -> dict[str, float]:
        """The scheduled values at the current frame, for the record."""
        if self.explore_var_spec is None:
            return {}
        return {"explore_var": value_at(self.explore_var_spec, self.frame)}

    @property
    def temperature(self) -> float:
        """What logits are divided by: the exploration variable of a Boltzmann policy, else 1."""
        boltzmann = self.action_policy == "boltzmann"
        return value_at(self.explore_var_spec, self.frame, 1.0) if boltzmann else 1.0

    def choose(self, pi: Distribution, explore: bool) -> Tensor:
        """An action from ``pi`` as ``action_policy`` says; its mode without ``explore``."""
        if not explore:
            return pi.mode()
        if self.action_policy == "epsilon_greedy":
            return epsilon_greedy(pi, self.action_spec, value_at(self.explore_var_spec, self.frame))
        if self.action_policy == "random":
            mode = pi.mode()
            return random_action(self.action_spec, mode.shape[0], mode.device)
        return pi.sample()


def mean_info(infos: Sequence[Info]) -> Info:
    """The mean of each metric over the updates of a round."""
    return {key: torch.stack([info[key] for info in infos]).mean() for key in infos[0]}
