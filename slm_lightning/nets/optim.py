"""Optimizers by the names a spec gives them."""

from __future__ import annotations

from typing import Any

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
