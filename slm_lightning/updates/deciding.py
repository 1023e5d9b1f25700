"""What is compiled: a question to the spec, and to the machine whether it can."""

from __future__ import annotations

from slm_lightning.data.rounds import rounds
from slm_lightning.errors import MissingError
from slm_lightning.spec.compilable import obstacle, vector_step_is_graph
from slm_lightning.spec.model import Spec
from slm_lightning.updates.machine import lacking

WORTHWHILE = 5000
"""Updates from which on ``auto`` compiles. A small net's is 0.8 ms shorter then, and compiling it takes
10 to 16 s of CPU the first time and 1 s ever after: it pays from about 15,000 updates on, and then from
1,500."""
WORTHWHILE_STEPS = 20_000
"""Vector steps from which on ``auto`` compiles those of our own environments. With few sub-environments
a step is 0.2 ms shorter then, and compiling it takes 13 s of CPU the first time and 2 s ever after: it
pays from about 60,000 steps on, and then from 10,000."""
FRAMES_FOR_A_STEP = 500
"""Frames that save as much again, as arithmetic is faster in a graph: 0.45 µs each."""


def compiles(spec: Spec) -> bool:
    """Whether the updates of a session are compiled: a function of the spec, and of whether the machine
    can. Raises MissingError where the spec asks for it and the machine cannot."""
    if _against(spec):
        return False
    lack = lacking()
    if lack and spec.meta.compile is True:
        raise MissingError(f"meta.compile: there is no {lack.what} on this machine", lack.ways)
    return not lack


def compiles_rollouts(spec: Spec) -> bool:
    """Whether the vector steps of a session are compiled, each as one graph, likewise."""
    return _wants_rollouts(spec) and not lacking()


def decision(spec: Spec) -> str:
    """The same in words, with the reason."""
    against, wants_steps = _against(spec), _wants_rollouts(spec)
    lack = lacking() if wants_steps or not against else None
    if why := f"there is no {lack.what}" if lack else against:
        return f"no, because {why}" + ("; each vector step is" if wants_steps and not lack else "")
    asked = "meta.compile is true" if spec.meta.compile is True else _amount(spec)
    return f"yes, because {asked}" + ("; each vector step too" if wants_steps else "")


def regrets(spec: Spec) -> list[str]:
    """What there is to say where something would be compiled, could the machine do it."""
    wanted = not _against(spec) or _wants_rollouts(spec)
    lack = lacking() if wanted else None
    slow = "nothing is compiled, which is slower"
    return [f"meta.compile: there is no {lack.what}, so {slow}; {lack.ways}"] if lack else []


def _against(spec: Spec) -> str:
    """Why the spec leaves updates uncompiled; empty where it wants them compiled."""
    if spec.meta.compile != "auto":
        return "" if spec.meta.compile else "meta.compile is false"
    few = f"{_amount(spec)}, and compiling pays from {WORTHWHILE} on"
    return _obstacle(spec) or ("" if updates(spec) >= WORTHWHILE else few)


def _wants_rollouts(spec: Spec) -> bool:
    """Whether the spec wants vector steps compiled."""
    if _obstacle(spec) or not vector_step_is_graph(spec.agent.algorithm, spec.env):
        return False
    _, frames = rounds(spec)
    pays = frames // spec.env.num_envs + frames // FRAMES_FOR_A_STEP >= WORTHWHILE_STEPS
    return spec.meta.compile is True or (spec.meta.compile == "auto" and pays)


def _obstacle(spec: Spec) -> str:
    agent = spec.agent
    nets = [net for net in (agent.net, agent.critic_net) if net is not None]
    return obstacle(agent.algorithm, agent.memory, nets, spec.meta)


def _amount(spec: Spec) -> str:
    return f"a session makes about {updates(spec)} updates"


def updates(spec: Spec) -> int:
    """About how many steps of optimizers a session takes."""
    count, frames = rounds(spec)
    return count * spec.agent.algorithm.steps_on(frames // max(count, 1), spec.env.num_envs)
