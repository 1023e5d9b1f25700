"""What can be found out about a spec before anything is created: the environment and the agent are
built once, small, and thrown away."""

from __future__ import annotations

import os
import sys

import torch

from slm_lightning.core import EnvInfo, Keys
from slm_lightning.data.rounds import least_steps, rounds
from slm_lightning.envs import make_env
from slm_lightning.envs.gym_making import is_foreign
from slm_lightning.envs.walk import Look, look_closely
from slm_lightning.errors import LabError, MissingError, Problem, SpecError
from slm_lightning.lab.running.apart import apart
from slm_lightning.lab.sizes import check_sizes
from slm_lightning.nets.optim import make_optimizer
from slm_lightning.registry import REGISTRY
from slm_lightning.rl.schedules import lr_schedule
from slm_lightning.spec.model import EnvParams, Spec
from slm_lightning.spec.torch_names import without_compiler
from slm_lightning.spec.wording import listed
from slm_lightning.updates import compiles

_seen: dict[str, Look] = {}
"""What environments are like that have been looked at, by their section."""


def check(spec: Spec) -> Look:
    """What the environment is like, looked at anew. Raises SpecError or MissingError, in one sentence,
    for whatever would fail at the first step."""
    _seen.pop(_key(spec.env), None)
    look = look_at(spec.env)
    check_sizes(spec, look.info, device_of(spec, 0))
    check_agent(spec, look.info)
    return look


def look_at(env: EnvParams) -> Look:
    """What the environment of section ``env`` is like, seen on one of it; once for each section.

    One that is foreign to the lab is played at random, in a process that it may end. Raises
    SpecError or MissingError.
    """
    key = _key(env)
    if key not in _seen:
        _seen[key] = _look(env)
    return _seen[key]


def _key(env: EnvParams) -> str:
    """The section without what does not change the environment."""
    return env.model_copy(update={"num_envs": 1, "max_frame": 1}).model_dump_json()


def _look(env: EnvParams) -> Look:
    if is_foreign(env):
        return apart(env, look_closely, env)
    made = make_env(env, Keys(0), num_envs=1)
    made.close()
    return Look(made.info)


def doubts(look: Look) -> list[str]:
    """What there is to say of an environment that cannot be brought back."""
    if not look.doubt:
        return []
    return [f"env.name: {look.info.name} {look.doubt}; resume is approximate: it begins new episodes"]


def check_agent(spec: Spec, env: EnvInfo) -> None:
    """Raises SpecError for an agent that cannot be built, or cannot act, in an environment like
    ``env``, and for a budget that no round fits in; MissingError where it asks for a compiler that the
    machine does not have."""
    _check_budget(spec)
    _check_actions(spec, env)
    compiles(spec)
    try:
        with torch.random.fork_rng(devices=[]):  # what the caller draws is not shifted
            _build(spec, env)
    except LabError:
        raise
    except Exception as error:  # whatever PyTorch says of a combination that no rule knows
        raise SpecError.at("agent.net", f"cannot be built: {error}") from error


def _build(spec: Spec, env: EnvInfo) -> None:
    agent = REGISTRY.algorithms[spec.agent.algorithm.name].build(spec.agent, env)
    for learner in agent.learners().values():
        schedule = learner.net.lr_scheduler_spec
        with without_compiler():
            optimizer = make_optimizer(learner.parameters, learner.net.optim_spec)
        try:
            lr_schedule(optimizer, schedule)
        except ValueError as error:
            kind, stepped = schedule and schedule.name, learner.net.optim_spec.name
            raise SpecError.at(
                "agent.net.lr_scheduler_spec",
                f"{kind} does not go with {stepped} (agent.net.optim_spec.name): {error}",
            ) from error
        total_steps = schedule.keywords.get("total_steps") if schedule else None
        if total_steps is not None and total_steps < (count := rounds(spec)[0]):
            raise SpecError.at(
                "agent.net.lr_scheduler_spec.total_steps", f"the session has {count} rounds"
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


def devices_of(spec: Spec, session: int, asked: str = "auto") -> tuple[str, ...]:
    """The devices of session ``session``: one, or where several workers train its model theirs."""
    indices = range(spec.meta.workers) if spec.meta.distributed else (session,)
    return tuple(device_of(spec, index, asked) for index in indices)


def has_display() -> bool:
    """Whether a window can be opened."""
    shown = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(shown) or sys.platform != "linux"


def with_one_round(spec: Spec) -> Spec:
    """The spec with frames for at least one round. Without one SLM Lab ran and learned nothing."""
    env, least = spec.env, least_steps(spec, frame=0) * spec.env.num_envs * spec.meta.workers
    if env.max_frame >= least:
        return spec
    return spec.model_copy(update={"env": env.model_copy(update={"max_frame": least})})


def _check_budget(spec: Spec) -> None:
    env, workers, steps = spec.env, spec.meta.workers, least_steps(spec, frame=0)
    least = steps * env.num_envs * workers
    if env.max_frame < least:
        share = f" x {workers} workers" if workers > 1 else ""
        raise SpecError.at(
            "env.max_frame",
            f"{env.max_frame} frames are less than one round of {least} "
            f"({steps} vector steps x {env.num_envs} sub-environments{share})",
            "training_start_step and training_frequency of agent.algorithm say when learning begins"
            if spec.agent.memory.replay
            else "",
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
    if env.mask_size and not REGISTRY.algorithms[name].masks:
        able = (key for key, cls in REGISTRY.algorithms.items() if cls.masks)
        raise SpecError.at(
            "agent.algorithm.name",
            f"{name} does not keep to the actions that env.name {env.name} allows; {listed(able)} do",
        )


def shortened(spec: Spec, most: int) -> Spec:
    """The spec with at most ``most`` rounds, logged every round: for a first look."""
    frames = rounds(spec, most)[1]
    if spec.agent.memory.whole_episodes:
        frames = min(spec.env.max_frame, most * 500 * spec.agent.algorithm.horizon)
    log_frequency = min(spec.meta.log_frequency, max(frames // most, 1))
    return spec.model_copy(
        update={
            "env": spec.env.model_copy(update={"max_frame": frames}),
            "meta": spec.meta.model_copy(update={"log_frequency": log_frequency}),
        }
    )
