"""MLPNet: a stack of fully connected layers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from slm_lightning.errors import Problem
from slm_lightning.nets.init import activation
from slm_lightning.nets.layers import Layers, Whole
from slm_lightning.nets.norms import BatchRenorm1d, WeightNormLinear
from slm_lightning.spec.model import Count, NetParams


class MLPNet(Whole):
    """``obs [B, *obs_shape] -> features [B, out_features]``; observations are flattened."""

    class Params(NetParams):
        unread: ClassVar[dict[str, str]] = {"normalize": "only image nets divide by 255"}

        hid_layers: Annotated[list[Count], Field(max_length=1000)]
        """Widths of the hidden layers."""
        batch_norm: bool = False
        """Batch normalisation after every hidden linear layer."""
        batch_renorm: bool = False
        """Batch renormalisation (Ioffe 2017) after every hidden linear layer, with momentum 0.01, eps
        0.001 and a warm-up over 100 000 batches."""
        layer_norm: bool = False
        """Layer normalisation after every hidden linear layer."""
        weight_norm: bool = False
        """Weight normalisation (Salimans and Kingma 2016) of every hidden linear layer."""

        @property
        def batch_statistics(self) -> str:
            return next((key for key in ("batch_norm", "batch_renorm") if getattr(self, key)), "")

        def problems(self, path: str) -> Iterator[Problem]:
            norms = [key for key in ("batch_norm", "batch_renorm", "layer_norm") if getattr(self, key)]
            for key in norms[1:]:
                yield Problem(f"{path}.{key}", f"excludes {norms[0]}; give one of them")

    def __init__(self, params: Params, obs_shape: tuple[int, ...]):
        super().__init__()
        linear = WeightNormLinear if params.weight_norm else nn.Linear
        width = math.prod(obs_shape)
        layers: list[nn.Module] = []
        for size in params.hid_layers:
            layers.append(linear(width, size))
            if params.batch_norm:
                layers.append(nn.BatchNorm1d(size))
            elif params.batch_renorm:
                layers.append(BatchRenorm1d(size, eps=1e-3, momentum=0.01, warmup_steps=100_000))
            elif params.layer_norm:
                layers.append(nn.LayerNorm(size))
            layers.append(activation(params.hid_layers_activation))
            width = size
        self.layers = Layers(*layers)
        self.out_features = width

    def forward(self, obs: Tensor) -> Tensor:
        if obs.dim() != 2 or obs.dtype != torch.float32:
            obs = obs.flatten(1).float()
        return self.layers(obs)
