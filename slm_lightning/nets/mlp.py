"""MLPNet: a stack of fully connected layers."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn

from slm_lightning.nets.init import activation
from slm_lightning.spec.model import Count, NetParams


class MLPNet(nn.Module):
    """``obs [B, *obs_shape] -> features [B, out_features]``; observations are flattened."""

    class Params(NetParams):
        unread: ClassVar[dict[str, str]] = {"normalize": "only image nets divide by 255"}

        hid_layers: Annotated[list[Count], Field(max_length=1000)]
        """Widths of the hidden layers."""
        batch_norm: bool = False
        """Batch normalisation after every hidden linear layer."""
        layer_norm: bool = False
        """Layer normalisation after every hidden linear layer."""

    def __init__(self, params: Params, obs_shape: tuple[int, ...]):
        super().__init__()
        width = math.prod(obs_shape)
        layers: list[nn.Module] = []
        for size in params.hid_layers:
            layers.append(nn.Linear(width, size))
            if params.batch_norm:
                layers.append(nn.BatchNorm1d(size))
            elif params.layer_norm:
                layers.append(nn.LayerNorm(size))
            layers.append(activation(params.hid_layers_activation))
            width = size
        self.layers = nn.Sequential(*layers)
        self.out_features = width

    def forward(self, obs: Tensor) -> Tensor:
        return self.layers(obs.flatten(1).float())
