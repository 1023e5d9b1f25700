"""The section ``search`` as a space: flat or nested keys, conditions, sizes, and settings as specs."""

from __future__ import annotations

import copy
from functools import reduce
from operator import getitem
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from slm_lightning.errors import SpecError
from slm_lightning.registry import REGISTRY
from slm_lightning.spec.load import load_spec
from slm_lightning.spec.resolve import resolve
from slm_lightning.spec.space import Space, base_of, space_problems, substituted, without
from tests.spec.conftest import PPO, problems_of, resolved, set_at

NET = "agent.net.type"
SEARCH: dict[str, Any] = {
    "agent.algorithm.gamma__uniform": [0.9, 0.999],
    "agent": {
        "net": {
            "rnn_hidden_size__qrandint__if__agent.net.type=RecurrentNet": [16, 64, 16],
            "optim_spec": {"lr__loguniform": ["1e-5", 1e-2]},
            "hid_layers__choice__if__agent.net.type=MLPNet|DuelingMLPNet": [[64], [64, 64]],
        },
        "net.type__choice": ["MLPNet", "RecurrentNet", "DuelingMLPNet"],
    },
    "env.num_envs__choice": [4, 8],
}


def test_flat_and_nested_keys_are_the_same():
    space = Space.of(SEARCH)
    assert [(d.path, d.key) for d in space.dimensions[:2]] == [
        ("agent.algorithm.gamma", "agent.algorithm.gamma__uniform"),
        ("agent.net.optim_spec.lr", "agent.net.optim_spec.lr__loguniform"),
    ]
    flat = {d.path: d for d in Space.of({"a.b.c__uniform": [0, 1]}).dimensions}
    nested = {d.path: d for d in Space.of({"a": {"b.c__uniform": [0, 1]}}).dimensions}
    assert flat == nested
    assert Space.of(None) == Space.of({}) == Space.of({"agent": {"net": {}}}) == Space(())


def test_what_another_depends_on_comes_first():
    chain = {"a__choice__if__b=1": [1, 2], "b__choice__if__c=x": [1, 2], "c__choice": ["x", "y"]}
    assert [d.path for d in Space.of(chain).dimensions] == ["c", "b", "a"]
    paths = [d.path for d in Space.of(SEARCH).dimensions]
    assert paths.index(NET) < min(
        paths.index("agent.net.rnn_hidden_size"), paths.index("agent.net.hid_layers")
    )


def test_a_dimension_is_drawn_under_its_condition():
    active = {
        net: {d.path.rpartition(".")[2] for d in Space.of(SEARCH).dimensions if d.active({NET: net})}
        for net in ("MLPNet", "RecurrentNet", "DuelingMLPNet")
    }
    always = {"gamma", "lr", "type", "num_envs"}
    assert active["MLPNet"] == active["DuelingMLPNet"] == always | {"hid_layers"}
    assert active["RecurrentNet"] == always | {"rnn_hidden_size"}


@pytest.mark.parametrize(
    "options, condition, values",
    [
        ([1, "1", True], "1", (1,)),
        ([1, "1", True], '"1"', ("1",)),
        ([1, "1", True], "true|1", (True, 1)),
        (["1", "true"], "1 | true", ("1", "true")),
        ([[64], [64, 64]], "[64, 64]", ([64, 64],)),
        ([None, "null"], "null", (None,)),
        (["a=b", "c"], "a=b", ("a=b",)),
        ([1, 2], "2|2.0", (2,)),
    ],
)
def test_values_of_a_condition_are_those_of_the_options(options, condition, values):
    space = Space.of({"a__choice": options, f"b__choice__if__a={condition}": [1, 2]})
    found = space.dimensions[1].condition
    assert found is not None and found.path == "a"
    assert [(type(v), v) for v in found.values] == [(type(v), v) for v in values]


@pytest.mark.parametrize(
    "parent, good, bad",
    [
        ({"a__randint": [1, 4]}, ["1", "3", "2.0"], ["0", "4", "2.5", "true", "x", "1" * 400]),
        ({"a__qrandint": [8, 64, 8]}, ["8|64"], ["12"]),
        ({"a__quniform": [0, 1, 0.1]}, ["0.3|0.7"], ["0.25", "[0.3]"]),
        ({"a__choice": ["x"]}, ["x"], ["y", "x|y", "[" * 500 + "]" * 500, "1e999"]),
    ],
)
def test_numbers_may_be_conditions_too(parent, good, bad):
    for text in good:
        assert not space_problems({**parent, f"b__choice__if__a={text}": [1]})
    for text in bad:
        (problem,) = space_problems({**parent, f"b__choice__if__a={text}": [1]})
        assert problem.message.startswith("depends on a value that a never takes")


