"""What every algorithm is: a policy that acts and a rule that learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import Parameter

from slm_lightning.core import Batch, EnvInfo
from slm_lightning.spec.model import AlgorithmParams, NetParams

Loss = Callable[..., tuple[Tensor, dict[str, Tensor]]]
Optimize = Callable[..., dict[str, Tensor]]
"""``optimize(name, loss_fn, *tensors) -> info``: one step of optimizer ``name`` on
``loss_fn(*tensors) -> (loss, info)``. The whole update is given as a function, not as a loss, so that
it can be compiled as one graph."""


@dataclass(frozen=True)
class Learner:
    """The parameters one optimizer steps, and the net section that says how."""

    parameters: list[Parameter]
    net: NetParams


class Agent(nn.Module):
    """An algorithm. One file each; found by the name of its class in ``agent.algorithm.name``."""

    Params: ClassVar[type[AlgorithmParams]]
    on_policy: ClassVar[bool]
    actions: ClassVar[frozenset[str]]
    """Kinds of action space it can act in (``ActionSpec.kind``)."""
    memories: ClassVar[frozenset[str]]
    """Names of the memories it can learn from."""

    def __init__(self, params: AlgorithmParams, net: NetParams, env: EnvInfo):
        super().__init__()
        self.params = params
        self.net_params = net
        self.env = env
        self.frame = 0

    def act(self, obs: Tensor, explore: bool = True) -> Tensor:
        """Actions ``[N, *action.shape]`` for ``obs [N, *obs_shape]``; greedy without ``explore``."""
        raise NotImplementedError

    def learn(self, batch: Batch, optimize: Optimize) -> dict[str, Tensor]:
        """One round of learning from ``batch``. Returns metrics, scalars left on the device."""
        raise NotImplementedError

    def learners(self) -> dict[str, Learner]:
        """The optimizers by name, each with what it steps."""
        raise NotImplementedError

    def schedules(self) -> dict[str, float]:
        """The scheduled values at the current frame, for the record."""
        return {}
