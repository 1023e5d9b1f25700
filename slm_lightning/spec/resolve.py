"""From a spec as written to a spec that can run: typed, complete, and with everything that is wrong
in it said at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slm_lightning.errors import SpecError
from slm_lightning.spec.checks import Parts, check
from slm_lightning.spec.load import RawSpec, load_spec
from slm_lightning.spec.model import AgentSpec, EnvParams, MetaParams, Spec
from slm_lightning.spec.parse import plain_problems
from slm_lightning.spec.registry import (
    SLM_LAB_ALGORITHMS,
    SLM_LAB_MEMORIES,
    SLM_LAB_NETS,
    Registry,
)
from slm_lightning.spec.sections import Sections


def resolve(raw: RawSpec, registry: Registry) -> Spec:
    """The spec with every default filled in. Raises SpecError with all problems, each by its path."""
    problems = plain_problems(raw.data)
    if problems:
        raise SpecError(problems)
    sections = Sections(raw.data, {"": Spec, "agent": AgentSpec, "env": EnvParams, "meta": MetaParams})
    algorithms = {name: kind.Params for name, kind in registry.algorithms.items()}
    nets = {name: kind.Params for name, kind in registry.nets.items()}
    of_algorithm = sections.component("agent.algorithm", "name", algorithms, SLM_LAB_ALGORITHMS)
    of_memory = sections.component("agent.memory", "name", registry.memories, SLM_LAB_MEMORIES)
    of_net = sections.component("agent.net", "type", nets, SLM_LAB_NETS)
    sections.container("", Spec)
    sections.container("agent", AgentSpec)
    label = sections.text("agent.name")
    parts = Parts(
        registry,
        algorithm=sections.read("agent.algorithm", of_algorithm),
        memory=sections.read("agent.memory", of_memory),
        net=sections.read("agent.net", of_net),
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
    }
    return Spec.model_validate(
        {"name": raw.name, "agent": agent, "env": parts.env, "meta": parts.meta, "search": parts.search}
    )


def resolve_dict(data: Mapping[str, Any], registry: Registry) -> Spec:
    """The spec that :meth:`Spec.to_dict` gave as ``data``. Raises SpecError."""
    return resolve(load_spec(data), registry)
