"""How a search goes about it: names, keywords and defaults, and what gives hopeless settings up."""

from __future__ import annotations

import inspect
from typing import Any

import optuna
import pytest

from slm_lightning.registry import REGISTRY
from slm_lightning.spec.load import load_spec
from slm_lightning.spec.model import MetaParams
from slm_lightning.spec.notes import notes
from slm_lightning.spec.resolve import resolve, resolve_dict
from slm_lightning.spec.schema import json_schema
from slm_lightning.spec.search_params import PRUNERS, SAMPLERS, Pruner, SearchParams
from tests.spec.conftest import PPO, problems_of, resolved, set_at
from tests.spec.test_schema import accepts

SCHEMA = json_schema(REGISTRY)

GOOD: list[dict[str, Any]] = [
    {"sampler": "random"},
    {"sampler": {"name": "tpe", "n_startup_trials": "2e1", "multivariate": False}},
    {"sampler": {"name": "cmaes", "sigma0": 0.1, "popsize": 8, "with_margin": True}},
    {"pruner": None},
    {"pruner": "none"},
    {"pruner": {"name": "halving", "grace_period": 1e4, "reduction_factor": 2.5}},
    {"pruner": {"name": "hyperband", "brackets": 2}},
    {"pruner": {"name": "median", "n_startup_trials": 3}},
    {"pruner": {"name": "wilcoxon", "p_threshold": 0.05}},
    {"objective": "strength"},
    {"objective": {"score": "maximize", "consistency": "minimize"}},
    {"target": "195", "order": "async", "batch": 8},
]


@pytest.mark.parametrize("search", GOOD, ids=map(str, GOOD))
def test_what_may_be_said(search):
    data = set_at(set_at(PPO, "meta.seed", 0), "meta.search", search)
    spec = resolved(data)
    assert resolve_dict(spec.to_dict(), REGISTRY) == spec
    assert accepts(SCHEMA, {"a": data}) and accepts(SCHEMA, spec.to_dict())


FAULTS: list[tuple[str, Any, str, str]] = [
    ("sampler", "tpee", "", 'unknown sampler "tpee", did you mean "tpe"?'),
    ("sampler", {"name": "bayes"}, "", "unknown sampler"),
    ("sampler", 3, "", "expected a name, or a section with a name, not 3"),
    ("sampler", {"n_startup_trials": 3}, ".name", "missing"),
    ("sampler", {"name": 3}, ".name", "expected text, not 3"),
    ("sampler", {"name": "random", "seed": 3}, ".seed", "unknown key; there are name"),
    ("sampler", {"name": "tpe", "n_startup_trails": 3}, ".n_startup_trails", "did you mean"),
    ("sampler", {"name": "tpe", "n_startup_trials": -1}, ".n_startup_trials", "whole number from 0"),
    ("sampler", {"name": "tpe", "multivariate": 2}, ".multivariate", "expected true or false, not 2"),
    ("sampler", {"name": "cmaes", "popsize": 1}, ".popsize", "expected a whole number from 2"),
    ("pruner", "meidan", "", 'unknown pruner "meidan", did you mean "median"?'),
    ("pruner", [], "", "expected a name, or a section with a name, not []"),
    ("pruner", {"name": "halving", "reduction_factor": 1}, ".reduction_factor", "a number above 1"),
    ("pruner", {"name": "halving", "brackets": 2}, ".brackets", "unknown key"),
    ("pruner", {"name": "hyperband", "brackets": 0}, ".brackets", "a whole number from 1 to 10"),
    ("pruner", {"name": "median", "grace_period": 0.5}, ".grace_period", "a whole number from 1"),
    ("pruner", {"name": "wilcoxon", "p_threshold": 1}, ".p_threshold", "above 0 and below 1"),
    ("objective", {}, "", 'expected a metric, or metrics with "maximize" or "minimize"'),
    ("objective", "", "", "expected a metric"),
    ("objective", ["score"], "", "expected a metric"),
    ("objective", {"score": "up"}, "", "expected a metric"),
    ("target", "high", "", "expected a number or null"),
    ("order", "any", "", 'expected "batch" or "async"'),
    ("batch", 0, "", "expected a whole number from 1 to 10000, not 0 (default 4)"),
]


