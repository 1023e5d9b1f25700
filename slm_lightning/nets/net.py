"""A net as a spec describes it: a body of some type, and one linear head for each output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn import Parameter

from slm_lightning.errors import SpecError
from slm_lightning.nets.init import activation, initialise
from slm_lightning.nets.mlp import MLPNet
from slm_lightning.spec.model import LossSpec, NetParams
from slm_lightning.spec.torch_names import LOSSES

BODIES: dict[str, Any] = {"MLPNet": MLPNet}


class Learner(NamedTuple):
    """The parameters that one optimizer steps, and the net section that says how."""

    parameters: list[Parameter]
    net: NetParams


class Net(nn.Module):
    """``obs [B, *obs_shape] -> ([B, heads_0], [B, heads_1], …)``.

    Args: ``gains``: of the initialiser of each head, by default ``init_std``; None is the hidden
    layers'.
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
        self.body = BODIES[params.type](params, obs_shape)
        self.heads = nn.ModuleList(nn.Linear(self.body.out_features, size) for size in heads)
        self.out = nn.ModuleList(self._out_activations(len(heads)))
        if params.init_fn is not None:
            hidden = params.hid_layers_activation
            initialise(self.body.modules(), params.init_fn, hidden)
            for head, gain in zip(self.heads, gains or [params.init_std] * len(heads)):
                initialise([head], params.init_fn, hidden, gain)

    def _out_activations(self, count: int) -> list[nn.Module]:
        names = self.params.out_layer_activation
        names = names if isinstance(names, list) else [names] * count
        if len(names) != count:
            raise SpecError.at(
                "agent.net.out_layer_activation", f"names {len(names)} heads, the net has {count}"
            )
        return [nn.Identity() if name is None else activation(name) for name in names]

    def forward(self, obs: Tensor) -> tuple[Tensor, ...]:
        features = self.body(obs)
        return tuple(out(head(features)) for head, out in zip(self.heads, self.out))

    def learner(self) -> Learner:
        return Learner(list(self.parameters()), self.params)


def regression_loss(spec: LossSpec) -> nn.Module:
    """A loss of ``torch.nn`` by class name, in any case; mean-reduced."""
    return LOSSES[spec.name.lower()](**spec.keywords)
