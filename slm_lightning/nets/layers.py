"""Layers, one after the other, at little more than the cost of what they compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.module import _has_any_global_hook
from torch.utils.hooks import RemovableHandle

from slm_lightning.nets.linear import Linear

PLAIN: dict[type[nn.Module], Callable[[Tensor, dict[str, Any]], Tensor]] = {
    nn.Linear: lambda x, own: F.linear(x, own["weight"], own["bias"]),
    nn.ReLU: lambda x, _: x.relu(),
    nn.Tanh: lambda x, _: x.tanh(),
    nn.Identity: lambda x, _: x,
}
"""What the commonest layers compute, as functions of their input and their parameters."""


MODELESS = frozenset(
    {
        *(nn.Sequential, nn.ModuleList, nn.Identity, nn.Flatten),
        *(nn.Linear, Linear, nn.Conv2d, nn.LayerNorm),
        *(nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid),
    }
)
"""Modules that compute the same in train mode and in eval mode."""


class Whole(nn.Module):
    """A module that finds its parts as quickly as its other attributes. PyTorch looks for them last,
    which takes a third of what a small layer does. What it does with them depends on no mode."""

    looked, hooked = -1, True
    modal: list[nn.Module] | None = None
    """The parts for which the mode makes a difference, as of when all were told one."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if isinstance(value, nn.Module):
            self.__dict__[name] = value

    def __call__(self, *inputs: Any) -> Any:
        """As of any module; where nobody is to be told of it, at the cost of a function."""
        return self.forward(*inputs) if self.is_plain() else super().__call__(*inputs)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.modal = modal(self)
        self.look()
        return self

    def is_plain(self) -> bool:
        """Whether neither this nor a part of it has hooks."""
        if not torch.compiler.is_compiling():  # to look takes a tracer longer than all the rest
            self.look()
        return not self.hooked

    def look(self) -> None:
        """Looks for hooks, where any were added anywhere since it looked last."""
        if self.looked != RemovableHandle.next_id:
            self.hooked = _has_any_global_hook() or any(map(has_hooks, self.modules()))
            self.looked = RemovableHandle.next_id


class Layers(Whole, nn.Sequential):
    """As ``nn.Sequential``."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.is_plain():
            return super().forward(x)
        for layer in self._modules.values():
            x = applied(layer, x)
        return x


def modal(net: nn.Module) -> list[nn.Module]:
    """The modules of ``net`` that may compute something else in train mode than in eval mode."""
    return [m for m in net.modules() if type(m) not in MODELESS and not isinstance(m, Whole)]


def look_for_hooks(net: nn.Module) -> None:
    """To be called before ``net`` is part of what is traced."""
    for module in net.modules():
        if isinstance(module, Whole):
            module.look()


def applied(layer: Any, x: Tensor) -> Tensor:
    """``layer(x)`` of a layer without hooks. To call a module takes longer than a small layer needs for
    a few rows, so those in PLAIN are applied as functions."""
    apply = PLAIN.get(type(layer))
    return layer(x) if apply is None else apply(x, layer._parameters)


def called(layer: Any, x: Tensor) -> Tensor:
    """``layer(x)``."""
    return layer(x)


def has_hooks(module: nn.Module) -> bool:
    """Whether anything is to be called before or after the module, forward or backward."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )
