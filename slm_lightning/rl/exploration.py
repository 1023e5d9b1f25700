"""How an action is taken from a distribution: ``agent.algorithm.action_policy``."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from slm_lightning.core import ActionSpec
from slm_lightning.rl.distributions import FORBIDDEN, Categorical


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
    sub-environments explore."""
    uniform = random_action(action, num_envs, device, allowed)
    explore = torch.rand(num_envs, *[1] * len(action.shape), device=device) < epsilon
    if explore.is_cpu and explore.all():
        return uniform
    return torch.where(explore, uniform, greedy())
