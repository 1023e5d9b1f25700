"""Agents, rollouts and a stand-in for the optimizer, for tests of what an algorithm computes."""

from __future__ import annotations

from typing import Any

import torch

from slm_lightning.algorithms import algorithms
from slm_lightning.algorithms.agent import Agent, Info
from slm_lightning.core import ActionSpec, Batch, EnvInfo, Sample
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
    name: str,
    kind: str = "discrete",
    net: dict[str, Any] | None = None,
    critic_net: dict[str, Any] | None = None,
    **keys: Any,
) -> Agent:
    torch.manual_seed(0)
    spec = make_spec({"name": name} | keys, net=net, critic_net=critic_net).agent
    return algorithms()[name].build(spec, info(kind))


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


def make_sample(kind: str = "discrete", minibatches: int = 2, rows: int = 8) -> Sample:
    """Noise as a replay memory gives it; some rows are terminal, and the weights differ."""
    torch.manual_seed(2)
    shape = (minibatches, rows)
    actions = random_action(ACTIONS[kind], minibatches * rows, "cpu")
    return Sample(
        obs=torch.randn(*shape, OBS),
        action=actions.view(*shape, *ACTIONS[kind].shape),
        reward=torch.randn(shape),
        next_obs=torch.randn(*shape, OBS),
        terminated=torch.rand(shape) < 0.3,
        discount=torch.full(shape, 0.9),
        weight=torch.rand(shape),
        place=torch.arange(minibatches * rows).view(shape),
    )


def experience(name: str, kind: str = "discrete") -> Batch | Sample:
    """What the algorithm called ``name`` learns from."""
    cls = algorithms()[name]
    past = make_sample(kind) if cls.Params.imitates else None
    return make_batch(kind)._replace(past=past) if cls.on_policy else make_sample(kind)


class Recorder:
    """Stands where the optimizer does: takes no step, keeps what it was given."""

    def __init__(self) -> None:
        self.names: list[tuple[str, ...] | str] = []
        self.calls: list[tuple[Any, ...]] = []

    def __call__(self, names: tuple[str, ...] | str, loss_fn: Any, *tensors: Any) -> Info:
        self.names.append(names)
        self.calls.append(tensors)
        return {key: value.detach() for key, value in loss_fn(*tensors)[1].items()}
