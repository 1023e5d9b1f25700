"""Which updates and rollouts can be compiled graphs: a question to the spec alone."""

from __future__ import annotations

from collections.abc import Iterable

from slm_lightning.spec.model import (
    AlgorithmParams,
    EnvParams,
    MemoryParams,
    MetaParams,
    NetParams,
    OptimSpec,
)

MOVES_MOMENTUM = ("CyclicLR", "OneCycleLR")
"""Learning-rate schedules that change the momentum as well, unless ``cycle_momentum`` is false."""

ASKING = ("Adafactor",)
"""Optimizers that go one way or another by the values of a step."""


def obstacle(
    algorithm: AlgorithmParams, memory: MemoryParams, nets: Iterable[NetParams], meta: MetaParams
) -> str:
    """Why updates are no graph; empty where they can be one."""
    if not algorithm.learns:
        return f"{algorithm.name} learns nothing that could be compiled"
    if memory.whole_episodes:
        return f"with {memory.name} every round has another size, and a graph has one"
    if meta.workers > 1:
        return "several workers (meta.distributed) talk to each other in the midst of an update"
    for net in nets:
        if why := _of_optimizer(net.optim_spec):
            return why
        if net.state_size:
            return f"{net.type} would be as many layers as its sequences have steps"
        schedule = net.lr_scheduler_spec
        moves = schedule and schedule.name in MOVES_MOMENTUM
        if schedule and moves and schedule.keywords.get("cycle_momentum", True):
            return f"{schedule.name} changes the momentum, a constant of the graph"
    return ""


def vector_step_is_graph(algorithm: AlgorithmParams, env: EnvParams) -> bool:
    """Whether a vector step can be one graph, where updates can be. Other libraries than our own leave
    PyTorch, as does drawing by ε; statistics of observations take in as many rows as episodes begin."""
    acts = algorithm.acts_on_tensors and algorithm.action_policy in ("default", "boltzmann")
    return acts and env.library == "torch" and not env.normalize_obs and env.clip_obs is None


def _of_optimizer(spec: OptimSpec) -> str:
    for key in ("fused", "foreach"):
        if spec.keywords.get(key):
            return f"{spec.name} with {key} is a graph of its own"
    return f"{spec.name} asks in each step what its numbers are" if spec.name in ASKING else ""
