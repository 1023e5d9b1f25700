"""The names of PyTorch that a spec may say: activations, losses, initialisers, optimizers, and
learning-rate schedules."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules import activation
from torch.optim import lr_scheduler

ACTIVATIONS: dict[str, type[nn.Module]] = {
    name.lower(): getattr(activation, name)
    for name in activation.__all__
    if name not in ("GLU", "MultiheadAttention", "Softmax2d", "Threshold")
}
"""By class name in lower case; those that work on every width without arguments."""

LOSSES: dict[str, type[nn.Module]] = {
    kind.__name__.lower(): kind for kind in (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss)
}
"""Regression losses by class name in lower case."""

INITIALISERS: dict[str, Callable[..., torch.Tensor]] = {
    name: getattr(nn.init, name)
    for name in (
        "orthogonal_",
        "xavier_uniform_",
        "xavier_normal_",
        "kaiming_uniform_",
        "kaiming_normal_",
        "uniform_",
        "normal_",
        "trunc_normal_",
        "zeros_",
        "ones_",
    )
}
"""Those of ``torch.nn.init`` that need no further argument."""

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    name: getattr(torch.optim, name)
    for name in torch.optim.__all__
    if isinstance(getattr(torch.optim, name), type) and name not in ("Optimizer", "LBFGS", "SparseAdam")
}
"""Those that step from dense gradients alone."""

LR_SCHEDULERS: dict[str, type[lr_scheduler.LRScheduler]] = {
    name: getattr(lr_scheduler, name)
    for name in (
        "ConstantLR",
        "CosineAnnealingLR",
        "CosineAnnealingWarmRestarts",
        "CyclicLR",
        "ExponentialLR",
        "LinearLR",
        "MultiStepLR",
        "OneCycleLR",
        "PolynomialLR",
        "StepLR",
    )
}
"""Those that plain keyword arguments make and that step without a measurement."""

LINEAR_SCHEDULES = ("LinearToZero", "LinearToMin")


def keywords_of(kind: type) -> list[str]:
    """The keyword arguments that ``kind`` takes, but for those a spec does not give."""
    given = ("params", "lr", "optimizer", "last_epoch", "verbose", "reduce", "size_average")
    return [name for name in inspect.signature(kind).parameters if name not in given]


def loss_refusal(kind: type[nn.Module], keywords: Mapping[str, Any]) -> str:
    """Why this loss cannot regress one number from another; empty where it can."""

    def regress() -> None:
        kind(**keywords)(torch.zeros(2, requires_grad=True), torch.ones(2)).backward()

    return _refusal(regress)


def optimizer_refusal(kind: type[torch.optim.Optimizer], lr: float, keywords: Mapping[str, Any]) -> str:
    """Why this optimizer cannot be made so; empty where it can."""
    make: Callable[..., torch.optim.Optimizer] = kind
    return _refusal(lambda: make([nn.Parameter(torch.zeros(1, 1))], lr=lr, **keywords))


def scheduler_refusal(kind: type[lr_scheduler.LRScheduler], keywords: Mapping[str, Any]) -> str:
    """Why this learning-rate schedule cannot be made so; empty where it can."""
    make: Callable[..., lr_scheduler.LRScheduler] = kind
    return _refusal(lambda: make(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0), **keywords))


def _refusal(attempt: Callable[[], object]) -> str:
    """What ``attempt`` raises, on one line."""
    try:
        attempt()
    except Exception as error:
        return " ".join(str(error).split()) or type(error).__name__
    return ""
