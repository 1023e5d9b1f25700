"""What can be found out about a spec before anything is created: the environment and the agent are
built once, small, and thrown away."""

from __future__ import annotations

import math
import os
import sys

import torch

from slm_lightning.core import EnvInfo, Keys
from slm_lightning.envs import make_env
from slm_lightning.errors import LabError, MissingError, Problem, SpecError
from slm_lightning.nets.optim import make_optimizer
from slm_lightning.registry import REGISTRY
from slm_lightning.rl.schedules import lr_schedule
from slm_lightning.spec.model import Spec


def check(spec: Spec) -> EnvInfo:
    """What the environment is like. Raises SpecError or MissingError, in one sentence, for whatever
    would fail at the first step."""
    env = make_env(spec.env, Keys(spec.meta.seed), num_envs=1)
    env.close()
    _check_budget(spec)
    _check_actions(spec, env.info)
    try:
        _build(spec, env.info)
    except LabError:
        raise
    except Exception as error:  # whatever PyTorch says of a combination that no rule knows
        raise SpecError.at("agent.net", f"cannot be built: {error}") from error
    return env.info


def _build(spec: Spec, env: EnvInfo) -> None:
    algorithm = spec.agent.algorithm
    agent = REGISTRY.algorithms[algorithm.name](algorithm, spec.agent.net, env)
    rounds = spec.env.max_frame // (algorithm.horizon * spec.env.num_envs)
    for learner in agent.learners().values():
        schedule = learner.net.lr_scheduler_spec
        lr_schedule(make_optimizer(learner), schedule)
        if schedule and schedule.keywords.get("total_steps", math.inf) < rounds:
            raise SpecError.at(
                "agent.net.lr_scheduler_spec.total_steps", f"the session has {rounds} rounds"
            )


def device_of(spec: Spec, index: int, asked: str = "auto") -> str:
    """``cpu`` or ``cuda:i`` for session ``index``: GPUs are dealt round-robin.

    ``asked`` (``auto``, ``cpu`` or ``cuda``) wins over ``agent.net.gpu``.
    """
    wants = {"cpu": False, "cuda": True}.get(asked, spec.agent.net.gpu not in (False, "false"))
    count = torch.cuda.device_count()
    if asked == "cuda" and count == 0:
        raise MissingError("no CUDA device on this machine", "leave out --device, or give --device cpu")
    return f"cuda:{index % count}" if wants and count else "cpu"


def has_display() -> bool:
    """Whether a window can be opened."""
    shown = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(shown) or sys.platform != "linux"


def _check_budget(spec: Spec) -> None:
    algorithm, env = spec.agent.algorithm, spec.env
    least = env.num_envs
    if not spec.agent.memory.whole_episodes:
        least *= algorithm.horizon
    if env.max_frame < least:
        raise SpecError.at(
            "env.max_frame",
            f"{env.max_frame} frames are less than one round of {least} "
            f"({least // env.num_envs} vector steps x {env.num_envs} sub-environments)",
        )


def _check_actions(spec: Spec, env: EnvInfo) -> None:
    name = spec.agent.algorithm.name
    allowed = REGISTRY.algorithms[name].actions
    if env.action.kind not in allowed:
        raise SpecError(
            [
                Problem(
                    "agent.algorithm.name",
                    f"{name} takes {', '.join(sorted(allowed))} actions, "
                    f"and env.name {env.name} has {env.action.kind} ones",
                )
            ]
        )


def shortened(spec: Spec, rounds: int) -> Spec:
    """The spec with at most ``rounds`` rounds, logged every round: for a first look."""
    frames = spec.agent.algorithm.horizon * spec.env.num_envs
    if spec.agent.memory.whole_episodes:
        frames = 500 * spec.agent.algorithm.horizon
    env = spec.env.model_copy(update={"max_frame": min(spec.env.max_frame, rounds * frames)})
    log_frequency = min(spec.meta.log_frequency, frames)
    return spec.model_copy(
        update={"env": env, "meta": spec.meta.model_copy(update={"log_frequency": log_frequency})}
    )
