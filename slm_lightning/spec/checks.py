"""What no single key can tell: keys that contradict each other, names of other libraries, sizes that
no machine holds. Each check looks at the sections that are well-typed and says what is wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from slm_lightning.errors import Problem
from slm_lightning.spec.model import (
    AlgorithmParams,
    EnvParams,
    MemoryParams,
    MetaParams,
    NetParams,
    ScheduleSpec,
)
from slm_lightning.spec.registry import Registry
from slm_lightning.spec.torch_names import check_net
from slm_lightning.spec.wording import dotted, listed, name_of, short, shown, unknown

GIB = 2**30
MAX_GIB = 64
"""A spec that needs more memory than this is refused before anything is allocated."""
BYTES_PER_FRAME = 20
"""Of a rollout, where an observation is a single number."""
BYTES_PER_WEIGHT = 16
"""A weight, its gradient and two moments of Adam, in single precision."""
BYTES_PER_ENV = {"sync": 100 * 2**10, "async": 20 * 2**20}
"""About what one Gymnasium environment needs, in this process or in one of its own."""

SEARCHABLE = (
    "choice",
    "uniform",
    "quniform",
    "loguniform",
    "qloguniform",
    "randint",
    "qrandint",
    "lograndint",
    "qlograndint",
)
"""Distributions that ``<key>__<distribution>`` in ``search`` may name."""


@dataclass
class Parts:
    """The sections of a spec; None where a section has a problem of its own."""

    registry: Registry
    algorithm: AlgorithmParams | None
    memory: MemoryParams | None
    net: NetParams | None
    env: EnvParams | None
    meta: MetaParams | None
    search: dict[str, Any] | None


def check(parts: Parts) -> list[Problem]:
    """Every problem that :data:`CHECKS` find."""
    return [problem for rule in CHECKS for problem in rule(parts)]


def _schedules(parts: Parts) -> Iterator[Problem]:
    for key, schedule in parts.algorithm or ():
        if not isinstance(schedule, ScheduleSpec) or schedule.name == "no_decay":
            continue
        changes = schedule.end_val not in (None, schedule.start_val)
        if changes and schedule.end_step <= schedule.start_step:
            yield Problem(
                f"agent.algorithm.{key}.end_step",
                f"{schedule.name} ends after it begins: expected more than start_step,"
                f" {schedule.start_step}, not {schedule.end_step}",
            )


def _exploration(parts: Parts) -> Iterator[Problem]:
    algorithm = parts.algorithm
    needs_schedule = algorithm and algorithm.action_policy in ("epsilon_greedy", "boltzmann")
    if algorithm and needs_schedule and algorithm.explore_var_spec is None:
        yield Problem(
            "agent.algorithm.explore_var_spec",
            f'missing; action_policy "{algorithm.action_policy}" needs the schedule of its variable',
        )
    schedule = algorithm.explore_var_spec if algorithm else None
    if algorithm and schedule and algorithm.action_policy == "boltzmann":
        for key in ("start_val", "end_val"):
            temperature = getattr(schedule, key)
            if temperature is not None and temperature <= 0:
                yield Problem(
                    f"agent.algorithm.explore_var_spec.{key}",
                    f"expected a temperature above 0, not {shown(temperature)}",
                )


def _batch_norm(parts: Parts) -> Iterator[Problem]:
    if not parts.algorithm or not getattr(parts.net, "batch_norm", False):
        return
    if parts.registry.algorithms[parts.algorithm.name].on_policy:
        yield Problem(
            "agent.net.batch_norm",
            f"makes the policy that learns another than the one that acts, which"
            f" {parts.algorithm.name} (agent.algorithm.name) cannot bear; use layer_norm",
        )


def _memory(parts: Parts) -> Iterator[Problem]:
    if not parts.memory:
        return
    name = parts.memory.name
    if parts.algorithm:
        learner = parts.algorithm.name
        allowed = parts.registry.algorithms[learner].memories
        if name not in allowed:
            yield Problem(
                "agent.memory.name",
                f"{learner} (agent.algorithm.name) cannot learn from {name}; choose {listed(allowed)}",
            )
    if parts.env and parts.env.num_envs > 1 and parts.memory.whole_episodes:
        yield Problem(
            "env.num_envs",
            f"{name} (agent.memory.name) collects whole episodes of one environment: expected 1,"
            f" not {parts.env.num_envs}; OnPolicyBatchReplay collects from several",
        )


def _env(parts: Parts) -> Iterator[Problem]:
    env = parts.env
    if not env:
        return
    for key, instead in TAKEN.items():
        if key in (env.model_extra or {}):
            yield Problem(f"env.{key}", f"is the lab's to give; {instead}")
    if env.backend is not None and env.backend not in parts.registry.backends:
        yield Problem("env.backend", unknown("backend", env.backend, parts.registry.backends))
    if env.entry_point is not None:
        module, _, name = env.entry_point.partition(":")
        if not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
            message = f"expected module:Class, not {shown(env.entry_point)}"
            yield Problem("env.entry_point", message)
    if isinstance(env.clip_reward, tuple) and env.clip_reward[0] >= env.clip_reward[1]:
        yield Problem("env.clip_reward", f"expected [low, high], not {shown(env.clip_reward)}")


def _distributed(parts: Parts) -> Iterator[Problem]:
    if parts.meta and parts.meta.distributed:
        yield Problem(
            "meta.distributed",
            f'"{parts.meta.distributed}" is not available in this version; write false',
        )


def _net(parts: Parts) -> Iterator[Problem]:
    net = parts.net
    if not net:
        return
    yield from check_net(net)
    if not (net.init_fn or "").startswith(("orthogonal", "xavier")):
        for key in ("init_std", "actor_init_std", "critic_init_std"):
            if getattr(net, key) is not None:
                message = f"needs init_fn orthogonal_ or xavier_*, not {shown(net.init_fn)}"
                yield Problem(f"agent.net.{key}", message)


def _sizes(parts: Parts) -> Iterator[Problem]:
    algorithm, net, env = parts.algorithm, parts.net, parts.env
    widths = getattr(net, "hid_layers", None) or []
    weights = sum(a * b for a, b in pairwise(widths)) + sum(widths)
    yield from _too_large(
        "agent.net.hid_layers", f"{short(weights)} weights", weights * BYTES_PER_WEIGHT
    )
    if env and env.backend in (None, "gymnasium"):
        size = BYTES_PER_ENV[env.vectorization_mode or "sync"]
        yield from _too_large(
            "env.num_envs", f"{short(env.num_envs)} environments", env.num_envs * size
        )
    horizon = getattr(algorithm, "horizon", None)
    if env and horizon:
        what = f"a rollout of {short(horizon)} steps in {env.num_envs} environments (env.num_envs)"
        yield from _too_large("agent.algorithm", what, horizon * env.num_envs * BYTES_PER_FRAME)


def _too_large(path: str, what: str, size: int) -> Iterator[Problem]:
    if size > MAX_GIB * GIB:
        need = short(math.ceil(size / GIB))
        yield Problem(path, f"{what} would need about {need} GiB of memory; the limit is {MAX_GIB}")


def _search(parts: Parts) -> Iterator[Problem]:
    return _search_section("search", parts.search or {})


def _search_section(path: str, section: Mapping[str, Any]) -> Iterator[Problem]:
    for key, value in section.items():
        where = dotted(path, key)
        name, _, distribution = key.rpartition("__")
        if not name and isinstance(value, dict):
            yield from _search_section(where, value)
        elif not name:
            yield Problem(where, 'say how it is drawn: write the key as "<path>__<distribution>"')
        elif distribution == "grid_search":
            yield Problem(where, f'there is no grid search; write "{name_of(name)}__choice"')
        elif distribution not in SEARCHABLE:
            yield Problem(where, unknown("distribution", distribution, SEARCHABLE))
        elif not isinstance(value, list) or not value:
            yield Problem(where, f"expected the list of its arguments, not {shown(value)}")


TAKEN = {
    "max_episode_steps": "write max_t to limit episodes",
    "render_mode": "run --mode dev and enjoy show the environment",
}
"""Arguments of environments that a spec does not give, and what to do instead."""

CHECKS = (_schedules, _exploration, _batch_norm, _memory, _env, _distributed, _net, _sizes, _search)
