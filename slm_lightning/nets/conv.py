"""ConvNet: convolutions over an image, then fully connected layers."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from slm_lightning.errors import SpecError
from slm_lightning.nets.init import activation
from slm_lightning.nets.linear import Linear
from slm_lightning.spec.model import Count, Int, NetParams

Channels = Annotated[Int, Field(ge=1, le=65_536)]
Extent = Annotated[Int, Field(ge=1, le=1024)]
Margin = Annotated[Int, Field(ge=0, le=1024)]


class ConvLayer(NamedTuple):
    """One convolution; its last three numbers may be left out. A list has one number for the height
    and one for the width."""

    out_channels: Channels
    kernel: Extent | tuple[Extent, Extent]
    stride: Extent | tuple[Extent, Extent] = 1
    padding: Margin | tuple[Margin, Margin] = 0
    dilation: Extent | tuple[Extent, Extent] = 1


class ConvNet(nn.Module):
    """``images [B, channels, height, width] -> features [B, out_features]``; stacked frames are
    channels.

    Each convolution is followed by its activation and, with ``batch_norm``, all but the first then by
    batch normalisation. That is off unless asked for; in SLM Lab it was on.

    Raises SpecError for observations that are no such image, and for one that is too small.
    """

    class Params(NetParams):
        conv_hid_layers: Annotated[list[ConvLayer], Field(max_length=100)]
        """Convolutions, each [out_channels, kernel, stride, padding, dilation]; the last three may be
        left out."""
        fc_hid_layers: Annotated[list[Count], Field(max_length=1000)] | None = None
        """Widths of the fully connected layers after the convolutions."""
        batch_norm: bool = False
        """Batch normalisation after every convolution but the first."""

        @property
        def batch_statistics(self) -> str:
            return "batch_norm" if self.batch_norm else ""

    def __init__(self, params: Params, obs_shape: tuple[int, ...]):
        super().__init__()
        if len(obs_shape) != 3:
            raise SpecError.at(
                "agent.net.type",
                f"{params.type} reads images, channels first: observations of 3 dimensions,"
                f" not of shape {list(obs_shape)}",
            )
        self.normalize = params.normalize
        channels, *size = obs_shape
        layers: list[nn.Module] = []
        for i, (out_channels, *numbers) in enumerate(params.conv_hid_layers):
            kernel, stride, padding, dilation = map(_pair, numbers)
            size = _size_after(i, size, kernel, stride, padding, dilation)
            layers.append(nn.Conv2d(channels, out_channels, kernel, stride, padding, dilation))
            layers.append(activation(params.hid_layers_activation))
            if params.batch_norm and i > 0:
                layers.append(nn.BatchNorm2d(out_channels))
            channels = out_channels
        layers.append(nn.Flatten())
        width = channels * size[0] * size[1]
        for features in params.fc_hid_layers or []:
            layers += [Linear(width, features), activation(params.hid_layers_activation)]
            width = features
        self.layers = nn.Sequential(*layers)
        self.out_features = width

    def forward(self, obs: Tensor) -> Tensor:
        return self.layers(pixels(obs, self.normalize))


def pixels(obs: Tensor, normalize: bool) -> Tensor:
    """``obs`` as floats, with ``normalize`` divided by 255. Images ``[B, C, H, W]`` are laid out
    channels-last, in which a CPU convolves faster."""
    layout = torch.channels_last if obs.dim() == 4 else torch.preserve_format
    if not normalize:
        return obs.to(torch.float32, memory_format=layout)
    return obs.to(torch.float32, memory_format=layout, copy=True).div_(255)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _size_after(
    layer: int,
    size: list[int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> list[int]:
    """Height and width after a convolution of an image of ``size``."""
    after = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, kernel, stride, padding, dilation)
    ]
    if min(after) < 1:
        raise SpecError.at(
            f"agent.net.conv_hid_layers.{layer}",
            f"the image that reaches this layer, {size[0]} x {size[1]}, is smaller than its kernel",
        )
    return after
