"""What an SLM Lab spec used to get and now does not: where that lab's behaviour was a defect, ours is
the one its paper or author meant, and the user is told, one sentence for each difference.

The numbers (Q1, Q2, …) are those of docs/spec.md, "Coming from SLM Lab".
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from slm_lightning.spec.families import atari_id
from slm_lightning.spec.load import RawSpec
from slm_lightning.spec.model import ScheduleSpec, Spec, SpecModel
from slm_lightning.spec.search import unread
from slm_lightning.spec.slm_lab import as_meant
from slm_lightning.spec.space import one_line
from slm_lightning.spec.wording import dotted, shown

ONE_DIMENSIONAL = ("Pendulum", "InvertedPendulum", "InvertedDoublePendulum", "MountainCarContinuous")
"""Environments whose action is a single number, by the beginning of their ids."""
WITHOUT_LIVES = frozenset(
    (
        *("Bowling", "Boxing", "Carnival", "DoubleDunk", "Enduro", "FishingDerby", "Freeway"),
        *("IceHockey", "JourneyEscape", "Pong", "PrivateEye", "Skiing", "Tennis"),
    )
)
"""Atari games that have none to lose."""
WITH_TARGET = frozenset({"DQN", "DoubleDQN", "SoftActorCritic"})
"""Algorithms of SLM Lab that have target nets."""


def notes(raw: RawSpec, spec: Spec) -> list[str]:
    """One sentence for each key of ``raw`` that nothing reads, and for each that SLM Lab ignored or
    misread; of the latter there are none for a spec written for this lab, resolved ones included."""
    if raw.native:
        return [*_unread(raw.data, spec), *_overruled(spec)]
    data, readings = as_meant(raw.data)
    twice = (f"{path} stands there twice; the last one counts" for path in raw.repeated)
    said = [*twice, *readings, *_unread(data, spec), *(note for rule in RULES for note in rule(spec))]
    if spec.env.max_frame > float(data["env"]["max_frame"]):
        said.append(f"env.max_frame: raised to {spec.env.max_frame} frames, which one round takes")
    return said


def _unread(given: dict[str, Any], section: SpecModel, path: str = "") -> Iterator[str]:
    """What the section ``given`` at ``path`` says and ``section``, read from it, does not hold."""
    own = type(section).model_fields.keys() | (section.model_extra or {}).keys()
    whose = path or "a spec"
    if path.startswith("agent.") and path.count(".") == 1:
        whose = getattr(section, "type", "") or getattr(section, "name", "")
    for key, value in given.items():
        where, inner = dotted(path, key), getattr(section, key, None) if key in own else None
        reason = section.unread.get(key) or ("" if key in own else f"{whose} has no such key")
        if reason and value is not None and value is not False:
            yield f"{where} is not read: {reason}"
        elif isinstance(inner, SpecModel) and isinstance(value, dict):
            yield from _unread(value, inner, where)


def _max_t(spec: Spec) -> Iterator[str]:
    if spec.env.max_t is not None:
        yield f"env.max_t: episodes now end after {spec.env.max_t} steps; SLM Lab did not read it (Q2)"


def _old_atari_id(spec: Spec) -> Iterator[str]:
    today = atari_id(spec.env.name) if spec.env.library == "atari" else None
    if today and today != spec.env.name:
        yield (
            f"env.name: {spec.env.name} is played as {today} is, in four grey images of 84 × 84;"
            " SLM Lab showed the agent its whole screen"
        )


def _head_init(spec: Spec) -> Iterator[str]:
    for key in ("actor_init_std", "critic_init_std"):
        gain = getattr(spec.agent.net, key)
        if gain is not None:
            yield (
                f"agent.net.{key}: the output layer is now initialised with gain {gain};"
                " SLM Lab kept the hidden layers' gain (Q11)"
            )


def _log_std(spec: Spec) -> Iterator[str]:
    net = spec.agent.net
    if net.log_std_init is not None and (net.shared or spec.env.name.startswith(ONE_DIMENSIONAL)):
        where = "on a shared net" if net.shared else "for an action of one dimension"
        yield f"agent.net.log_std_init: now used; SLM Lab did not read it {where} (Q13)"


def _conv_batch_norm(spec: Spec) -> Iterator[str]:
    net = spec.agent.net
    if net.type == "ConvNet" and "batch_norm" not in net.model_fields_set:
        yield "agent.net.batch_norm: left out, it is now false; SLM Lab took that for true"


def _schedules(spec: Spec) -> Iterator[str]:
    for key, schedule in spec.agent.algorithm:
        if isinstance(schedule, ScheduleSpec):
            change = _change(schedule)
            if change:
                yield f"agent.algorithm.{key}: {change}"


def _change(schedule: ScheduleSpec) -> str:
    """How a schedule differs from SLM Lab's; empty where it does not."""
    start, end = schedule.start_val, schedule.end_val
    if end is None or end == start:
        return ""
    if schedule.name == "no_decay":
        return "" if end == 0 else f"stays {start}; SLM Lab took end_val, {end}, after the first step"
    if end == 0:
        return f"now reaches 0 at frame {schedule.end_step}; SLM Lab took 0 for no end_val (Q19)"
    if schedule.name == "linear_decay" and end > start:
        return f"now rises to {end} step by step; SLM Lab jumped there at once and went on beyond it"
    if schedule.name == "periodic_decay":
        return f"now swings down to {end}; SLM Lab's formula gave {end} nearly all the time"
    return ""


