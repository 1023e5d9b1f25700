"""The JSON Schema: made of standard keywords, accepts what runs, and refuses what does not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from slm_lightning.registry import REGISTRY
from slm_lightning.spec.model import EnvParams, MetaParams
from slm_lightning.spec.schema import json_schema
from tests.spec.conftest import A2C_ALGORITHM, PPO, drop_at, resolved, set_at

SCHEMA = json_schema(REGISTRY)
SHIPPED = sorted((Path(__file__).parents[2] / "specs").rglob("*.json"))
TYPES = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "integer": lambda v: isinstance(v, int | float) and not isinstance(v, bool) and v == int(v),
}
LIMITS = {
    "minimum": lambda v, limit: v >= limit,
    "maximum": lambda v, limit: v <= limit,
    "exclusiveMinimum": lambda v, limit: v > limit,
    "exclusiveMaximum": lambda v, limit: v < limit,
}
ANNOTATIONS = {"description", "default", "deprecated", "title", "$schema", "$defs"}


def accepts(schema: Any, value: Any) -> bool:
    """Validation by JSON Schema 2020-12, as far as our schema goes; an unknown keyword is an error."""
    if isinstance(schema, bool):
        return schema
    return all(
        _holds(key, part, value, schema) for key, part in schema.items() if key not in ANNOTATIONS
    )


def _holds(key: str, part: Any, value: Any, schema: dict[str, Any]) -> bool:
    is_object, is_array = isinstance(value, dict), isinstance(value, list)
    match key:
        case "$ref":
            return accepts(SCHEMA["$defs"][part.removeprefix("#/$defs/")], value)
        case "type":
            return any(TYPES[name](value) for name in ([part] if isinstance(part, str) else part))
        case "enum":
            return value in part
        case "const":
            return value == part
        case "pattern":
            return not isinstance(value, str) or re.search(part, value) is not None
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum":
            return not TYPES["number"](value) or LIMITS[key](value, part)
        case "anyOf":
            return any(accepts(choice, value) for choice in part)
        case "allOf":
            return all(accepts(choice, value) for choice in part)
        case "if":
            branch = schema.get("then" if accepts(part, value) else "else", True)
            return accepts(branch, value)
        case "then" | "else":
            return True
        case "required":
            return not is_object or all(name in value for name in part)
        case "properties":
            return not is_object or all(accepts(s, value[n]) for n, s in part.items() if n in value)
        case "patternProperties":
            hits = [
                (s, n) for p, s in part.items() for n in (value if is_object else ()) if re.search(p, n)
            ]
            return all(accepts(s, value[n]) for s, n in hits)
        case "additionalProperties":
            known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
            rest = [n for n in (value if is_object else ()) if n not in known]
            return all(
                accepts(part, value[n]) for n in rest if not any(re.search(p, n) for p in patterns)
            )
        case "propertyNames":
            return not is_object or all(accepts(part, name) for name in value)
        case "items":
            start = len(schema.get("prefixItems", ()))
            return not is_array or all(accepts(part, item) for item in value[start:])
        case "prefixItems":
            return not is_array or all(accepts(s, item) for s, item in zip(part, value))
        case "minItems":
            return not is_array or len(value) >= part
        case "maxItems":
            return not is_array or len(value) <= part
    raise AssertionError(f"{key} is no keyword of JSON Schema")


def test_it_is_json():
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


@pytest.mark.parametrize("path", SHIPPED, ids=[f"{p.parent.name}/{p.stem}" for p in SHIPPED])
def test_shipped_specs_are_accepted(path):
    assert accepts(SCHEMA, json.loads(path.read_text()))


def test_resolved_specs_are_accepted():
    assert accepts(SCHEMA, resolved(PPO).to_dict())


def test_files_of_several_specs_and_templates():
    a2c = set_at(PPO, "agent.algorithm", A2C_ALGORITHM)
    assert accepts(SCHEMA, {"$schema": "schema.json", "_template": {"x": 1}, "one": PPO, "two": a2c})


@pytest.mark.parametrize(
    "path, value",
    [
        ("env.max_frame", "${max_frame}"),
        ("env.max_frame", "1e7"),
        ("env.continuous", True),
        ("env.clip_reward", [-1, 1]),
        ("agent.algorithm.training_frequency", 1),
        ("agent.net.optim_spec", {"name": "Adam", "lr": "3e-4", "eps": 1e-5}),
        (
            "search",
            {"agent.net.hid_layers__choice": [[64], [128]], "env": {"num_envs__randint": [1, 4]}},
        ),
        ("meta.seed", 7),
    ],
)
def test_what_runs_is_accepted(path, value):
    assert accepts(SCHEMA, {"a": set_at(PPO, path, value)})


@pytest.mark.parametrize(
    "path, value",
    [
        ("agent.gamma", 0.9),
        ("agent.algorithm.gama", 0.9),
        ("agent.algorithm.gamma", 1.5),
        ("agent.algorithm.gamma", "high"),
        ("agent.algorithm.clip_eps_spec.stat_val", 1),
        ("agent.algorithm.num_step_returns", 5),
        ("agent.algorithm.name", "DQN"),
        ("agent.memory.name", "Replay"),
        ("agent.net.hid_layers", [0]),
        ("agent.net.optim_spec.lr", 0),
        ("agent.net.type", "HydraMLPNet"),
        ("env.num_envs", 0),
        ("meta.max_session", 2000),
        ("meta.max_sesion", 2),
        ("search", {"env.num_envs__grid_search": [1]}),
        ("search", {"env.num_envs__choice": []}),
    ],
)
def test_what_does_not_run_is_refused(path, value):
    assert not accepts(SCHEMA, {"a": set_at(PPO, path, value)})


@pytest.mark.parametrize("path", ["agent", "agent.net", "agent.algorithm.name", "env.name", "meta"])
def test_what_is_missing_is_refused(path):
    assert not accepts(SCHEMA, {"a": drop_at(PPO, path)})


def test_a_resolved_spec_says_its_name():
    assert not accepts(SCHEMA, PPO)
    assert accepts(SCHEMA, {"name": "a", **PPO})


@pytest.mark.parametrize("model, section", [(EnvParams, "env"), (MetaParams, "meta")])
def test_docstrings_explain_the_keys(model, section):
    for name in model.model_fields:
        assert SCHEMA["$defs"][section]["properties"][name]["description"], name


def test_every_component_is_described():
    for name in (*REGISTRY.algorithms, *REGISTRY.nets, *REGISTRY.memories):
        assert SCHEMA["$defs"][name]["description"], name
        assert "``" not in json.dumps(SCHEMA["$defs"][name])


def test_keys_that_nothing_reads_are_marked():
    assert SCHEMA["$defs"]["PPO"]["properties"]["clip_val_loss"]["deprecated"]
