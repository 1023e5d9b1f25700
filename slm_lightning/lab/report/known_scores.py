"""SLM Lab's published scores, for searches and benchmarks to be measured against.

``known_scores.csv`` has its benchmark tables: ``score`` is ``total_reward_ma``, the mean of 4 sessions
after ``max_frame`` frames; ``target`` is what it asked of the environment. Left out is what says
nothing: returns below the least that a match of Tennis can bring, and returns of exactly 0.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from slm_lightning.lab.baselines import arguments_of, registered_name
from slm_lightning.spec.families import atari_id
from slm_lightning.spec.model import EnvParams

TABLE = Path(__file__).with_name("known_scores.csv")
LEAST = {"ALE/Tennis-v5": -24.0}
"""Returns below which a score is an error of bookkeeping."""

NAMES = {
    "ActorCritic": "A2C",
    "DoubleDQN": "DDQN",
    "PPOSIL": "PPO+SIL",
    "QRDQN": "QR-DQN",
    "Reinforce": "REINFORCE",
    "SoftActorCritic": "SAC",
}
"""What papers and SLM Lab's tables call an algorithm, where a spec calls it otherwise."""


class KnownScore(NamedTuple):
    """A published mean score, which algorithm came to it, and after how many frames."""

    score: float
    algorithm: str
    frames: int


def best_known(environment: str) -> KnownScore | None:
    """The best published score in ``environment``; None where there is none."""
    return max(known_scores().get(environment, {}).values(), default=None)


def target_of(environment: str) -> float | None:
    """The score that SLM Lab asked for in ``environment``; None where it asked for none."""
    return _targets().get(environment)


def environment_of(spec: Mapping[str, Any]) -> str:
    """What tables call the environment of a resolved spec: its name and its arguments, or one name
    where Gymnasium knows both by one. Atari games go by their names: how they are played is a matter of
    the agent's."""
    env = EnvParams.model_validate(spec["env"])
    return atari_id(env.name) or registered_name(env.name, arguments_of(env))


def algorithm_of(spec: Mapping[str, Any]) -> str:
    """What tables call the algorithm of a resolved spec."""
    name, memory = spec["agent"]["algorithm"]["name"], spec["agent"]["memory"]["name"]
    return NAMES.get(name, name) + "+PER" * (memory == "PrioritizedReplay")


@cache
def known_scores() -> dict[str, dict[str, KnownScore]]:
    """The published scores by environment and algorithm."""
    table: dict[str, dict[str, KnownScore]] = {}
    for row in _rows():
        known = KnownScore(float(row["score"]), row["algorithm"], int(row["max_frame"]))
        if known.score and known.score >= LEAST.get(row["env"], known.score):
            table.setdefault(row["env"], {})[known.algorithm] = known
    return table


@cache
def _targets() -> dict[str, float]:
    return {row["env"]: float(row["target"].strip("<>~ ")) for row in _rows() if row["target"]}


def _rows() -> list[dict[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
