"""Did you mean: the right key for at least 95 % of misspellings, and nothing far-fetched."""

from __future__ import annotations

import random
import string

import pytest

from slm_lightning.registry import REGISTRY
from slm_lightning.spec.model import (
    AgentSpec,
    EnvParams,
    LossSpec,
    LRScheduleSpec,
    MetaParams,
    OptimSpec,
    ScheduleSpec,
    Spec,
)
from slm_lightning.spec.wording import closest, edits
from tests.spec.conftest import PPO, problems_of, set_at

MODELS = [
    *(kind.Params for kind in (*REGISTRY.algorithms.values(), *REGISTRY.nets.values())),
    *REGISTRY.memories.values(),
    *(Spec, AgentSpec, EnvParams, MetaParams, ScheduleSpec, OptimSpec, LossSpec, LRScheduleSpec),
]


def misspelt(word: str, times: int, rng: random.Random) -> str:
    """``word`` after random deletions, insertions, substitutions and swaps."""
    for _ in range(times):
        at, letter = rng.randrange(len(word)), rng.choice(string.ascii_lowercase + "_")
        word = rng.choice(
            [
                word[:at] + word[at + 1 :],
                word[:at] + letter + word[at:],
                word[:at] + letter + word[at + 1 :],
                word[:at] + word[at + 1 : at + 2] + word[at] + word[at + 2 :],
            ]
        )
        word = word or letter
    return word


@pytest.mark.parametrize("times, least", [(1, 0.99), (2, 0.95)])
def test_most_misspellings_are_understood(times, least):
    rng = random.Random(0)
    tries = right = 0
    for model in MODELS:
        keys = list(model.model_fields)
        for key in keys * 10:
            word = misspelt(key, times, rng)
            if word not in keys:
                tries += 1
                right += closest(word, keys) == key
    assert tries > 1000
    assert right / tries >= least


@pytest.mark.parametrize("times, least", [(1, 0.97), (2, 0.95)])
def test_most_misspelt_specs_are_understood(times, least):
    """The same through the whole of resolving: one key of a valid spec, misspelt."""
    rng = random.Random(1)
    tries = right = 0
    sections = {"agent.algorithm": PPO["agent"]["algorithm"], "agent.net": PPO["agent"]["net"]}
    sections |= {"agent": PPO["agent"], "meta": PPO["meta"], "": PPO}
    native = set_at(PPO, "meta.seed", 0)
    for path, section in sections.items():
        parents = path.split(".") if path else []
        for key in [key for key in section for _ in range(5)]:
            word = misspelt(key, times, rng)
            if word in section:
                continue
            data = _renamed(native, parents, key, word)
            problems = problems_of(data)
            tries += 1
            right += f'did you mean "{key}"?' in problems.get(".".join([*parents, word]), "")
    assert tries > 100
    assert right / tries >= least


def _renamed(section: dict, parents: list[str], key: str, word: str) -> dict:
    if parents:
        return section | {parents[0]: _renamed(section[parents[0]], parents[1:], key, word)}
    return {word if name == key else name: value for name, value in section.items()}


@pytest.mark.parametrize("word", ["banana", "x", "", "learning", "zzzzzzzz", "a" * 10_000])
def test_nothing_far_fetched(word):
    assert closest(word, EnvParams.model_fields) is None


def test_the_case_of_letters_does_not_matter():
    assert closest("GAMMA", ["lam", "gamma"]) == "gamma"


@pytest.mark.parametrize(
    "a, b, distance",
    [
        ("gamma", "gamma", 0),
        ("gama", "gamma", 1),
        ("gmama", "gamma", 1),
        ("", "ab", 2),
        ("lam", "lr", 2),
    ],
)
def test_edits(a, b, distance):
    assert edits(a, b) == edits(b, a) == distance
