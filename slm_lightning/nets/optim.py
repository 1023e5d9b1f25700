"""Optimizers by the names a spec gives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from slm_lightning.nets.net import Learner
from slm_lightning.spec.torch_names import OPTIMIZERS


def make_optimizer(learner: Learner) -> Optimizer:
    """``torch.optim`` by the learner's ``optim_spec``; fused where PyTorch has a fused step.

    Hogwild's GlobalAdam and GlobalRMSprop are the plain ones here.
    """
    spec = learner.net.optim_spec
    name = spec.name.removeprefix("Global")
    options: dict[str, Any] = dict(spec.keywords)
    if name in ("Adam", "AdamW", "SGD") and not {"foreach", "differentiable"} & options.keys():
        options.setdefault("fused", True)
    make: Any = OPTIMIZERS[name]
    return make(learner.parameters, lr=spec.lr, **options)


def forget_gradients(parameters: Sequence[Parameter]) -> None:
    """Before a backward pass. ``Optimizer.zero_grad`` does the same, far slower."""
    for parameter in parameters:
        parameter.grad = None


@torch.no_grad()
def clip_gradients(parameters: Sequence[Parameter], limit: float) -> Tensor:
    """Scales the gradients so that their global norm is at most ``limit``; returns it as it was.
    ``torch.nn.utils.clip_grad_norm_`` gives the same numbers in twice the time."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    torch._foreach_mul_(gradients, (limit / (norm + 1e-6)).clamp(max=1.0))
    return norm