WRONG = [
    ({"gamma": [1]}, "gamma", "say how it is drawn"),
    ({"agent": 5}, "agent", "say how it is drawn"),
    ({"agent__if__a=1": {"b__choice": [1]}}, "agent__if__a=1", "say how it is drawn"),
    ({"": {"": [1]}}, ".", "say how it is drawn"),
    ({"": {"a__choice": [1]}}, ".a__choice", "write the path as a.b.c"),
    ({"a..b__choice": [1]}, "a..b__choice", "write the path as a.b.c"),
    ({"a__unifrom": [0, 1]}, "a__unifrom", 'unknown distribution "unifrom", did you mean "uniform"?'),
    ({"a__grid_search": [0, 1]}, "a__grid_search", 'write "a__choice"; with "sampler": "grid"'),
    ({"a__choice": 4}, "a__choice", "expected the list of its arguments, not 4"),
    ({"a__choice": {"b": 1}}, "a__choice", "expected the list of its arguments"),
    ({"a": {"b": {"c__uniform": [2, 1]}}}, "a.b.c__uniform", "expected low below high"),
    ({"name__choice": ["a"]}, "name__choice", "name belongs to the whole search"),
    ({"meta.max_trial__choice": [1]}, "meta.max_trial__choice", "belongs to the whole search"),
    ({"meta.search.order__choice": [1]}, "meta.search.order__choice", "belongs to the whole search"),
    ({"a": {"b__choice": [1]}, "a.b__uniform": [0, 1]}, "a.b__uniform", "a.b__choice draws the same"),
    (
        {"a.b.c__choice": [1], "a__choice": [{}]},
        "a.b.c__choice",
        "lies within a, which a__choice draws",
    ),
    ({"b__choice__if__a": [1]}, "b__choice__if__a", 'write what it depends on as "__if__<path>='),
    ({"b__choice__if__=a": [1]}, "b__choice__if__=a", "write what it depends on"),
    ({"b__choice__if__a=": [1], "a__choice": [1]}, "b__choice__if__a=", "write what it depends on"),
    (
        {"b__choice__if__a.typ=1": [1], "a.type__choice": [1]},
        "b__choice__if__a.typ=1",
        'depends on a.typ, which the search does not draw, did you mean "a.type"?',
    ),
    ({"b__choice__if__b=1": [1]}, "b__choice__if__b=1", "its conditions run in a circle"),
    (
        {"b__choice__if__a=1": [1], "a__uniform": [0, 1]},
        "b__choice__if__a=1",
        "depends on a, which is never twice the same",
    ),
]


@pytest.mark.parametrize("search, key, message", WRONG, ids=[key for _, key, _ in WRONG])
def test_what_is_wrong_is_told_by_its_key(search, key, message):
    (problem,) = space_problems(search)
    assert problem.path == f"search.{key}" and message in problem.message


def test_all_that_is_wrong_is_told_at_once():
    search = {"a__uniform": [1], "b": {"c__randint": [2, 1]}, "d__choice__if__a=1": [1]}
    with pytest.raises(SpecError) as caught:
        Space.of(search)
    assert [p.path for p in caught.value.problems] == ["search.a__uniform", "search.b.c__randint"]
    assert problems_of(set_at(PPO, "search", search)) == dict(caught.value.problems)


def test_a_circle_of_conditions():
    search = {"a__choice__if__b=1": [1], "b__choice__if__c=1": [1], "c__choice__if__a=1": [1]}
    search |= {"d__choice__if__a=1": [1]}
    found = {p.path: p.message for p in space_problems(search)}
    assert len(found) == 4 and set(found.values()) == {"its conditions run in a circle"}


def settings(space: Space, drawn: dict[str, Any]) -> list[dict[str, Any]]:
    """All settings, one by one."""
    for dimension in space.dimensions:
        if dimension.path not in drawn and dimension.active(drawn):
            step = dimension.step or 1
            count = len(dimension.choices) or round((dimension.high - dimension.low) / step) + 1
            values = dimension.choices or [
                dimension.finish(dimension.low + i * step) for i in range(count)
            ]
            return [s for value in values for s in settings(space, {**drawn, dimension.path: value})]
    return [drawn]


@pytest.mark.parametrize(
    "search",
    [
        {},
        {"a__choice": [1, 2, 3], "b__randint": [0, 4]},
        {"a__choice": ["x", "y", "z"], "b__choice__if__a=x": [1, 2], "c__choice__if__a=x|y": [1, 2, 3]},
        {
            "a__qrandint": [0, 40, 10],
            "b__choice__if__a=10|20": [True, 1],
            "c__randint__if__b=true": [0, 5],
            "d__choice__if__b=1": ["p", "q"],
            "e__quniform__if__d=q": [0, 1, 0.25],
        },
    ],
)
def test_a_size_counts_the_settings(search):
    space = Space.of(search)
    assert space.size == len(settings(space, {}))


