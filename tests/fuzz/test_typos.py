"""Did you mean: a slip of the finger anywhere in a spec is told with the word that was meant."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import pytest

from slm_lightning.data.memory import MEMORIES
from slm_lightning.errors import SpecError
from slm_lightning.registry import REGISTRY
from slm_lightning.spec.load import load_spec
from slm_lightning.spec.resolve import resolve
from slm_lightning.spec.torch_names import ACTIVATIONS, INITIALISERS, LR_SCHEDULERS, OPTIMIZERS
from tests.fuzz.broken import leaves
from tests.fuzz.dice import Keys
from tests.fuzz.valid import valid_spec
from tests.spec.test_suggestions import misspelt

SPECS = 30
"""Specs whose every key is misspelt once."""


@pytest.mark.parametrize(("edits", "least"), [(1, 0.99), (2, 0.95)])
def test_keys(edits, least, record_property):
    """Each key at any depth of specs over the whole schema."""
    share = _share((typo for number in range(SPECS) for typo in _keys(number, edits)), record_property)
    assert share >= least


@pytest.mark.parametrize(("edits", "least"), [(1, 0.95), (2, 0.92)])
def test_names(edits, least, record_property):
    """Each name that a spec can choose from."""
    share = _share((typo for path, names in NAMES.items() for typo in _names(path, names, edits)),
                   record_property)  # fmt: skip
    assert share >= least


NAMES: dict[str, Any] = {
    "agent.algorithm.name": REGISTRY.algorithms,
    "agent.memory.name": MEMORIES,
    "agent.net.type": REGISTRY.nets,
    "agent.net.hid_layers_activation": ACTIVATIONS,
    "agent.net.init_fn": INITIALISERS,
    "agent.net.optim_spec.name": OPTIMIZERS,
    "agent.net.lr_scheduler_spec.name": LR_SCHEDULERS,
    "agent.net.loss_spec.name": ["MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss"],
    "env.backend": REGISTRY.backends,
}
"""What may stand at a path, where a message suggests one of them."""


def _share(typos: Iterator[tuple[Keys, str, str]], note: Any) -> float:
    """How many of ``typos``, each a spec, where it is wrong, and what was meant, are told with that."""
    tries = right = 0
    for spec, path, meant in typos:
        try:
            resolve(load_spec({"test": spec}), REGISTRY)
        except SpecError as error:
            said = dict(error.problems).get(path, "")
        else:
            said = ""  # it went to the environment or to nobody
        tries, right = tries + 1, right + (f'did you mean "{meant}"?' in said)
    assert tries > 100
    note("suggestions", f"{right} of {tries} right, {right / tries:.1%}")
    return right / tries


def _keys(number: int, edits: int) -> Iterator[tuple[Keys, str, str]]:
    rng, original = random.Random(number), valid_spec(number)
    for path in [path for _, _, path in leaves(original)]:
        spec = copy.deepcopy(original)
        *parents, key = path.split(".")
        section = spec
        for parent in parents:
            section = section[parent]
        word = misspelt(key, edits, rng)
        if word.strip("_") and word not in section and word != key:
            section[word] = section.pop(key)
            yield spec, ".".join([*parents, word]), key


def _names(path: str, names: Any, edits: int) -> Iterator[tuple[Keys, str, str]]:
    rng = random.Random(path)
    *parents, key = path.split(".")
    spec = valid_spec(1)
    spec["agent"]["net"] = {"type": "MLPNet", "hid_layers": [8]}
    for name in [name for name in names for _ in range(5)]:
        changed = copy.deepcopy(spec)
        section = changed
        for parent in parents:
            section = section.setdefault(parent, {})
        section[key] = word = misspelt(name, edits, rng)
        if word not in names:
            yield changed, path, name
