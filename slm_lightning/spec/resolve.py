"""From a spec as written to a spec that can run: typed, complete, and with everything that is wrong
in it said at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slm_lightning.errors import SpecError
from slm_lightning.spec.checks import Parts, check
from slm_lightning.spec.load import RawSpec, load_spec
from slm_lightning.spec.model import AgentSpec, EnvParams, MetaParams, NetParams, NoNet, Spec
from slm_lightning.spec.parse import plain_problems
from slm_lightning.spec.registry import Registry
from slm_lightning.spec.sections import Sections
from slm_lightning.spec.slm_lab import GONE, as_meant
from slm_lightning.spec.wording import listed


def resolve(raw: RawSpec, registry: Registry) -> Spec:
    """The spec with every default filled in. Raises SpecError with all problems, each by its path."""
    problems = plain_problems(raw.data)
    if problems:
        raise SpecError(problems)
    data = raw.data if raw.native else as_meant(raw.data)[0]
    sections = Sections(
        data, {"": Spec, "agent": AgentSpec, "env": EnvParams, "meta": MetaParams}, strict=raw.native
    )
    algorithms = {name: kind.Params for name, kind in registry.algorithms.items()}
    nets = {name: kind.Params for name, kind in registry.nets.items()}
    of_algorithm = sections.component("agent.algorithm", "name", algorithms, GONE)
    imitates = of_algorithm is not None and of_algorithm.imitates
    memories = registry.imitation_memories if imitates else registry.memories
    of_memory = sections.component("agent.memory", "name", memories, GONE)
    if of_algorithm and of_memory and not _fits(sections, registry):
        of_memory = None  # whose own keys are of no interest then
    no_net = of_algorithm is not None and not of_algorithm.learns
    if no_net and not (sections.get("agent.net") or {}).get("type"):
        of_net: type[NetParams] | None = NoNet
    else:
        of_net = sections.component("agent.net", "type", nets, GONE)
    of_critic = None
    if sections.get("agent.critic_net", required=False) is not None:
        of_critic = sections.component("agent.critic_net", "type", nets, GONE)
    sections.container("", Spec)
    sections.container("agent", AgentSpec)
    label = sections.text("agent.name")
    parts = Parts(
        registry,
        algorithm=sections.read("agent.algorithm", of_algorithm),
        memory=sections.read("agent.memory", of_memory),
        net=sections.read("agent.net", of_net),
        critic_net=sections.read("agent.critic_net", of_critic) if of_critic else None,
        env=sections.read("env", EnvParams),
        meta=sections.read("meta", MetaParams),
        search=sections.get("search", required=False),
    )
    problems = sections.problems + check(parts)
    if problems:
        raise SpecError(problems)
    agent = {
        "name": label,
        "algorithm": parts.algorithm,
        "memory": parts.memory,
        "net": parts.net,
        "critic_net": parts.critic_net,
    }
    return Spec.model_validate(
        {"name": raw.name, "agent": agent, "env": parts.env, "meta": parts.meta, "search": parts.search}
    )


def _fits(sections: Sections, registry: Registry) -> bool:
    """Whether the algorithm learns from the memory, both of which exist; else that is a problem."""
    learner = (sections.get("agent.algorithm") or {})["name"]
    memory = (sections.get("agent.memory") or {})["name"]
    allowed = registry.algorithms[learner].memories
    if memory not in allowed:
        sections.report(
            "agent.memory.name",
            f"{learner} (agent.algorithm.name) cannot learn from {memory}; choose {listed(allowed)}",
        )
    return memory in allowed


def resolve_dict(data: Mapping[str, Any], registry: Registry) -> Spec:
    """The spec that :meth:`Spec.to_dict` gave as ``data``. Raises SpecError."""
    return resolve(load_spec(data), registry)
