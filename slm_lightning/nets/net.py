"""A net as a spec describes it: a body of some type, and one linear head for each output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn.utils import parametrizations

from slm_lightning.core import Seen
from slm_lightning.errors import SpecError
from slm_lightning.nets.arc import TorchArcNet
from slm_lightning.nets.conv import ConvNet
from slm_lightning.nets.dueling import DuelingConvNet, DuelingHead, DuelingMLPNet
from slm_lightning.nets.init import activation, initialise
from slm_lightning.nets.layers import Whole, applied, called
from slm_lightning.nets.mlp import MLPNet
from slm_lightning.nets.recurrent import RecurrentNet
from slm_lightning.spec.checks import BYTES_PER_WEIGHT, too_large
from slm_lightning.spec.model import LossSpec, NetParams
from slm_lightning.spec.torch_names import LOSSES
from slm_lightning.spec.wording import short

BODIES: dict[str, Any] = {
    "MLPNet": MLPNet,
    "ConvNet": ConvNet,
    "DuelingMLPNet": DuelingMLPNet,
    "DuelingConvNet": DuelingConvNet,
    "TorchArcNet": TorchArcNet,
    "RecurrentNet": RecurrentNet,
}
"""Each holds the model of its section as ``Params``, is made from one and the shape of an observation,
maps ``obs [B, *obs_shape]`` (one that remembers: Seen) to features ``[B, out_features]`` and says
``out_features``."""

HEADS: dict[str, Any] = {"DuelingMLPNet": DuelingHead, "DuelingConvNet": DuelingHead}
"""Heads that are more than one linear layer, by the type of their net."""


class Learner(NamedTuple):
    """The parameters that one optimizer steps, and the net section that says how."""

    parameters: list[Parameter]
    net: NetParams


class Net(Whole):
    """``obs [B, *obs_shape] -> ([B, heads_0], [B, heads_1], …)``.

    Args: ``gains``: of the initialiser of each head, by default ``init_std``; None is the hidden
    layers'. Raises SpecError where the body cannot read such observations or no machine could hold it.
    """

    def __init__(
        self,
        params: NetParams,
        obs_shape: tuple[int, ...],
        heads: Sequence[int],
        gains: Sequence[float | None] | None = None,
    ):
        super().__init__()
        self.params = params
        _refuse_giants(params, obs_shape)
        self.body = BODIES[params.type](params, obs_shape)
        head_of = HEADS.get(params.type, nn.Linear)
        self.heads = nn.ModuleList(head_of(self.body.out_features, size) for size in heads)
        self.out = nn.ModuleList(self._out_activations(len(heads)))
        self.readers = tuple(zip(self.heads, self.out))
        """Each head with its activation; to look for them in their lists takes as long as a head."""
        if params.init_fn is not None:
            hidden = params.hid_layers_activation
            initialise(self.body.modules(), params.init_fn, hidden)
            for head, gain in zip(self.heads, gains or [params.init_std] * len(heads)):
                initialise(head.modules(), params.init_fn, hidden, gain)

    def _out_activations(self, count: int) -> list[nn.Module]:
        names = self.params.out_layer_activation
        names = names if isinstance(names, list) else [names] * count
        if len(names) != count:
            raise SpecError.at(
                "agent.net.out_layer_activation", f"names {len(names)} heads, the net has {count}"
            )
        return [nn.Identity() if name is None else activation(name) for name in names]

    def forward(self, obs: Seen) -> tuple[Tensor, ...]:
        features = self.body(obs)
        call = applied if self.is_plain() else called
        return tuple([call(out, call(head, features)).float() for head, out in self.readers])

    def learner(self) -> Learner:
        return Learner(list(self.parameters()), self.params)


def _refuse_giants(params: NetParams, obs_shape: tuple[int, ...]) -> None:
    """Builds the body on the meta device, where nothing is allocated, and counts its weights."""
    with torch.device("meta"):
        weights = sum(p.numel() for p in BODIES[params.type](params, obs_shape).parameters())
    problems = list(too_large("agent.net", f"{short(weights)} weights", weights * BYTES_PER_WEIGHT))
    if problems:
        raise SpecError(problems)


def spectral_norm(net: Net) -> None:
    """Keeps the largest singular value of the last linear layer before the heads at 1, by one power
    iteration in each forward pass in train mode (T. Miyato et al., 2018).

    Raises SpecError where the body has no linear layer, or one of zeros only.
    """
    linear = [module for module in net.body.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise SpecError.at("agent.algorithm.spectral_norm", "needs a linear hidden layer")
    if not linear[-1].weight.any():
        raise SpecError.at("agent.algorithm.spectral_norm", "cannot norm weights that all begin as 0")
    parametrizations.spectral_norm(linear[-1])


def regression_loss(spec: LossSpec, reduction: str = "mean") -> nn.Module:
    """A loss of ``torch.nn`` by class name, in any case; ``none`` gives one for each row."""
    return LOSSES[spec.name.lower()](**spec.keywords | {"reduction": reduction})
