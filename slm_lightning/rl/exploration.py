"""How an action is taken from a distribution: ``agent.algorithm.action_policy``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from slm_lightning.core import ActionSpec
from slm_lightning.rl.distributions import FORBIDDEN, Categorical

BELOW_ONE = 1 - 1e-12
"""Keeps what is drawn from [0, n) below n where it is rounded."""


def random_action(
    action: ActionSpec, num_envs: int, device: torch.device | str, allowed: Tensor | None = None
) -> Tensor:
    """Uniform actions ``[N, *action.shape]``; continuous ones in [-1, 1], discrete ones among those
    ``allowed [N, A]``."""
    if allowed is not None:
        return Categorical([torch.where(allowed, 0.0, FORBIDDEN)]).sample()
    if action.kind == "continuous":
        return torch.rand(num_envs, *action.shape, device=device) * 2 - 1
    if action.kind == "multi_binary":
        return torch.randint(2, (num_envs, *action.shape), device=device)
    if action.kind == "discrete":
        return torch.randint(action.sizes[0], (num_envs,), device=device)
    return torch.stack([torch.randint(n, (num_envs,), device=device) for n in action.sizes], -1)


def epsilon_greedy(
    greedy: Callable[[], Tensor],
    action: ActionSpec,
    epsilon: float,
    num_envs: int,
    device: torch.device | str,
    allowed: Tensor | None = None,
) -> Tensor:
    """With probability ε, drawn for each sub-environment, a uniform action among those ``allowed
    [N, A]``; else the ``greedy() [N, *action.shape]`` one. On the CPU it is not asked for where all
    sub-environments explore, and nothing else is computed where none does.

    Where actions are discrete and all are allowed, one uniform number u tells both: u < ε explores, and
    then u / ε is uniform as well. For the CPU it is NumPy that draws: a few numbers cost it a third.
    """
    if action.kind != "discrete" or allowed is not None:
        uniform = random_action(action, num_envs, device, allowed)
        explore = torch.rand(num_envs, *[1] * len(action.shape), device=device) < epsilon
        if explore.is_cpu and explore.all():
            return uniform
        return torch.where(explore, uniform, greedy())
    scale = action.sizes[0] / (epsilon or 1.0) * BELOW_ONE
    if torch.device(device).type != "cpu":
        u = torch.rand(num_envs, dtype=torch.float64, device=device)
        return torch.where(u < epsilon, (u * scale).long(), greedy())
    drawn = np.random.random(num_envs)
    below = drawn < epsilon
    exploring = np.count_nonzero(below)
    if not exploring:
        return greedy()
    uniform = torch.from_numpy((drawn * scale).astype(np.int64))
    return uniform if exploring == num_envs else torch.where(torch.from_numpy(below), uniform, greedy())
