"""CartPole: a pole on a cart that is pushed left or right.

Barto, Sutton and Anderson, "Neuronlike Adaptive Elements That Can Solve Difficult Learning Control
Problems" (1983), with the constants of Gymnasium's ``CartPole-v1``:

    temp = (F + m_p l θ̇² sin θ) / m
    θ̈   = (g sin θ - cos θ · temp) / (l (4/3 - m_p cos² θ / m))
    ẍ   = temp - m_p l θ̈ cos θ / m

and one Euler step of ``TAU`` seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

GRAVITY = 9.8
POLE_MASS = 0.1
MASS = 1.0 + POLE_MASS  # with the cart
LENGTH = 0.5  # half the pole's
FORCE = 10.0
TAU = 0.02
MAX_X = 2.4
MAX_THETA = 12 * 2 * math.pi / 360


@dataclass(frozen=True)
class CartPole:
    """State ``(x, ẋ, θ, θ̇)``, which is the observation too. Reward 1 for every step; with
    ``sutton_barto_reward`` -1 for the last and 0 for the others."""

    sutton_barto_reward: bool = False
    low: ClassVar = (-0.05,) * 4
    high: ClassVar = (0.05,) * 4

    def step(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, x_dot, theta, theta_dot = state
        force = torch.where(action == 1, FORCE, -FORCE)
        cos, sin = theta.cos(), theta.sin()
        temp = (force + POLE_MASS * LENGTH * theta_dot.square() * sin) / MASS
        theta_acc = (GRAVITY * sin - cos * temp) / (
            LENGTH * (4.0 / 3.0 - POLE_MASS * cos.square() / MASS)
        )
        x_acc = temp - POLE_MASS * LENGTH * theta_acc * cos / MASS
        rates = torch.stack([x_dot, x_acc, theta_dot, theta_acc])
        after = state + TAU * rates
        terminated = (after[0].abs() > MAX_X) | (after[2].abs() > MAX_THETA)
        reward = -terminated.double() if self.sutton_barto_reward else torch.ones_like(x)
        return after, reward, terminated

    def observe(self, state: Tensor) -> Tensor:
        return state.T.float().contiguous()
