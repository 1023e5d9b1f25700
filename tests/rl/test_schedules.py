"""Scheduled values and learning rates at given frames."""

from __future__ import annotations

import math

import pytest
import torch

from slm_lightning.rl.schedules import lr_schedule, value_at
from slm_lightning.spec.model import LRScheduleSpec, ScheduleSpec

# Every schedule but no_decay changes between frames 100 and 300, so frame 200 is half way.
TABLE = [
    # name, start_val, end_val, frame, expected
    ("no_decay", 0.5, None, 10**9, 0.5),
    ("no_decay", 0.5, 0.1, 10**9, 0.5),
    ("linear_decay", 1.0, 0.2, 0, 1.0),
    ("linear_decay", 1.0, 0.2, 100, 1.0),
    ("linear_decay", 1.0, 0.2, 200, 0.6),
    ("linear_decay", 1.0, 0.2, 300, 0.2),
    ("linear_decay", 1.0, 0.2, 10**9, 0.2),
    ("linear_decay", 1.0, 0.0, 200, 0.5),  # an end of 0 is an end, not an absent one
    ("linear_decay", 1.0, 0.0, 300, 0.0),
    ("linear_decay", 1.0, None, 200, 1.0),
    ("linear_decay", 0.1, 0.5, 200, 0.3),  # rising
    ("linear_decay", 0.1, 0.5, 400, 0.5),
    ("rate_decay", 1.0, 0.0, 99, 1.0),
    ("rate_decay", 1.0, 0.0, 150, 0.9**5),
    ("rate_decay", 1.0, 0.0, 200, 0.9**10),
    ("rate_decay", 1.0, 0.5, 200, 0.5),  # 0.9^10 = 0.349 is below the end
    ("rate_decay", 1.0, 0.0, 300, 0.0),
    ("periodic_decay", 1.0, 0.2, 100, 1.0),
    ("periodic_decay", 1.0, 0.2, 200, 0.2 + 0.8 * 0.5 * (1 + math.cos(30)) / 2),
    ("periodic_decay", 1.0, 0.2, 300, 0.2),
]


@pytest.mark.parametrize(("name", "start", "end", "frame", "expected"), TABLE)
def test_value_at(name, start, end, frame, expected):
    spec = ScheduleSpec(name=name, start_val=start, end_val=end, start_step=100, end_step=300)
    assert value_at(spec, frame) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["linear_decay", "rate_decay", "periodic_decay"])
def test_a_schedule_of_no_length_is_a_step(name):
    spec = ScheduleSpec(name=name, start_val=1.0, end_val=0.5, start_step=100, end_step=100)
    assert [value_at(spec, frame) for frame in (99, 100, 101)] == [1.0, 0.5, 0.5]


@pytest.mark.parametrize("name", ["linear_decay", "rate_decay", "periodic_decay"])
def test_a_decay_stays_between_its_ends(name):
    spec = ScheduleSpec(name=name, start_val=1.0, end_val=0.2, start_step=100, end_step=300)
    assert all(0.2 <= value_at(spec, frame) <= 1.0 for frame in range(400))


def test_no_schedule_is_the_default():
    assert value_at(None, 5) == 0.0
    assert value_at(None, 5, default=1.0) == 1.0


def optimizer(lr: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def rates(spec: LRScheduleSpec | None, frames: list[int]) -> list[float]:
    """The learning rate of the rounds that begin at ``frames``."""
    optim = optimizer()
    schedule, seen = lr_schedule(optim, spec), []
    for frame in frames:
        if schedule:
            schedule.step(frame)
        seen.append(optim.param_groups[0]["lr"])
        optim.step()
    return seen


def test_without_a_schedule_the_rate_is_constant():
    assert lr_schedule(optimizer(), None) is None
    assert rates(None, [0, 1000]) == [0.1, 0.1]


def test_linear_to_zero_follows_frames():
    spec = LRScheduleSpec(name="LinearToZero", frame=1000)
    assert rates(spec, [0, 250, 500, 1000, 5000]) == pytest.approx([0.1, 0.075, 0.05, 0.0, 0.0])


def test_linear_to_min_keeps_its_least_factor():
    spec = LRScheduleSpec(name="LinearToMin", frame=1000, min_factor=0.2)
    assert rates(spec, [0, 500, 800, 1000, 5000]) == pytest.approx([0.1, 0.05, 0.02, 0.02, 0.02])


def test_a_linear_schedule_is_a_function_of_the_frame_alone():
    spec = LRScheduleSpec(name="LinearToZero", frame=1000)
    assert rates(spec, [0, 250, 500])[-1] == rates(spec, [500])[-1]


def test_a_torch_schedule_steps_once_a_round():
    spec = LRScheduleSpec(name="StepLR", step_size=2, gamma=0.5)
    assert rates(spec, [0, 64, 128, 192, 256]) == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025])
