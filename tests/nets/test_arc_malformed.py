"""Whatever can be wrong in an arc is said in a sentence, at its path."""

from __future__ import annotations

import pytest

from slm_lightning.errors import SpecError
from slm_lightning.nets.net import Net
from tests.nets.test_arc import arc_of, params
from tests.spec.conftest import PPO, problems_of, set_at

LINEAR = {"LazyLinear": {"out_features": 4}}
FORK = {"modules": {"a": LINEAR, "b": LINEAR}}


def graph(modules: dict, output: object = "a", source: object = "x") -> dict:
    return FORK | {"graph": {"input": source, "modules": modules, "output": output}}


CASES = [
    ({}, "modules", "missing"),
    ({"modules": {}, "graph": []}, "graph", "expected a section, not []"),
    ({"modules": {}, "grap": {}}, "grap", 'unknown key, did you mean "graph"?'),
    (arc_of("ReLU"), "modules.body", 'expected one class with its arguments, not "ReLU"'),
    (arc_of({"ReLU": None, "Tanh": None}), "modules.body", "expected one class with its arguments"),
    (arc_of({"Relu": None}), "modules.body.Relu", 'unknown class "Relu", did you mean "ReLU"?'),
    (arc_of({"DataParallel": None}), "modules.body.DataParallel", "unknown class"),
    (arc_of({"Module": None}), "modules.body.Module", "unknown class"),
    (arc_of({"__import__": {"name": "os"}}), "modules.body.__import__", "unknown class"),
    (arc_of({"ReLU": [1]}), "modules.body.ReLU", "expected a section of keyword arguments, not [1]"),
    (
        arc_of({"LazyLinear": {"out_feature": 4}}),
        "modules.body.LazyLinear.out_feature",
        'unknown key, did you mean "out_features"?',
    ),
    (arc_of({"ReLU": {"size": 4}}), "modules.body.ReLU.size", "unknown key; ReLU takes inplace"),
    (
        arc_of({"LazyLinear": {"out_features": 4, "device": "cuda"}}),
        "modules.body.LazyLinear.device",
        "unknown key; LazyLinear takes bias, out_features",
    ),
    (arc_of({"LazyLinear": {}}), "modules.body.LazyLinear", "LazyLinear cannot be made so: "),
    (
        arc_of({"Linear": {"in_features": 10**15, "out_features": 10**15}}),
        "modules.body.Linear",
        "Linear cannot be made so: ",
    ),
    (
        arc_of({"TorchFn": {"name": "load"}}),
        "modules.body.TorchFn",
        'TorchFn cannot be made so: unknown function "load"',
    ),
    (
        arc_of({"Reduce": {"name": "maen", "dim": 1}}),
        "modules.body.Reduce",
        'did you mean "mean"?',
    ),
    (arc_of({"Sequential": {}}), "modules.body.Sequential", "expected a list of layers, not {}"),
    (
        arc_of({"Sequential": [LINEAR, {"Tahn": None}]}),
        "modules.body.Sequential.1.Tahn",
        'did you mean "Tanh"?',
    ),
    (arc_of({"compact": {}}), "modules.body.compact.layer", "missing"),
    (
        arc_of({"compact": {"layer": {"type": "Linear", "keys": "a", "args": []}}}),
        "modules.body.compact.layer.keys",
        'expected a list, not "a"',
    ),
    (
        arc_of(
            {"compact": {"layer": {"type": "LazyLinear", "keys": ["out_features"], "args": [[4, 5]]}}}
        ),
        "modules.body.compact.layer.args.0",
        "expected 1 values, one for each of keys, not [4, 5]",
    ),
    (
        arc_of({"compact": {"layer": {"type": "LazyLiner", "keys": ["out_features"], "args": [4]}}}),
        "modules.body.compact.layer.args.0",
        'unknown class "LazyLiner", did you mean "LazyLinear"?',
    ),
    ({"modules": {"a.b": LINEAR}, "graph": {}}, r"modules.a.b", '"a.b" cannot name a module'),
    ({"modules": {"keys": LINEAR}, "graph": {}}, "modules.keys", '"keys" cannot name a module'),
    (graph({"a": ["x"], "b": ["a"]}, source=["x", "y"]), "graph.input", "expected one name"),
    (graph({"a": "x", "b": ["a"]}), "graph.modules.a", "expected a list or section of inputs"),
    (graph({"a": [], "b": ["a"]}), "graph.modules.a", "expected a list or section of inputs"),
    (graph({"a": [1], "b": ["a"]}), "graph.modules.a", "expected names of nodes"),
    (graph({"a": ["x"], "c": ["a"]}), "graph.modules.c", 'unknown module "c"'),
    (graph({"a": ["x"], "b": ["aa"]}), "graph.modules.b", 'unknown node "aa", did you mean "a"?'),
    (graph({"a": ["x"], "b": ["a"]}, "c"), "graph.output", 'unknown node "c"'),
    (graph({"a": ["x"], "b": ["a"]}, []), "graph.output", "expected the name of a node, not []"),
    (graph({"a": ["x"]}), "modules.b", "is not called in graph.modules"),
    (graph({"a": ["b"], "b": ["a"]}, source="a"), "graph.modules.a", "is the name of the input"),
    (graph({"a": ["b"], "b": ["a"]}), "graph.modules", "goes round in a circle: "),
    (graph({"a": ["x"], "b": [["a", "b"]]}), "graph.modules", "goes round in a circle: b → b"),
]


