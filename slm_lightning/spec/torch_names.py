"""The names of PyTorch that ``agent.net`` may say: activations, losses, initialisers, optimizers, and
learning-rate schedules, with their keyword arguments."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules import activation
from torch.optim import lr_scheduler

from slm_lightning.errors import Problem
from slm_lightning.spec.base import KeywordSpec
from slm_lightning.spec.model import LossSpec, LRScheduleSpec, NetParams, OptimSpec
from slm_lightning.spec.wording import did_you_mean, dotted, listed, unknown

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
    if isinstance(getattr(torch.optim, name), type)
    and name not in ("Optimizer", "LBFGS", "Muon", "SparseAdam")
}
"""Those that step parameters of every shape from dense gradients alone."""

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


def check_net(net: NetParams, section: str) -> Iterator[Problem]:
    """What PyTorch does not have, or would not make, of what the net section at ``section`` names."""
    for key, value in net:
        path = f"{section}.{key}"
        if key == "init_fn" and value is not None and value not in INITIALISERS:
            yield Problem(path, unknown("initialiser", value, INITIALISERS))
        if key.endswith("activation"):
            for name in value if isinstance(value, list) else [value]:
                if name is not None and name.lower() not in ACTIVATIONS:
                    yield Problem(path, unknown("activation", name, ACTIVATIONS))
        if isinstance(value, OptimSpec):
            yield from _optimizer(path, value)
        if isinstance(value, LossSpec):
            yield from _loss(path, value)
        if isinstance(value, LRScheduleSpec):
            yield from _lr_schedule(path, value)


def _optimizer(path: str, spec: OptimSpec) -> Iterator[Problem]:
    kind = OPTIMIZERS.get(spec.name.removeprefix("Global"))
    if kind is None:
        yield Problem(f"{path}.name", unknown("optimizer", spec.name, OPTIMIZERS))
    elif spec.keywords:
        yield from _keywords(path, spec, kind, lambda: _optimizer_refusal(kind, spec.lr, spec.keywords))


def _loss(path: str, spec: LossSpec) -> Iterator[Problem]:
    kind = LOSSES.get(spec.name.lower())
    if kind is None:
        names = [kind.__name__ for kind in LOSSES.values()]
        yield Problem(f"{path}.name", unknown("loss", spec.name, names))
    elif spec.keywords:
        yield from _keywords(path, spec, kind, lambda: _loss_refusal(kind, spec.keywords))


def _lr_schedule(path: str, spec: LRScheduleSpec) -> Iterator[Problem]:
    kind = LR_SCHEDULERS.get(spec.name)
    if spec.name in LINEAR_SCHEDULES:
        if spec.frame is None:
            yield Problem(f"{path}.frame", f"missing; {spec.name} falls over this many frames")
        yield from _unknown_keywords(path, spec, ("name", "frame", "min_factor"))
    elif kind is None:
        names = [*LINEAR_SCHEDULES, *LR_SCHEDULERS]
        yield Problem(f"{path}.name", unknown("schedule", spec.name, names))
    elif spec.frame is not None:
        yield Problem(f"{path}.frame", f"{spec.name} takes no frame; it steps once per update")
    else:
        yield from _keywords(path, spec, kind, lambda: _scheduler_refusal(kind, spec.keywords))


def _keywords(
    path: str, spec: KeywordSpec, kind: type, refusal: Callable[[], str]
) -> Iterator[Problem]:
    """Unknown keyword arguments first; only where all are known is PyTorch asked about their values."""
    strange = list(_unknown_keywords(path, spec, _keywords_of(kind)))
    yield from strange
    message = "" if strange else refusal()
    if message:
        yield Problem(path, f"{spec.name} cannot be made so: {message}")


def _unknown_keywords(path: str, spec: KeywordSpec, known: Collection[str]) -> Iterator[Problem]:
    candidates = {*known, *type(spec).model_fields}
    for key in spec.keywords:
        if key not in known:
            hint = did_you_mean(key, candidates) or f"; {spec.name} takes {listed(known)}"
            yield Problem(dotted(path, key), f"unknown key{hint}")


def _keywords_of(kind: type) -> list[str]:
    """The keyword arguments that ``kind`` takes, but for those a spec does not give."""
    given = ("params", "lr", "optimizer", "last_epoch", "verbose", "reduce", "size_average")
    return [name for name in inspect.signature(kind).parameters if name not in given]


def _loss_refusal(kind: type[nn.Module], keywords: Mapping[str, Any]) -> str:
    """Why this loss cannot regress one number from another; empty where it can."""

    def regress() -> None:
        kind(**keywords)(torch.zeros(2, requires_grad=True), torch.ones(2)).backward()

    return refusal(regress)


def _optimizer_refusal(
    kind: type[torch.optim.Optimizer], lr: float, keywords: Mapping[str, Any]
) -> str:
    """Why this optimizer cannot be made so; empty where it can."""
    make: Callable[..., torch.optim.Optimizer] = kind
    with without_compiler():
        return refusal(lambda: make([nn.Parameter(torch.zeros(1, 1))], lr=lr, **keywords))


def _scheduler_refusal(kind: type[lr_scheduler.LRScheduler], keywords: Mapping[str, Any]) -> str:
    """Why this learning-rate schedule cannot be made so; empty where it can."""
    make: Callable[..., lr_scheduler.LRScheduler] = kind
    with without_compiler():
        return refusal(
            lambda: make(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0), **keywords)
        )


def refusal(attempt: Callable[[], object]) -> str:
    """What ``attempt`` raises, on one line."""
    try:
        attempt()
    except Exception as error:
        return " ".join(str(error).split()) or type(error).__name__
    return ""


@contextlib.contextmanager
def without_compiler() -> Iterator[None]:
    """In which making an optimizer does not import PyTorch's compiler, which takes a second or two. It
    would, to keep what is done meanwhile out of graphs; where a spec is checked, none is traced."""
    hidden: Any = getattr(torch.optim.Optimizer.add_param_group, "__wrapped__", None)
    if hidden is None or "torch._dynamo" in sys.modules or hasattr(hidden, "__dynamo_disable"):
        yield
        return
    hidden.__dynamo_disable = hidden
    try:
        yield
    finally:
        del hidden.__dynamo_disable
