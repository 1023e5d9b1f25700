"""Whatever docs/spec.md allows runs: a round is collected and learned from, all numbers stay finite."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import yaml

from slm_lightning.api import prepare
from slm_lightning.lab.preflight import shortened
from slm_lightning.registry import REGISTRY
from slm_lightning.spec.base import SpecModel
from slm_lightning.spec.model import AgentSpec, EnvParams, MetaParams, Spec
from slm_lightning.spec.resolve import resolve_dict
from slm_lightning.spec.search_params import SearchParams
from tests.conftest import train
from tests.fuzz.valid import valid_spec

EACH = 50
"""Specs of a test."""
COMMIT = range(0, 250, EACH)
SLOW = range(250, 10_000, EACH)
numbers = pytest.mark.parametrize(
    "first", [*COMMIT, *(pytest.param(first, marks=pytest.mark.slow) for first in SLOW)]
)


@numbers
def test_a_valid_spec_runs(first, tmp_path):
    for number in range(first, first + EACH):
        try:
            learn_once(prepared(number, tmp_path))
        except Exception as error:
            pytest.fail(f"spec {number}: {error!r}\n{json.dumps(valid_spec(number))}")


@pytest.mark.parametrize("first", range(250, 500, EACH))
def test_a_valid_spec_passes_every_check(first, tmp_path):
    for number in range(first, first + EACH):
        prepared(number, tmp_path)


def prepared(number: int, folder: Any) -> Spec:
    """Spec ``number`` as a file, read and checked as ``run``, or ``search``, does."""
    data = valid_spec(number)
    file = folder / ("spec.yaml" if number % 2 else "spec.json")
    dump = yaml.safe_dump if number % 2 else json.dumps
    file.write_text(dump({"fuzzed": data}), encoding="utf-8")
    spec = prepare(file, mode="search" if "search" in data else "train").spec
    assert resolve_dict(json.loads(json.dumps(spec.to_dict())), REGISTRY) == spec
    return spec


def learn_once(spec: Spec) -> None:
    """One round of a single worker, or episodes of 60 steps."""
    meta = spec.meta.model_copy(update={"distributed": False})
    spec = spec.model_copy(update={"meta": meta})
    if spec.agent.memory.whole_episodes:
        spec = spec.model_copy(update={"env": spec.env.model_copy(update={"max_frame": 60})})
    else:
        spec = shortened(spec, 1)
    run = train(spec)
    assert run.metrics
    for key, value in [(k, v) for row in run.metrics for k, v in row.items()]:
        assert abs(value) < float("inf"), f"{key} is {value}"
    for key, tensor in run.parameters.items():
        assert tensor.isfinite().all(), f"{key} is not finite"


def test_a_number_gives_one_spec():
    assert valid_spec(7) == valid_spec(7) != valid_spec(8)


def test_no_key_of_the_schema_is_left_out():
    """The specs of every commit together say every key that something reads, each for the class that
    declares it."""
    known = {field for model in models().values() for field in fields_of(model, model.model_fields)}
    said = {
        field
        for number in range(500)
        for name, section in sections(valid_spec(number))
        for field in fields_of(models()[name], section)
    }
    assert sorted(known - said - UNSAID) == []


UNSAID = {("TorchArcNet.Params", "arc_file")}
"""What names a file."""


def fields_of(model: type[SpecModel], keys: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Those of ``keys`` that ``model`` reads, each with the class that declares it."""
    for key in keys:
        if key in model.model_fields:
            owner = next(cls for cls in model.__mro__ if key in vars(cls).get("__annotations__", {}))
            yield owner.__qualname__, key


def sections(spec: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The sections of a spec, by the names in :func:`models`."""
    agent = spec["agent"]
    algorithm = agent["algorithm"]["name"]
    yield algorithm, agent["algorithm"]
    past = " with past" if algorithm in ("SIL", "PPOSIL") else ""
    yield agent["memory"]["name"] + past, agent["memory"]
    for key in ("net", "critic_net"):
        if agent.get(key):
            yield agent[key]["type"], agent[key]
    yield "agent", agent
    yield "env", spec["env"]
    yield "meta", spec["meta"]
    yield "search", spec["meta"].get("search", {})


@functools.cache
def models() -> dict[str, type[SpecModel]]:
    """Every section that a spec can have, by what it is about."""
    past = {f"{name} with past": kind for name, kind in REGISTRY.imitation_memories.items()}
    kinds = {**REGISTRY.algorithms, **REGISTRY.nets}
    named = {name: kind.Params for name, kind in kinds.items()} | {**REGISTRY.memories} | past
    whole = {"agent": AgentSpec, "env": EnvParams, "meta": MetaParams, "search": SearchParams}
    return named | whole