def _ppo_batches(spec: Spec) -> Iterator[str]:
    if spec.agent.algorithm.name not in ("PPO", "PPOSIL") or spec.agent.memory.whole_episodes:
        return
    ppo, n = dict(spec.agent.algorithm), spec.env.num_envs
    horizon, minibatch = ppo["time_horizon"], ppo["minibatch_size"]
    if horizon % n == 0 and minibatch % n == 0:
        return
    for key, value in (("time_horizon", horizon), ("minibatch_size", min(minibatch, horizon * n))):
        rounded = math.ceil(value / n) * n
        if rounded != value:
            yield (
                f"agent.algorithm.{key} stays {value};"
                f" SLM Lab rounded it up to {rounded}, a multiple of env.num_envs (Q20)"
            )


def _ppo_entropy(spec: Spec) -> Iterator[str]:
    ppo = dict(spec.agent.algorithm)
    if ppo["name"] in ("PPO", "PPOSIL") and ppo["entropy_coef_spec"] is None:
        yield (
            "agent.algorithm.entropy_coef_spec: without one there is no entropy bonus;"
            " SLM Lab's PPO did not learn at all"
        )


def _n_step_episodes(spec: Spec) -> Iterator[str]:
    algorithm = dict(spec.agent.algorithm)
    n = algorithm.get("num_step_returns") if algorithm.get("lam") is None else None
    if n is not None and spec.agent.memory.whole_episodes:
        yield (
            f"agent.algorithm.num_step_returns: with OnPolicyReplay it counts episodes, {n} for each"
            f" update, with their full returns; SLM Lab left all but the first {n} returns 0"
        )


def _overruled(spec: Spec) -> Iterator[str]:
    """Keys that make no difference beside another."""
    algorithm = spec.agent.algorithm
    keys = dict(algorithm)
    if keys.get("lam") is not None and keys.get("num_step_returns") is not None:
        yield (
            "agent.algorithm.num_step_returns is not read: agent.algorithm.lam asks for GAE; without it"
            " returns are of n steps"
        )
    if algorithm.name == "TD3":
        for key in ("action_pdtype", "action_policy", "explore_var_spec"):
            if keys[key] != type(algorithm).model_fields[key].default:
                yield f"agent.algorithm.{key} is not read: TD3 explores by explore_noise"


def _recurrent(spec: Spec) -> Iterator[str]:
    if spec.agent.net.state_size:
        yield (
            f"agent.net.type: {spec.agent.net.type} now remembers the whole episode;"
            " SLM Lab's saw the latest observation seq_len times, and nothing before it (Q12)"
        )


def _replay(spec: Spec) -> Iterator[str]:
    memory, env = spec.agent.memory, spec.env
    if not memory.replay or not spec.agent.algorithm.learns:
        return
    if env.num_envs == 1:
        yield (
            "env.num_envs: where an episode is cut off, its own next observation is stored; with one"
            " environment SLM Lab stored the first of the next episode (Q4)"
        )
    if env.library != "atari":
        yield "agent.memory: observations are kept as they are; SLM Lab rounded them to 16 bits (Q8)"
    if memory.name == "PrioritizedReplay":
        yield (
            "agent.memory.name: samples carry importance weights, with beta from"
            f" {dict(memory)['beta']} to 1; SLM Lab gave all the same weight (Q10)"
        )


