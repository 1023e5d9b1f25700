"""What no single key can tell: keys that contradict each other, names of other libraries, sizes that
no machine holds. Each check looks at the sections that are well-typed and says what is wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from slm_lightning.errors import Problem
from slm_lightning.spec.compilable import obstacle
from slm_lightning.spec.families import gone, successor
from slm_lightning.spec.model import (
    AlgorithmParams,
    EnvParams,
    MemoryParams,
    MetaParams,
    NetParams,
    ScheduleSpec,
)
from slm_lightning.spec.registry import Registry
from slm_lightning.spec.search_params import Chosen
from slm_lightning.spec.sections import Sections
from slm_lightning.spec.space import space_problems
from slm_lightning.spec.torch_names import check_net
from slm_lightning.spec.wording import listed, short, shown, unknown

GIB = 2**30
MAX_GIB = 64
"""A spec that needs more memory than this is refused before anything is allocated."""
BYTES_PER_FRAME = 20
"""Of a rollout, where an observation is a single number."""
BYTES_PER_MINIBATCH = 2000
"""The tensors of one, beside what they hold."""
BYTES_PER_WEIGHT = 16
"""A weight, its gradient and two moments of Adam, in single precision."""
BYTES_PER_ENV = {"sync": 100 * 2**10, "async": 20 * 2**20, "atari": 2 * 2**20}
"""About what one Gymnasium environment needs, in this process or in one of its own, and one game."""


@dataclass
class Parts:
    """The sections of a spec; None where a section has a problem of its own."""

    registry: Registry
    algorithm: AlgorithmParams | None
    memory: MemoryParams | None
    net: NetParams | None
    critic_net: NetParams | None
    env: EnvParams | None
    meta: MetaParams | None
    search: dict[str, Any] | None

    @property
    def nets(self) -> Iterator[tuple[str, NetParams]]:
        """The net sections by their paths."""
        for key in ("net", "critic_net"):
            net = getattr(self, key)
            if net is not None:
                yield f"agent.{key}", net


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


def _entropy_anneal(parts: Parts) -> Iterator[Problem]:
    keys = dict(parts.algorithm or ())
    anneal = keys.get("entropy_anneal")
    if not anneal or keys["target_entropy"] != "auto" or keys["fixed_alpha"] is not None:
        return
    if anneal.end_ratio not in (None, anneal.start_ratio) and not anneal.frames:
        yield Problem(
            "agent.algorithm.entropy_anneal.frames",
            f"expected more than 0 from start_ratio, {anneal.start_ratio}, to end_ratio",
        )


def _exploration(parts: Parts) -> Iterator[Problem]:
    algorithm = parts.algorithm
    needs_schedule = algorithm and algorithm.action_policy in ("epsilon_greedy", "boltzmann")
    if algorithm and needs_schedule and algorithm.explore_var_spec is None:
        yield Problem(
            "agent.algorithm.explore_var_spec",
            f'missing; action_policy "{algorithm.action_policy}" needs the schedule of its variable',
        )
    if algorithm and algorithm.action_pdtype == "LogNormal" and algorithm.action_policy in UNIFORM:
        yield Problem(
            "agent.algorithm.action_policy",
            f'"{algorithm.action_policy}" takes negative actions too, which LogNormal'
            " (agent.algorithm.action_pdtype) never does; choose default",
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
    algorithm = parts.algorithm
    if not algorithm or not algorithm.learns:
        return
    on_policy = parts.registry.algorithms[algorithm.name].on_policy
    rows = dict(parts.memory or ()).get("batch_size")
    for path, net in parts.nets:
        where = f"{path}.{net.batch_statistics}"
        if net.batch_statistics and on_policy:
            yield Problem(
                where,
                f"makes the policy that learns another than the one that acts, which"
                f" {algorithm.name} (agent.algorithm.name) cannot bear; use layer normalisation",
            )
        elif net.batch_statistics and rows == 1:
            message = f"expected at least 2, not 1, because {where} normalises by the batch"
            yield Problem("agent.memory.batch_size", message)


def _dropout(parts: Parts) -> Iterator[Problem]:
    algorithm = parts.algorithm
    if not algorithm or not algorithm.learns:
        return
    if not parts.registry.algorithms[algorithm.name].on_policy:
        return
    for path, net in parts.nets:
        if net.dropout:
            yield Problem(
                f"{path}.{net.dropout}",
                f"makes the policy that learns another than the one that acts, so"
                f" {algorithm.name} (agent.algorithm.name) never uses it",
            )


def _recurrent(parts: Parts) -> Iterator[Problem]:
    able = {name for name, cls in parts.registry.algorithms.items() if cls.recurrent}
    algorithm, n = parts.algorithm, dict(parts.memory or ()).get("num_step_returns", 1)
    for path, net in parts.nets:
        if net.state_size and algorithm and algorithm.name not in able:
            yield Problem(
                f"{path}.type",
                f"{algorithm.name} (agent.algorithm.name) does not learn from sequences, as"
                f" {net.type} needs; {listed(able)} do",
            )
        elif net.state_size and n > 1:
            yield Problem("agent.memory.num_step_returns", f"expected 1 with {net.type} ({path}.type)")


def _memory(parts: Parts) -> Iterator[Problem]:
    if not parts.memory:
        return
    name, keys = parts.memory.name, dict(parts.memory)
    if parts.memory.replay and keys["batch_size"] > keys["max_size"]:
        yield Problem(
            "agent.memory.batch_size",
            f"expected at most max_size, {keys['max_size']}, not {keys['batch_size']}",
        )
    learns = parts.algorithm is None or parts.algorithm.learns
    if parts.env and parts.env.num_envs > 1 and parts.memory.whole_episodes and learns:
        yield Problem(
            "env.num_envs",
            f"{name} (agent.memory.name) collects whole episodes of one environment: expected 1,"
            f" not {parts.env.num_envs}; OnPolicyBatchReplay collects from several",
        )


def _distributed(parts: Parts) -> Iterator[Problem]:
    if not (parts.meta and parts.memory and parts.algorithm):
        return
    minibatches = "minibatch_size" in dict(parts.algorithm)
    if parts.meta.workers > 1 and parts.memory.whole_episodes and minibatches:
        yield Problem(
            "agent.memory.name",
            f"with {parts.memory.name} the workers (meta.distributed) have rounds of different lengths,"
            " which are different numbers of minibatches; choose OnPolicyBatchReplay",
        )


def _compile(parts: Parts) -> Iterator[Problem]:
    if not (parts.meta and parts.memory and parts.algorithm) or parts.meta.compile is not True:
        return
    why = obstacle(parts.algorithm, parts.memory, [net for _, net in parts.nets], parts.meta)
    if why:
        yield Problem("meta.compile", f"{why}; write auto or false")


def _env(parts: Parts) -> Iterator[Problem]:
    env = parts.env
    if not env:
        return
    if (why := gone(env.name)) and env.entry_point is None:
        yield Problem("env.name", f"{env.name} no longer exists: {why}; MuJoCo has the like")
    if (newer := successor(env.name)) and env.entry_point is None:
        yield Problem("env.name", f"{env.name} is gone; write {newer}")
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


def _nets(parts: Parts) -> Iterator[Problem]:
    for path, net in parts.nets:
        yield from check_net(net, path)
        yield from net.problems(path)
        if not (net.init_fn or "").startswith(("orthogonal", "xavier")):
            for key in ("init_std", "actor_init_std", "critic_init_std"):
                if getattr(net, key) is not None:
                    message = f"needs init_fn orthogonal_ or xavier_*, not {shown(net.init_fn)}"
                    yield Problem(f"{path}.{key}", message)


def _critic_net(parts: Parts) -> Iterator[Problem]:
    algorithm = parts.algorithm
    if not algorithm or not parts.critic_net:
        return
    if not parts.registry.algorithms[algorithm.name].has_critics:
        message = f"{algorithm.name} (agent.algorithm.name) builds all it needs from agent.net"
        yield Problem("agent.critic_net", message)


def _sizes(parts: Parts) -> Iterator[Problem]:
    algorithm, env = parts.algorithm, parts.env
    workers = parts.meta.workers if parts.meta else 1
    for path, net in parts.nets:
        for key in ("hid_layers", "fc_hid_layers"):
            widths = getattr(net, key, None) or []
            weights = sum(a * b for a, b in pairwise(widths)) + sum(widths)
            size = weights * BYTES_PER_WEIGHT
            yield from too_large(f"{path}.{key}", f"{short(weights)} weights", size)
    if env:
        kind = (env.vectorization_mode or "sync") if env.library == "gymnasium" else env.library
        size = BYTES_PER_ENV.get(kind, 0)
        count = env.num_envs * workers
        yield from too_large("env.num_envs", f"{short(count)} environments", count * size)
    size = dict(parts.memory or ()).get("max_size", 0) * workers
    if size:
        each = BYTES_PER_FRAME + 4 * (parts.net.state_size if parts.net else 0)
        yield from too_large("agent.memory.max_size", f"{short(size)} transitions", size * each)
    if env and algorithm and parts.memory and parts.memory.replay:
        count, rows = algorithm.updates(env.num_envs), dict(parts.memory)["batch_size"]
        what = f"{short(count)} minibatches, which are drawn at once,"
        size = count * (BYTES_PER_MINIBATCH + rows * BYTES_PER_FRAME)
        yield from too_large("agent.algorithm.training_iter", what, size)
    if env and algorithm and parts.memory and not parts.memory.replay:
        horizon = algorithm.horizon
        what = f"a rollout of {short(horizon)} steps in {env.num_envs} environments (env.num_envs)"
        yield from too_large("agent.algorithm", what, horizon * env.num_envs * BYTES_PER_FRAME)


def too_large(path: str, what: str, size: int) -> Iterator[Problem]:
    """The problem with ``what`` where it needs ``size`` bytes and no machine has them."""
    if size > MAX_GIB * GIB:
        need = short(math.ceil(size / GIB))
        yield Problem(path, f"{what} would need about {need} GiB of memory; the limit is {MAX_GIB}")


def _search(parts: Parts) -> Iterator[Problem]:
    yield from space_problems(parts.search or {})
    if parts.meta:
        yield from _chosen("sampler", parts.meta.search.sampler)
        yield from _chosen("pruner", parts.meta.search.pruner)


def _chosen(key: str, chosen: Chosen | None) -> Iterator[Problem]:
    """What is wrong with the name and the keywords of ``meta.search.sampler`` or ``pruner``."""
    path = f"meta.search.{key}"
    if chosen and chosen.name not in chosen.kinds:
        yield Problem(path, unknown(key, chosen.name, chosen.kinds))
    elif chosen:
        section = Sections({"meta": {"search": {key: chosen.model_dump()}}}, {}, strict=True)
        section.read(path, chosen.kinds[chosen.name])
        yield from section.problems


UNIFORM = ("random", "epsilon_greedy")
"""Ways of acting that draw from all actions alike."""

TAKEN = {
    "max_episode_steps": "write max_t to limit episodes",
    "render_mode": "run --mode dev and enjoy show the environment",
}
"""Arguments of environments that a spec does not give, and what to do instead."""

CHECKS = (
    *(_schedules, _entropy_anneal, _exploration, _batch_norm, _dropout, _recurrent, _memory),
    *(_env, _distributed, _compile, _nets, _critic_net, _sizes),
    _search,
)
