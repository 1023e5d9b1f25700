"""Values that are functions of the frame count: entropy, clip and exploration schedules, and
learning rates. Being functions, they need no state in a checkpoint."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from slm_lightning.spec.model import LRScheduleSpec, ScheduleSpec
from slm_lightning.spec.torch_names import LINEAR_SCHEDULES, LR_SCHEDULERS

NEXT_TO_NOTHING = 1e-30
"""A learning rate by which nothing moves."""


def value_at(spec: ScheduleSpec | None, frame: int, default: float = 0.0) -> float:
    """The scheduled value at ``frame``; ``default`` where the spec has no schedule.

    With s, e the values at ``start_step`` and ``end_step`` and x in [0, 1] the way between them:
    linear ``s + (e - s) x``; rate ``max(s * 0.9^(20 x), e)``; periodic
    ``e + (s - e) (1 - x) (1 + cos 60 x) / 2``.
    """
    if spec is None:
        return default
    start, end = spec.start_val, spec.start_val if spec.end_val is None else spec.end_val
    if spec.name == "no_decay" or frame < spec.start_step:
        return start
    if frame >= spec.end_step:
        return end
    x = (frame - spec.start_step) / (spec.end_step - spec.start_step)
    if spec.name == "linear_decay":
        return start + (end - start) * x
    if spec.name == "rate_decay":
        return max(start * 0.9 ** (20 * x), end)
    return end + (start - end) * (1 - x) * (1 + math.cos(60 * x)) / 2


class LinearLR:
    """Learning rate falling linearly towards 0 at ``spec.frame`` frames, never below ``min_factor`` of
    its start."""

    def __init__(self, optimizer: Optimizer, spec: LRScheduleSpec):
        assert spec.frame is not None
        self.optimizer = optimizer
        self.frames = spec.frame
        self.floor = spec.min_factor if spec.name == "LinearToMin" else 0.0

    def step(self, frame: int) -> None:
        """Sets the rate for the round that began at ``frame``."""
        factor = max(self.floor, 1 - frame / self.frames)
        for group in self.optimizer.param_groups:
            rate = group["initial_lr"] * factor
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        keep_positive(self.optimizer)

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the rate is a function of the frame."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class TorchLR:
    """A scheduler of ``torch.optim.lr_scheduler``, stepped once per round."""

    def __init__(self, optimizer: Optimizer, spec: LRScheduleSpec):
        make: Any = LR_SCHEDULERS[spec.name]
        optimizer._opt_called = True  # type: ignore[attr-defined]  # which a compiled step does not say
        self.scheduler = make(optimizer, **spec.keywords)
        self.first = True

    def step(self, frame: int) -> None:
        """Advances one round; the first round keeps the initial rate."""
        if not self.first:
            self.scheduler.step()
        self.first = False
        keep_positive(self.scheduler.optimizer)

    def state_dict(self) -> dict[str, Any]:
        """The state of PyTorch's scheduler."""
        return {"first": self.first, "scheduler": self.scheduler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.first = state["first"]
        self.scheduler.load_state_dict(state["scheduler"])


def keep_positive(optimizer: Optimizer) -> None:
    """A rate of 0 that is a tensor becomes next to nothing: Adam of PyTorch divides by such a one, and
    makes NaN of a parameter that never had a gradient."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].clamp_(min=NEXT_TO_NOTHING)


def lr_schedule(optimizer: Optimizer, spec: LRScheduleSpec | None) -> LinearLR | TorchLR | None:
    """The schedule of one optimizer, driven by frames; None keeps the rate constant."""
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", float(group["lr"]))
    if spec is None:
        return None
    return (LinearLR if spec.name in LINEAR_SCHEDULES else TorchLR)(optimizer, spec)
