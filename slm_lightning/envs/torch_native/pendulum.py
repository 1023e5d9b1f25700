"""Pendulum: a torque too weak to lift it swings a pendulum up and holds it there.

The equations and constants of Gymnasium's ``Pendulum-v1``, for θ = 0 upright and a torque |u| <= 2:

    reward = -(θ² + 0.1 θ̇² + 0.001 u²), θ in [-π, π)
    θ̇'    = clip(θ̇ + (3g / 2l · sin θ + 3 / (m l²) · u) dt, ±8)
    θ'     = θ + θ̇' dt

"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

MASS = 1.0
LENGTH = 1.0
TIME_STEP = 0.05
MAX_SPEED = 8.0


@dataclass(frozen=True)
class Pendulum:
    """State ``(θ, θ̇)``, observation ``(cos θ, sin θ, θ̇)``; never terminates. ``g`` is the gravity."""

    g: float = 10.0
    low: ClassVar = (-math.pi, -1.0)
    high: ClassVar = (math.pi, 1.0)

    def step(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        theta, speed = state
        torque = action[:, 0]
        angle = (theta + math.pi) % (2 * math.pi) - math.pi
        reward = -(angle.square() + 0.1 * speed.square() + 0.001 * torque.square())
        pull = 3 * self.g / (2 * LENGTH) * theta.sin() + 3.0 / (MASS * LENGTH**2) * torque
        speed = (speed + pull * TIME_STEP).clamp(-MAX_SPEED, MAX_SPEED)
        after = torch.stack([theta + speed * TIME_STEP, speed])
        return after, reward, torch.zeros_like(theta, dtype=torch.bool)

    def observe(self, state: Tensor) -> Tensor:
        theta, speed = state
        return torch.stack([theta.cos(), theta.sin(), speed], dim=-1).float()
