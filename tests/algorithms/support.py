"""Agents, rollouts and a stand-in for the optimizer, for tests of what an algorithm computes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from slm_lightning.algorithms import algorithms
from slm_lightning.algorithms.agent import Agent, Info
from slm_lightning.core import ActionSpec, Batch, EnvInfo
from slm_lightning.rl.exploration import random_action
from tests.conftest import make_spec

ACTIONS = {
    "discrete": ActionSpec("discrete", (3,)),
    "continuous": ActionSpec("continuous", (2,)),
    "multi_discrete": ActionSpec("multi_discrete", (2, 4)),
    "multi_binary": ActionSpec("multi_binary", (3,)),
}
OBS = 4


def info(kind: str = "discrete", num_envs: int = 2) -> EnvInfo:
    """An environment with four numbers to see and an action of ``kind`` to take."""
    return EnvInfo("x", num_envs, (OBS,), torch.float32, ACTIONS[kind])


def make_agent(
    name: str, kind: str = "discrete", net: dict[str, Any] | None = None, **keys: Any
) -> Agent:
    torch.manual_seed(0)
    spec = make_spec({"name": name} | keys, net=net).agent
    return algorithms()[name](spec.algorithm, spec.net, info(kind))


def make_batch(kind: str = "discrete", steps: int = 6, num_envs: int = 2) -> Batch:
    """A rollout of noise in which episodes end in both ways. ``next_obs`` is what ``obs`` becomes,
    but where an episode ends."""
    torch.manual_seed(1)
    obs = torch.randn(steps + 1, num_envs, OBS)
    terminated, truncated = torch.zeros(2, steps, num_envs, dtype=torch.bool)
    terminated[1, 0] = truncated[3, num_envs - 1] = True
    next_obs = obs[1:].clone()
    next_obs[terminated | truncated] = torch.randn(int((terminated | truncated).sum()), OBS)
    actions = random_action(ACTIONS[kind], steps * num_envs, "cpu")
    return Batch(
        obs=obs[:-1],
        action=actions.view(steps, num_envs, *ACTIONS[kind].shape),
        reward=torch.randn(steps, num_envs),
        next_obs=next_obs,
        terminated=terminated,
        truncated=truncated,
        version=0,
    )


class Recorder:
    """Stands where the optimizer does: takes no step, keeps what it was given."""

    def __init__(self) -> None:
        self.names: list[tuple[str, ...] | str] = []
        self.calls: list[tuple[Tensor, ...]] = []

    def __call__(self, names: tuple[str, ...] | str, loss_fn: Any, *tensors: Tensor) -> Info:
        self.names.append(names)
        self.calls.append(tensors)
        return {key: value.detach() for key, value in loss_fn(*tensors)[1].items()}
