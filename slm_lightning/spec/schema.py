"""A JSON Schema of spec files, by which editors complete, explain and check them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from slm_lightning.spec.dimension import DISTRIBUTIONS
from slm_lightning.spec.load import NAME, SECTIONS
from slm_lightning.spec.model import AgentSpec, EnvParams, MetaParams, NoNet, Spec, SpecModel
from slm_lightning.spec.registry import Registry
from slm_lightning.spec.search_params import PRUNERS, SAMPLERS, SearchScheduler

Schema = dict[str, Any]

BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
"""Names of limits: pydantic's where a validator runs before it, and JSON Schema's."""


def json_schema(registry: Registry) -> Schema:
    """The schema (draft 2020-12) of a file of specs, or of a single resolved one, for what
    ``registry`` can run. Its texts are the docstrings of the models."""
    defs: Schema = {
        "text_number": {
            "description": "A number as text, or a variable that -s fills in.",
            "type": "string",
            "pattern": r"^([-+]?[0-9.]+([eE][-+]?[0-9]+)?|\$\{\w+\})$",
        },
        "search": _search(),
    }
    algorithms = {name: kind.Params for name, kind in registry.algorithms.items()}
    nets = {name: kind.Params for name, kind in registry.nets.items()}
    docs = {name: _summary(kind) for name, kind in {**registry.algorithms, **registry.nets}.items()}
    defs["algorithm"] = _one_of("name", algorithms, docs, defs)
    defs["memory"] = _one_of("name", registry.memories, {}, defs)
    defs["net"] = _one_of("type", nets, docs, defs)
    defs["env"] = _section(EnvParams, defs)
    defs["meta"] = _section(MetaParams, defs)
    _search_params(defs)
    defs["agent"] = _section(AgentSpec, defs, own=("algorithm", "memory", "net"))
    defs["agent"]["properties"]["critic_net"] = {"anyOf": [_ref("net"), {"type": "null"}]}
    idle = [name for name, params in algorithms.items() if not params.learns]
    named = {"properties": {"name": {"enum": idle}}, "required": ["name"]}
    defs["agent"]["if"] = {"properties": {"algorithm": named}, "required": ["algorithm"]}
    defs["agent"]["then"] = {"properties": {"net": {"anyOf": [_ref("net"), _section(NoNet, defs)]}}}
    defs["agent"]["else"] = {"properties": {"net": defs["agent"]["properties"].pop("net")}}
    defs["agent"]["properties"]["net"] = {"type": "object"}
    defs["spec"] = _section(Spec, defs, own=("agent", "env", "meta", "search"))
    defs["spec"]["required"].remove("name")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "SLM Lightning spec file",
        "type": "object",
        "if": {"anyOf": [{"required": [section]} for section in sorted(SECTIONS)]},
        "then": {**_ref("spec"), "required": ["name"]},
        "else": {
            "properties": {"$schema": {"type": "string"}},
            "patternProperties": {"^_": {"if": {"required": ["agent"]}, "then": _ref("spec")}},
            "additionalProperties": _ref("spec"),
            "propertyNames": {"pattern": rf"^(\$schema|_.*|{NAME.pattern})$"},
        },
        "$defs": defs,
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _search() -> Schema:
    """The section of what is drawn."""
    number = {"anyOf": [{"type": "number"}, _ref("text_number")]}
    arguments: Schema = {"__choice(__if__.*)?$": {"type": "array", "minItems": 1}}
    for name, kind in DISTRIBUTIONS.items():
        count = 3 if kind.quantised else 2
        sized = {"type": "array", "items": number, "minItems": count, "maxItems": count}
        arguments[f"__{name}(__if__.*)?$"] = sized
    return {
        "description": "Keys <dotted.path>__<distribution> with the distribution's arguments;"
        " with __if__<other path>=<value>|<value> behind, drawn only where that took such a value.",
        "type": ["object", "null"],
        "patternProperties": arguments,
        "additionalProperties": _ref("search"),
    }


def _search_params(defs: Schema) -> None:
    """Completes the sections of ``meta`` that are about searches."""
    properties = defs["SearchParams"]["properties"]
    for key, kinds in (("sampler", SAMPLERS), ("pruner", PRUNERS)):
        docs = {name: _summary(kind) for name, kind in kinds.items()}
        defs[key] = _one_of("name", kinds, docs, defs)
        forms = [{"enum": list(kinds)}, _ref(key), *([{"type": "null"}] if key == "pruner" else [])]
        properties[key] = {"description": properties[key]["description"], "anyOf": forms}
    for unused in ("Sampler", "Pruner"):
        del defs[unused]
    defs["SearchScheduler"]["properties"] |= _unread(SearchScheduler)


def _unread(model: type[SpecModel]) -> Schema:
    return {
        key: {"description": f"Not read: {reason}.", "deprecated": True}
        for key, reason in model.unread.items()
    }


def _summary(kind: type) -> str:
    """The first paragraph of a class's own docstring."""
    return str(_tidy(inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0]))


def _one_of(
    key: str, models: Mapping[str, type[SpecModel]], docs: Mapping[str, str], defs: Schema
) -> Schema:
    """A section whose ``key`` says which of ``models`` it follows; these are added to ``defs``."""
    for name, model in models.items():
        section = _section(model, defs)
        section["properties"][key]["const"] = name
        defs[name] = {"description": docs.get(name, ""), **section}
    return {
        "type": "object",
        "required": [key],
        "properties": {key: {"enum": sorted(models)}},
        "allOf": [
            {"if": {"properties": {key: {"const": name}}, "required": [key]}, "then": _ref(name)}
            for name in sorted(models)
        ],
    }


def _section(model: type[SpecModel], defs: Schema, own: tuple[str, ...] = ()) -> Schema:
    """The schema of ``model``; what it refers to is added to ``defs``, but for the keys in ``own``,
    which are there by their names."""
    schema = model.model_json_schema()
    inner = schema.pop("$defs", {})
    if own:
        schema["properties"] |= {key: _ref(key) for key in own}
    else:
        defs |= {name: _tidy(part) for name, part in inner.items()}
    section: Schema = _tidy(schema)
    section["properties"] |= _unread(model)
    return section


def _tidy(node: Any) -> Any:
    """Without pydantic's titles and reST's quotes, with JSON Schema's names of bounds, and with numbers
    that may also stand as text."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if isinstance(node, str):
        return " ".join(node.replace("``", "`").split())
    if not isinstance(node, dict):
        return node
    tidy = {
        BOUNDS.get(key, key): {name: _tidy(part) for name, part in value.items()}
        if key == "properties"
        else _tidy(value)
        for key, value in node.items()
        if key != "title" or not isinstance(value, str)
    }
    if tidy.get("type") not in ("number", "integer"):
        return tidy
    number = {key: tidy.pop(key) for key in ("type", *BOUNDS.values()) if key in tidy}
    return {**tidy, "anyOf": [number, _ref("text_number")]}
