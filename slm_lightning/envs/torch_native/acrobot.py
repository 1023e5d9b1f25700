"""Acrobot: two links hang from a fixed joint, and the joint between them is driven.

Sutton and Barto, "Reinforcement Learning: An Introduction" (2018), section 11.3, with the book's second
equation of motion and the constants of Gymnasium's ``Acrobot-v1`` (links of mass, length and moment of
inertia 1, centres of mass in their middle), for a torque τ in {-1, 0, 1}:

    d₁ = m l_c² + m (l² + l_c² + 2 l l_c cos θ₂) + 2 I
    d₂ = m (l_c² + l l_c cos θ₂) + I
    φ₂ = m l_c g cos(θ₁ + θ₂ - π/2)
    φ₁ = -m l l_c θ̇₂² sin θ₂ - 2 m l l_c θ̇₂ θ̇₁ sin θ₂ + (m l_c + m l) g cos(θ₁ - π/2) + φ₂
    θ̈₂ = (τ + d₂/d₁ φ₁ - m l l_c θ̇₁² sin θ₂ - φ₂) / (m l_c² + I - d₂²/d₁)
    θ̈₁ = -(d₂ θ̈₂ + φ₁) / d₁

and one fourth-order Runge-Kutta step of 0.2 seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

GRAVITY = 9.8
MASS = 1.0
LENGTH = 1.0
CENTRE = 0.5
INERTIA = 1.0
TIME_STEP = 0.2
MAX_SPEED_1 = 4 * math.pi
MAX_SPEED_2 = 9 * math.pi


@dataclass(frozen=True)
class Acrobot:
    """State ``(θ₁, θ₂, θ̇₁, θ̇₂)``, observation ``(cos θ₁, sin θ₁, cos θ₂, sin θ₂, θ̇₁, θ̇₂)``. Reward -1
    for every step, 0 for the one that lifts the tip a link's length above the joint and terminates."""

    low: ClassVar = (-0.1,) * 4
    high: ClassVar = (0.1,) * 4

    def step(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        after = _runge_kutta(state, action.double() - 1)
        theta_1, theta_2, speed_1, speed_2 = after
        theta_1, theta_2 = _wrap(theta_1), _wrap(theta_2)
        speed_1 = speed_1.clamp(-MAX_SPEED_1, MAX_SPEED_1)
        speed_2 = speed_2.clamp(-MAX_SPEED_2, MAX_SPEED_2)
        terminated = -theta_1.cos() - (theta_2 + theta_1).cos() > 1.0
        reward = terminated.double() - 1
        return torch.stack([theta_1, theta_2, speed_1, speed_2]), reward, terminated

    def observe(self, state: Tensor) -> Tensor:
        cos, sin = state[:2].cos(), state[:2].sin()
        return torch.stack([cos[0], sin[0], cos[1], sin[1], state[2], state[3]], dim=-1).float()


def _derivatives(state: Tensor, torque: Tensor) -> Tensor:
    theta_1, theta_2, speed_1, speed_2 = state
    cos_2, sin_2 = theta_2.cos(), theta_2.sin()
    moment = MASS * LENGTH * CENTRE
    d_1 = MASS * CENTRE**2 + MASS * (LENGTH**2 + CENTRE**2 + 2 * LENGTH * CENTRE * cos_2) + 2 * INERTIA
    d_2 = MASS * (CENTRE**2 + LENGTH * CENTRE * cos_2) + INERTIA
    phi_2 = MASS * CENTRE * GRAVITY * (theta_1 + theta_2 - math.pi / 2).cos()
    phi_1 = (
        -moment * speed_2.square() * sin_2
        - 2 * moment * speed_2 * speed_1 * sin_2
        + (MASS * CENTRE + MASS * LENGTH) * GRAVITY * (theta_1 - math.pi / 2).cos()
        + phi_2
    )
    ratio = d_2 / d_1
    acc_2 = (torque + ratio * phi_1 - moment * speed_1.square() * sin_2 - phi_2) / (
        MASS * CENTRE**2 + INERTIA - d_2 * ratio
    )
    acc_1 = -(d_2 * acc_2 + phi_1) / d_1
    return torch.stack([speed_1, speed_2, acc_1, acc_2])


def _runge_kutta(state: Tensor, torque: Tensor) -> Tensor:
    k_1 = _derivatives(state, torque)
    k_2 = _derivatives(state + TIME_STEP / 2 * k_1, torque)
    k_3 = _derivatives(state + TIME_STEP / 2 * k_2, torque)
    k_4 = _derivatives(state + TIME_STEP * k_3, torque)
    return state + TIME_STEP / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4)


def _wrap(angle: Tensor) -> Tensor:
    """The same angle in [-π, π]; one that lies there stays as it is."""
    turn = 2 * math.pi
    above = ((angle - math.pi) / turn).ceil().clamp(min=0)
    below = ((angle + math.pi) / turn).floor().clamp(max=0)
    return angle - turn * (above + below)
