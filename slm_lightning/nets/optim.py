"""Optimizers by the names a spec gives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.nn import Parameter
from torch.optim import Optimizer

from slm_lightning.spec.model import OptimSpec
from slm_lightning.spec.torch_names import OPTIMIZERS

FUSED = ("Adam", "AdamW", "SGD")
"""Those with a step of PyTorch's own in one kernel."""
BY_SHAPE = ("Adafactor",)
"""Those whose step of a number depends on the shape of the parameter that it belongs to."""


def make_optimizer(parameters: Sequence[Parameter], spec: OptimSpec, fused: bool = True) -> Optimizer:
    """``torch.optim`` by ``spec``; where ``fused``, by PyTorch's own kernel where there is one.

    Hogwild's GlobalAdam and GlobalRMSprop are the plain ones here.
    """
    name = spec.name.removeprefix("Global")
    options: dict[str, Any] = dict(spec.keywords)
    if fused and name in FUSED and not {"foreach", "differentiable"} & options.keys():
        options.setdefault("fused", True)
    make: Any = OPTIMIZERS[name]
    return make(parameters, lr=spec.lr, **options)
