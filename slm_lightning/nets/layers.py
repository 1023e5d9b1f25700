"""Layers, one after the other, at little more than the cost of what they compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PLAIN: dict[type[nn.Module], Callable[[Tensor, dict[str, Any]], Tensor]] = {
    nn.Linear: lambda x, own: F.linear(x, own["weight"], own["bias"]),
    nn.ReLU: lambda x, _: x.relu(),
    nn.Tanh: lambda x, _: x.tanh(),
    nn.Identity: lambda x, _: x,
}
"""What the commonest layers compute, as functions of their input and their parameters."""


class Whole(nn.Module):
    """A module that finds its parts as quickly as its other attributes. PyTorch looks for them last,
    which takes a third of what a small layer does."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if isinstance(value, nn.Module):
            self.__dict__[name] = value


class Layers(nn.Sequential):
    """As ``nn.Sequential``."""

    def forward(self, x: Tensor) -> Tensor:
        for layer in self._modules.values():
            x = applied(layer, x)
        return x


def applied(layer: Any, x: Tensor) -> Tensor:
    """``layer(x)``. To call a module takes longer than a small layer needs for a few rows, so those in
    PLAIN are applied as functions, unless they have hooks of their own."""
    apply = PLAIN.get(type(layer))
    hooked = layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks
    if apply is None or hooked or layer._backward_pre_hooks or torch.compiler.is_compiling():
        return layer(x)
    return apply(x, layer._parameters)
