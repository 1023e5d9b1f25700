"""Mountain car: an engine too weak for the hill must first back up the other one.

Moore, "Efficient Memory-based Learning for Robot Control" (1990), with the constants of Gymnasium's
``MountainCar-v0`` and ``MountainCarContinuous-v0``:

    v' = clip(v + F - 0.0025 cos 3x, ±0.07)
    x' = clip(x + v', -1.2, 0.6), and v' = 0 where it runs into the wall at -1.2
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

MIN_X, MAX_X = -1.2, 0.6
MAX_SPEED = 0.07
GRAVITY = 0.0025
FORCE = 0.001
POWER = 0.0015


@dataclass(frozen=True)
class MountainCar:
    """State and observation ``(x, v)``. Actions push left, not at all, or right; reward -1 for every
    step until the car is at the ``goal``, at least as fast as ``goal_velocity``."""

    goal_velocity: float = 0.0
    goal: ClassVar = 0.5
    low: ClassVar = (-0.6, 0.0)
    high: ClassVar = (-0.4, 0.0)

    def step(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        after, terminated = self._move(state, (action - 1) * FORCE)
        return after, -torch.ones_like(after[0]), terminated

    def _move(self, state: Tensor, push: Tensor) -> tuple[Tensor, Tensor]:
        x, speed = state
        speed = (speed + push - GRAVITY * (3 * x).cos()).clamp(-MAX_SPEED, MAX_SPEED)
        x = (x + speed).clamp(MIN_X, MAX_X)
        speed = torch.where((x == MIN_X) & (speed < 0), 0.0, speed)
        terminated = (x >= self.goal) & (speed >= self.goal_velocity)
        return torch.stack([x, speed]), terminated

    def observe(self, state: Tensor) -> Tensor:
        return state.T.float().contiguous()


@dataclass(frozen=True)
class MountainCarContinuous(MountainCar):
    """As above with a force of -1 to 1; reward 100 at the goal, minus 0.1 times the force squared."""

    goal: ClassVar = 0.45

    def step(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        force = action[:, 0]
        after, terminated = self._move(state, force * POWER)
        return after, 100.0 * terminated - 0.1 * force.double().square(), terminated