def spec_with(key: str, value: object, **keys) -> dict:
    return set_at(PPO, "agent.net", {"type": "TorchArcNet", key: value} | keys)


@pytest.mark.parametrize("arc, path, message", CASES, ids=[f"{p}: {m}"[:60] for _, p, m in CASES])
def test_a_fault_is_told_at_its_path(arc, path, message):
    problems = problems_of(spec_with("arc", arc))
    assert message in problems[f"agent.net.arc.{path}"]


def test_every_fault_is_told_at_once():
    problems = problems_of(spec_with("arc", arc_of({"Sequential": [{"A1": None}, {"ReLU": {"b": 1}}]})))
    assert problems.keys() == {
        "agent.net.arc.modules.body.Sequential.0.A1",
        "agent.net.arc.modules.body.Sequential.1.ReLU.b",
    }


def test_arcs_of_actor_and_critic_are_checked_too():
    problems = problems_of(spec_with("arc", arc_of(LINEAR), critic_arc=arc_of({"Tahn": None})))
    assert problems.keys() == {"agent.net.critic_arc.modules.body.Tahn"}


@pytest.mark.parametrize("keys", [{}, {"actor_arc": arc_of(LINEAR)}])
def test_some_arc_is_needed(keys):
    problems = problems_of(set_at(PPO, "agent.net", {"type": "TorchArcNet"} | keys))
    assert problems == {"agent.net.arc": "missing; expected the modules and graph of the net"}


def test_a_file_that_is_no_arc(tmp_path):
    problems = problems_of(spec_with("arc_file", str(tmp_path / "none.json")))
    assert problems.keys() == {"agent.net.arc_file"}
    assert problems["agent.net.arc_file"].endswith("no such file")
    (tmp_path / "list.json").write_text("[1]")
    problems = problems_of(spec_with("arc_file", str(tmp_path / "list.json")))
    assert problems["agent.net.arc_file"].endswith("holds [1], not an arc")
    problems = problems_of(spec_with("arc_file", "a.json", arc=arc_of(LINEAR)))
    assert problems == {"agent.net.arc_file": "excludes arc; give one of them"}


@pytest.mark.parametrize("name", ["LazyBatchNorm1d", "LazyBatchRenorm1d"])
def test_an_on_policy_algorithm_refuses_statistics_of_the_batch(name):
    problems = problems_of(spec_with("arc", arc_of({"Sequential": [LINEAR, {name: None}]})))
    (path,) = problems
    assert path == f"agent.net.arc.modules.body.Sequential.1.{name}"
    assert "PPO (agent.algorithm.name) cannot bear" in problems[path]


@pytest.mark.parametrize(
    ("body", "path", "message"),
    [
        ({"Reduce": {"name": "mean", "dim": 0}}, "graph.output", "not shape [4]"),
        ({"Reduce": {"name": "argmax", "dim": 1, "keepdim": True}}, "graph.output", "expected numbers"),
        ({"TorchFn": {"name": "softmax"}}, "modules.body.TorchFn", "fails on a batch of 2"),
        ({"LazyConv2d": {"out_channels": 2, "kernel_size": 3}}, "modules.body.LazyConv2d", "fails on"),
        (
            {"Bilinear": {"in1_features": 4, "in2_features": 4, "out_features": 2}},
            "modules.body.Bil",
            "fails",
        ),
    ],
)
def test_what_only_an_observation_shows(body, path, message):
    with pytest.raises(SpecError) as caught:
        Net(params(arc_of(body)), (4,), [2])
    (problem,) = caught.value.problems
    assert problem.path.startswith(f"agent.net.arc.{path}") and message in problem.message