@pytest.mark.parametrize("key, value, where, message", FAULTS, ids=[f"{f[0]}={f[1]}" for f in FAULTS])
@pytest.mark.parametrize("native", [True, False])
def test_a_fault_is_told_at_its_key(key, value, where, message, native):
    data = set_at(PPO, "meta.search", {key: value})
    problems = problems_of(set_at(data, "meta.seed", 0) if native else data)
    assert list(problems) == [f"meta.search.{key}{where}"]
    assert message in problems[f"meta.search.{key}{where}"]
    assert not accepts(SCHEMA, {"a": data}) or not value


def test_a_key_that_is_not_there():
    data = set_at(PPO, "meta.search", {"smapler": "tpe"})
    message = 'unknown key, did you mean "sampler"?'
    assert problems_of(set_at(data, "meta.seed", 0)) == {"meta.search.smapler": message}


def test_names_and_defaults():
    search = MetaParams().search
    assert search == SearchParams() and (search.order, search.batch, search.target) == (
        "batch",
        4,
        None,
    )
    assert search.objectives == {"score": "maximize"} and search.pruner is None
    assert SearchParams(objective="strength").objectives == {"strength": "maximize"}
    assert (search.sampler.name, search.sampler.keywords) == (
        "tpe",
        {"n_startup_trials": 10, "n_ei_candidates": 24, "multivariate": True},
    )
    pruner = SearchParams(pruner={"name": "halving", "grace_period": "1e3"}).pruner
    assert pruner and pruner.keywords == {"grace_period": 1000, "reduction_factor": 3.0}
    assert isinstance(pruner.keywords["grace_period"], int)


OPTUNA = {
    "tpe": optuna.samplers.TPESampler,
    "cmaes": optuna.samplers.CmaEsSampler,
    "gp": optuna.samplers.GPSampler,
    "random": optuna.samplers.RandomSampler,
    "wilcoxon": optuna.pruners.WilcoxonPruner,
}


@pytest.mark.parametrize("name", OPTUNA)
def test_keywords_are_those_of_optuna(name):
    taken = inspect.signature(OPTUNA[name]).parameters
    fields = {**SAMPLERS, **PRUNERS}[name].model_fields
    assert set(fields) - {"name"} <= set(taken)
    for key, field in fields.items():
        if key not in ("name", "multivariate"):  # of which Optuna says None for true
            assert field.default == taken[key].default


@pytest.mark.parametrize(
    "name, by_frame",
    [("none", False), ("halving", True), ("hyperband", True), ("median", True), ("wilcoxon", False)],
)
def test_pruners_of_learning_curves(name, by_frame):
    assert Pruner(name=name).by_frame == by_frame


IN_FORCE: list[tuple[dict[str, Any], str | None, dict[str, Any]]] = [
    ({"max_session": 5}, None, {}),
    ({"max_session": 6}, "wilcoxon", {"p_threshold": 0.1, "n_startup_steps": 2}),
    ({"max_session": 6, "distributed": "synced"}, None, {}),
    ({"max_session": 6, "search": {"pruner": "none"}}, None, {}),
    ({"max_session": 6, "search": {"objective": {"a": "maximize", "b": "minimize"}}}, None, {}),
    ({"max_session": 2, "search": {"pruner": "wilcoxon"}}, "wilcoxon", {"n_startup_steps": 2}),
    ({"search": {"pruner": "median"}}, "median", {"grace_period": 20_000, "n_startup_trials": 5}),
    ({"search": {"pruner": "halving"}}, "halving", {"grace_period": 20_000, "reduction_factor": 3}),
    (
        {"search_scheduler": {"grace_period": "1e4", "reduction_factor": 3}},
        "halving",
        {"grace_period": 10_000, "reduction_factor": 3},
    ),
    ({"search_scheduler": {}}, "halving", {"grace_period": 20_000, "reduction_factor": 4}),
    ({"search_scheduler": {"brackets": 2}}, "hyperband", {"brackets": 2}),
    ({"search_scheduler": {"brackets": 2}, "search": {"pruner": "median"}}, "median", {}),
]