def test_a_range_without_steps_has_no_size():
    assert Space.of(SEARCH).size is None
    assert Space.of({"a__choice": [1, 2], "b__uniform__if__a=1": [0, 1]}).size is None


def test_a_long_chain_of_conditions():
    search = {f"a{i}__choice__if__a{i - 1}=1": [0, 1] for i in range(1, 1500)} | {"a0__choice": [0, 1]}
    assert Space.of(search).size == 1501


def test_a_setting_is_a_complete_spec():
    data = set_at(set_at(PPO, "search", SEARCH), "meta.seed", 3)
    data["meta"] |= {"search": {"sampler": "random"}, "search_resources": {"cpu": 2}, "max_trial": 9}
    raw = load_spec({"test": data})
    before = copy.deepcopy(raw.data)
    layers = [32]
    drawn = {"agent.net.hid_layers": layers, "agent.net.lr_scheduler_spec.frame": 9, "env.clip_obs": 1}
    setting = substituted(base_of(raw, resolve(raw, REGISTRY)), drawn)
    layers.append(1)
    expected = set_at(
        set_at(set_at(PPO, "agent.net.hid_layers", [32]), "env.clip_obs", 1), "meta.seed", 3
    )
    expected["agent"]["net"]["lr_scheduler_spec"]["frame"] = 9
    expected["meta"]["search_resources"] = {"cpu": 2}
    del expected["meta"]["max_trial"]
    assert setting == expected and raw.data == before
    assert resolved(setting).agent.net.hid_layers == [32]


def test_sections_on_the_way_are_made():
    made = substituted({"agent": {"critic_net": None}}, {"agent.critic_net.type": "MLPNet", "b.c.d": 1})
    assert made == {"agent": {"critic_net": {"type": "MLPNet"}}, "b": {"c": {"d": 1}}}
    with pytest.raises(SpecError, match=r"a\.b: is \[1\], so there is no a\.b\.c to set"):
        substituted({"a": {"b": [1]}}, {"a.b.c": 2})


def test_the_base_of_an_slm_lab_spec_is_a_spec_of_this_lab():
    """So a setting of it is taken as it stands, with nothing left to read into it."""
    raw = load_spec({"test": set_at(PPO, "meta.num_gpus", 1)})
    base = base_of(raw, resolve(raw, REGISTRY))
    assert not raw.native and "name" not in base and base["meta"]["seed"] == 0
    setting = load_spec({"one": substituted(base, {"agent.algorithm.gamma": 0.5})})
    spec = resolve(setting, REGISTRY)
    assert setting.native and spec.name == "one" and spec.agent.algorithm.gamma == 0.5
    plain = resolve(raw, REGISTRY).model_copy(update={"name": "one"})
    gamma = plain.agent.algorithm.model_copy(update={"gamma": 0.5})
    assert spec.agent == plain.agent.model_copy(update={"algorithm": gamma}) and spec.env == plain.env


def test_dimensions_are_left_out_by_their_keys():
    keys = {"agent.net.optim_spec.lr__loguniform", "env.num_envs__choice"}
    left = Space.of(without(SEARCH, keys))
    assert [d.key for d in left.dimensions] == [
        d.key for d in Space.of(SEARCH).dimensions if d.key not in keys
    ]


KEYS = st.lists(
    st.sampled_from(
        [
            "a",
            "b",
            ".",
            "__",
            "_",
            "__if__",
            "=",
            "|",
            "1",
            "true",
            "choice",
            "uniform",
            "qrandint",
            "\n",
            '"',
        ]
    ),
    max_size=8,
).map("".join)
VALUES = st.lists(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["1e3", "x", "9" * 5000]),
    max_size=4,
)


@settings_of_hypothesis(max_examples=150)
@given(st.dictionaries(KEYS, VALUES | st.dictionaries(KEYS, VALUES, max_size=3), max_size=5))
def test_any_search_ends_in_a_space_or_in_a_sentence(search):
    try:
        space = Space.of(search)
    except SpecError as error:
        assert len(str(error).splitlines()) == len(error.problems)
        return
    drawn: dict[str, Any] = {}
    for dimension in space.dimensions:
        if dimension.active(drawn):
            drawn[dimension.path] = dimension.probes[0]
    setting = substituted({}, drawn)
    for path, value in drawn.items():
        assert reduce(getitem, path.split("."), setting) == value
    assert space.size is None or space.size >= 1
