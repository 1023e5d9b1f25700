"""What a spec names with keywords of its own: schedules, and optimizers and losses of PyTorch."""

from __future__ import annotations

from typing import Literal

from slm_lightning.spec.base import KeywordSpec, SpecModel
from slm_lightning.spec.numeric import Count, Float, Fraction, Frame, Positive


class ScheduleSpec(SpecModel):
    """A value that changes with the frame count."""

    name: Literal["no_decay", "linear_decay", "rate_decay", "periodic_decay"] = "no_decay"
    start_val: Float
    """Value up to ``start_step``."""
    end_val: Float | None = None
    """Value from ``end_step`` on; default ``start_val``."""
    start_step: Frame = 0
    """Frame at which the change begins."""
    end_step: Frame = 0
    """Frame at which the change is complete."""


class OptimSpec(KeywordSpec):
    """An optimizer of ``torch.optim`` by name; further keys are its keyword arguments."""

    name: str = "Adam"
    lr: Positive = 1e-3
    """Learning rate at frame 0."""


class LossSpec(KeywordSpec):
    """A loss of ``torch.nn`` by name; further keys are its keyword arguments."""

    name: str = "MSELoss"


class LRScheduleSpec(KeywordSpec):
    """``LinearToZero``/``LinearToMin``, towards 0 at ``frame``, or a ``torch.optim.lr_scheduler``."""

    frame: Count | None = None
    """Frames until the end of the linear decay."""
    min_factor: Fraction = 0.0
    """``LinearToMin``: the factor of the initial learning rate that is kept."""