def _atari(spec: Spec) -> Iterator[str]:
    game = atari_id(spec.env.name) if spec.env.library == "atari" else None
    if game and spec.env.num_envs == 1:
        yield (
            "env.num_envs: a single game is made like many, its rewards clipped; SLM Lab did not clip"
            " those of one (Q6)"
        )
    elif game and game.removeprefix("ALE/").partition("-")[0] in WITHOUT_LIVES:
        yield "env.name: a score is that of one game; SLM Lab added up games without lives (Q5)"


def _reward_scale(spec: Spec) -> Iterator[str]:
    if spec.env.reward_scale != 1 and spec.env.library != "playground":
        yield "env.reward_scale: now read; SLM Lab did so for playground/ only"


def _polyak(spec: Spec) -> Iterator[str]:
    net = spec.agent.net
    if spec.agent.algorithm.name not in WITH_TARGET or net.update_type != "polyak":
        return
    if net.tau != net.polyak_coef:
        then = "nearly copied the online net" if net.polyak_coef else "never moved the target net"
        yield (
            f"agent.net.polyak_coef: {net.polyak_coef:g} is read as older specs meant it, as what stays"
            f" of the target net; SLM Lab {then} (Q15)"
        )


def _exploration(spec: Spec) -> Iterator[str]:
    algorithm = spec.agent.algorithm
    policy = algorithm.action_policy
    if policy == "epsilon_greedy" and spec.env.num_envs > 1:
        yield (
            "agent.algorithm.action_policy: each environment explores by itself; SLM Lab drew once for"
            f" all {spec.env.num_envs} (Q18)"
        )
    if policy == "epsilon_greedy" and "boltzmann" in spec.name:
        yield "agent.algorithm.action_policy: is epsilon_greedy, whatever the spec's name says (Q29)"
    if policy == "boltzmann" and algorithm.action_pdtype == "Argmax":
        yield "agent.algorithm.action_policy: draws by temperature; SLM Lab took the best action (Q29)"


def _algorithm(spec: Spec) -> Iterator[str]:
    name, workers = spec.agent.algorithm.name, spec.meta.distributed
    if name == "DQN":
        yield "agent.algorithm.name: DQN is now Mnih's; SLM Lab's was the same as DoubleDQN (Q22)"
    if name in ("SIL", "PPOSIL"):
        yield (
            "agent.algorithm.name: imitates returns of whole episodes; SLM Lab added up the rewards of"
            " whatever stood next to each other in a sample (Q21)"
        )
        if "training_iter" not in spec.agent.algorithm.model_fields_set:
            count = dict(spec.agent.algorithm)["training_iter"]
            yield f"agent.algorithm.training_iter: left out, it is {count}; SLM Lab then failed"
    if workers:
        yield (
            f"meta.distributed: workers take each step together, by their mean gradient; SLM Lab's took"
            f" turns at random, and {shown('synced')} ones never cleared their gradients (Q23)"
        )


def _workers(spec: Spec) -> Iterator[str]:
    scheduled = [value for _, value in spec.agent.algorithm if isinstance(value, ScheduleSpec)]
    if spec.meta.workers > 1 and any(value.name != "no_decay" for value in scheduled):
        yield (
            "meta.distributed: schedules count the frames of all workers, as env.max_frame does; in SLM"
            " Lab each counted its own"
        )


def _search(spec: Spec) -> Iterator[str]:
    for dimension in unread(spec):
        yield f"search.{one_line(dimension.key)}: nothing reads {dimension.path}, so it is not drawn"


RULES = (
    _search,
    _overruled,
    _algorithm,
    _workers,
    _exploration,
    _max_t,
    _old_atari_id,
    _atari,
    _reward_scale,
    _replay,
    _polyak,
    _recurrent,
    _head_init,
    _log_std,
    _conv_batch_norm,
    _schedules,
    _ppo_batches,
    _ppo_entropy,
    _n_step_episodes,
)
"""Each finds one kind of difference."""