@pytest.mark.parametrize("meta, name, keywords", IN_FORCE, ids=[str(m) for m, *_ in IN_FORCE])
def test_what_gives_settings_up(meta, name, keywords):
    data = set_at(PPO, "meta.max_session", 1)
    data["meta"] |= meta
    pruner = resolved(data).pruner
    assert (pruner and pruner.name) == name
    assert pruner is None or pruner.keywords.items() >= keywords.items()


def test_resources():
    told = resolved(set_at(PPO, "meta.search_resources", {"cpu": "0.5", "gpu": 0.125, "memory": 2}))
    assert dict(told.meta.search_resources) == {"cpu": 0.5, "gpu": 0.125, "memory": 2.0}
    for nothing in (None, {}):
        spec = resolved(set_at(PPO, "meta.search_resources", nothing))
        assert dict(spec.meta.search_resources) == {"cpu": 1.0, "gpu": 0.0, "memory": None}
        assert accepts(SCHEMA, {"a": set_at(PPO, "meta.search_resources", nothing)})
    for key, value in (("cpu", 0), ("gpu", -1), ("memory", 0), ("cpu", "many")):
        data = set_at(PPO, "meta.search_resources", {key: value})
        assert list(problems_of(data)) == [f"meta.search_resources.{key}"]
        assert not accepts(SCHEMA, {"a": data})


@pytest.mark.parametrize("native", [True, False])
def test_keys_of_rays_scheduler_are_let_pass_with_a_note(native):
    scheduler = {"time_attr": "frame", "metric": "score", "mode": "max", "max_t": 5, "grace_period": 9}
    data = set_at(PPO, "meta.search_scheduler", scheduler)
    data = set_at(data, "meta.seed", 0) if native else data
    raw = load_spec({"test": data})
    spec = resolve(raw, REGISTRY)
    assert spec.meta.search_scheduler and spec.meta.search_scheduler.grace_period == 9
    assert [note.partition(" ")[0] for note in notes(raw, spec)] == [
        f"meta.search_scheduler.{key}" for key in scheduler if key != "grace_period"
    ]
    assert accepts(SCHEMA, {"a": data})


def test_a_class_of_searches_of_older_specs_is_not_read():
    raw = load_spec({"test": set_at(PPO, "meta.search", "RandomSearch")})
    spec = resolve(raw, REGISTRY)
    assert spec.meta.search == SearchParams()
    assert notes(raw, spec) == ["meta.search is not read: a key of older versions of SLM Lab"]
    ours = load_spec({"test": PPO}, overrides={"meta.search.sampler": "random"})
    assert resolve(ours, REGISTRY).meta.search.sampler.name == "random"


def test_the_schema_explains_every_keyword():
    for name, kind in {**SAMPLERS, **PRUNERS}.items():
        assert SCHEMA["$defs"][name]["description"].endswith(".")
        for key in kind.model_fields.keys() - {"name"}:
            assert SCHEMA["$defs"][name]["properties"][key]["description"]
    for section in ("SearchParams", "SearchResources", "SearchScheduler"):
        assert all("description" in p for p in SCHEMA["$defs"][section]["properties"].values())


SEARCHES = [
    ({"a.b__choice": [[1], True]}, True),
    ({"a": {"b__qrandint__if__c=1": [1, "1e3", 4]}}, True),
    ({"a__uniform": [0, 1, 2]}, False),
    ({"a__quniform": [0, 1]}, False),
    ({"a__uniform__if__b=1": ["x", 1]}, False),
    ({"a__choice__if__b=1": []}, False),
    ({"a__randn": [0, 1]}, False),
]


@pytest.mark.parametrize("search, fine", SEARCHES, ids=[str(s) for s, _ in SEARCHES])
def test_the_schema_knows_the_arguments(search, fine):
    assert accepts(SCHEMA, {"a": set_at(PPO, "search", search)}) == fine
