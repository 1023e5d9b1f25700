"""What an SLM Lab spec used to get and now does not: where that lab's behaviour was a defect, ours is
the one its paper or author meant, and the user is told, one sentence for each difference."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from slm_lightning.spec.load import RawSpec
from slm_lightning.spec.model import ScheduleSpec, Spec, SpecModel

ONE_DIMENSIONAL = ("Pendulum", "InvertedPendulum", "InvertedDoublePendulum", "MountainCarContinuous")
"""Environments whose action is a single number, by the beginning of their ids."""


def notes(raw: RawSpec, spec: Spec) -> list[str]:
    """One sentence for each key of ``raw`` that nothing reads, and for each that SLM Lab ignored or
    misread; of the latter there are none for a spec written for this lab, resolved ones included."""
    rules = () if raw.native else RULES
    return [*_unread(raw.data, spec), *(note for rule in rules for note in rule(spec))]


def _unread(raw: dict[str, Any], spec: Spec) -> Iterator[str]:
    agent = raw["agent"]
    sections: list[tuple[str, dict[str, Any], SpecModel]] = [
        ("agent.algorithm", agent["algorithm"], spec.agent.algorithm),
        ("agent.memory", agent["memory"], spec.agent.memory),
        ("agent.net", agent["net"], spec.agent.net),
        ("env", raw["env"], spec.env),
        ("meta", raw["meta"], spec.meta),
    ]
    for path, given, section in sections:
        for key, reason in section.unread.items():
            if given.get(key) not in (None, False):
                yield f"{path}.{key} is not read: {reason}"


def _max_t(spec: Spec) -> Iterator[str]:
    if spec.env.max_t is not None:
        yield f"env.max_t: episodes now end after {spec.env.max_t} steps; SLM Lab did not read it"


def _head_init(spec: Spec) -> Iterator[str]:
    for key in ("actor_init_std", "critic_init_std"):
        gain = getattr(spec.agent.net, key)
        if gain is not None:
            yield (
                f"agent.net.{key}: the output layer is now initialised with gain {gain};"
                " SLM Lab kept the hidden layers' gain"
            )


def _log_std(spec: Spec) -> Iterator[str]:
    net = spec.agent.net
    if net.log_std_init is not None and (net.shared or spec.env.name.startswith(ONE_DIMENSIONAL)):
        where = "on a shared net" if net.shared else "for an action of one dimension"
        yield f"agent.net.log_std_init: now used; SLM Lab did not read it {where}"


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
        return f"now reaches 0 at frame {schedule.end_step}; SLM Lab took an end_val of 0 for none"
    if schedule.name == "linear_decay" and end > start:
        return f"now rises to {end} step by step; SLM Lab jumped there at once and went on beyond it"
    if schedule.name == "periodic_decay":
        return f"now swings down to {end}; SLM Lab's formula gave {end} nearly all the time"
    return ""


def _ppo_batches(spec: Spec) -> Iterator[str]:
    if spec.agent.algorithm.name != "PPO":
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
                f" SLM Lab rounded it up to {rounded}, a multiple of env.num_envs"
            )


def _ppo_entropy(spec: Spec) -> Iterator[str]:
    ppo = dict(spec.agent.algorithm)
    if ppo["name"] == "PPO" and ppo["entropy_coef_spec"] is None:
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


RULES = (
    _max_t,
    _head_init,
    _log_std,
    _schedules,
    _ppo_batches,
    _ppo_entropy,
    _n_step_episodes,
)
"""Each finds one kind of difference."""
