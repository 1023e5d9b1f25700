"""Optimizers by the names a spec gives them."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer

from slm_lightning.errors import SpecError
from slm_lightning.nets.net import Learner


def make_optimizer(learner: Learner) -> Optimizer:
    """``torch.optim`` by the learner's ``optim_spec``; fused where PyTorch has a fused step.

    Hogwild's GlobalAdam and GlobalRMSprop are the plain ones here. Raises SpecError for an unknown
    name or keyword.
    """
    spec = learner.net.optim_spec
    name = spec.name.removeprefix("Global")
    kind: Any = getattr(torch.optim, name, None)
    if not (isinstance(kind, type) and Optimizer in kind.__mro__[1:]):
        raise SpecError.at("agent.net.optim_spec.name", f'"{spec.name}" is not in torch.optim')
    options: dict[str, Any] = dict(spec.model_extra or {})
    if name in ("Adam", "AdamW", "SGD") and "foreach" not in options:
        options.setdefault("fused", True)
    try:
        return kind(learner.parameters, lr=spec.lr, **options)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SpecError.at("agent.net.optim_spec", f"{name}: {error}") from None
