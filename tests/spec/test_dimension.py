"""Distributions: what their arguments mean, which are wrong, and that every value is one of those."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slm_lightning.spec.dimension import DISTRIBUTIONS, Condition, dimension_of, fingerprint

RANGES = [
    ("uniform", [0.9, 1], ("float", 0.9, 1.0, False, None)),
    ("uniform", ["1e-3", "2"], ("float", 0.001, 2.0, False, None)),
    ("loguniform", ["3e-5", 1e-2], ("float", 3e-5, 0.01, True, None)),
    ("quniform", [0.12, 0.98, 0.05], ("float", 0.15, 0.95, False, 0.05)),
    ("quniform", [-0.3, 0.3, 0.1], ("float", -0.3, 0.3, False, 0.1)),
    ("qloguniform", [3e-5, 1e-2, 2e-5], ("float", 4e-5, 0.01, True, 2e-5)),
    ("randint", [1, 10], ("int", 1, 9, False, 1)),
    ("randint", ["1e1", 20.0], ("int", 10, 19, False, 1)),
    ("lograndint", [1, 1000], ("int", 1, 999, True, 1)),
    ("qrandint", [64, 512, 64], ("int", 64, 512, False, 64)),
    ("qrandint", [50, 500, 64], ("int", 64, 448, False, 64)),
    ("qlograndint", [10, 1000, 8], ("int", 16, 1000, True, 8)),
]


@pytest.mark.parametrize("name, arguments, expected", RANGES)
def test_a_range(name, arguments, expected):
    found = dimension_of("a.b", "key", name, arguments)
    assert (found.kind, found.low, found.high, found.log, found.step) == expected
    assert found.quantum == (found.step if name.startswith("q") else None)
    whole = found.kind == "int"
    assert all(isinstance(end, int if whole else float) for end in (found.low, found.high))


WRONG = [
    ("uniform", [1], "expected [low, high], not [1]"),
    ("uniform", [0, 1, 2], "expected [low, high], not [0, 1, 2]"),
    ("quniform", [0, 1], "expected [low, high, q], not [0, 1]"),
    ("uniform", [1, 1], "expected low below high, not [1, 1]"),
    ("randint", [3, 3], "expected low below high"),
    ("uniform", [True, 2], "expected a number for low, not true"),
    ("uniform", [0, None], "expected a number for high, not null"),
    ("uniform", [0, "high"], 'expected a number for high, not "high"'),
    ("uniform", [0, "inf"], 'expected a number for high, not "inf"'),
    ("uniform", [0, "nan"], "expected a number for high"),
    ("uniform", [[0], 1], "expected a number for low, not [0]"),
    ("uniform", [-1e308, 1e308], "expected a narrower range"),
    ("uniform", [0, 10**400], "expected a number for high"),
    ("loguniform", [0, 1], "expected low above 0 for a logarithm, not 0"),
    ("lograndint", [-1, 4], "expected low above 0 for a logarithm, not -1"),
    ("quniform", [0, 1, 0], "expected q above 0, not 0"),
    ("quniform", [0, 1, -0.1], "expected q above 0, not -0.1"),
    ("quniform", [0, 1e9, 1e-9], "expected q to be larger for this range, not 1e-09"),
    ("qrandint", [1, 10, 0.5], "expected a whole number for q, not 0.5"),
    ("randint", [1.5, 3], "expected a whole number for low, not 1.5"),
    ("randint", [0, 1e16], "expected high to be at most 1e15, not 1e+16"),
    ("qrandint", [11, 12, 5], "no multiple of 5 lies from 11 to 12"),
    ("qloguniform", [0.001, 0.009, 0.01], "no multiple of 0.01 lies from 0.001 to 0.009"),
    ("choice", [1, 2, 1.0], "1.0 stands there twice"),
    ("choice", [[64], [64]], "[64] stands there twice"),
]


@pytest.mark.parametrize("name, arguments, message", WRONG)
def test_arguments_that_are_wrong(name, arguments, message):
    with pytest.raises(ValueError) as caught:
        dimension_of("a.b", "key", name, arguments)
    assert str(caught.value).startswith(message)


def test_options_of_any_type_stay_apart():
    options = [True, 1, "1", None, [1], ["1"], {"a": 1}, "true", 0.5]
    found = dimension_of("a", "a__choice", "choice", options)
    assert found.choices == tuple(options) and found.probes == options and found.size == 9
    assert len({fingerprint(option) for option in options}) == 9
    assert fingerprint({"a": [1.0], "b": 2}) == fingerprint({"b": 2.0, "a": [1]})


@st.composite
def dimensions(draw):
    """A sound dimension of any range, and raw numbers within it."""
    name = draw(st.sampled_from(sorted(DISTRIBUTIONS)))
    kind = DISTRIBUTIONS[name]
    low = draw(st.integers(1, 1000) if kind.whole else st.floats(1e-6, 1e3))
    width = draw(st.integers(2, 5000) if kind.whole else st.floats(1e-3, 1e4))
    quantum = draw(st.integers(1, 60) if kind.whole else st.sampled_from([1e-5, 0.05, 0.3, 2.0]))
    arguments = [low, low + width, quantum] if kind.quantised else [low, low + width]
    try:
        found = dimension_of("a", "a", name, arguments)
    except ValueError as error:
        assert str(error).startswith("no multiple")
        found = dimension_of("a", "a", name, [quantum, quantum * 3, quantum])
    return found, draw(st.lists(st.floats(float(found.low), float(found.high)), max_size=20)), arguments


@given(dimensions())
def test_every_value_is_one_of_those(drawn):
    found, raws, _ = drawn
    for raw in [found.low, found.high, *raws]:
        value = found.finish(raw)
        assert found.low <= value <= found.high and found.finish(value) == value
        assert type(value) is (int if found.kind == "int" else float)
        if found.quantum is not None:
            times = value / found.quantum
            assert math.isclose(times, round(times)) and abs(value - raw) <= found.quantum * 0.5001
            assert len(repr(value)) <= 10  # as it is written: 0.3, not 0.30000000000000004
    values = {found.finish(raw) for raw in raws}
    assert found.size is None or len(values) <= found.size
    assert {found.low, found.high} <= set(found.probes)


@pytest.mark.parametrize(
    "name, arguments, size",
    [
        ("uniform", [0, 1], None),
        ("loguniform", [1, 2], None),
        ("quniform", [0, 1, 0.1], 11),
        ("qloguniform", [0.1, 1, 0.3], 3),
        ("randint", [0, 7], 7),
        ("lograndint", [1, 9], 8),
        ("qrandint", [0, 100, 25], 5),
        ("choice", ["a", "b"], 2),
    ],
)
def test_how_many_values_there_are(name, arguments, size):
    assert dimension_of("a", "a", name, arguments).size == size


def test_a_probe_between_the_ends_is_no_whole_number():
    """Which tells a range of fractions for a key that counts."""
    for arguments in ([1, 8], [0, 1e6], [1, 3], [2, 1e15]):
        assert any(not v.is_integer() for v in dimension_of("a", "a", "uniform", arguments).probes)
    assert dimension_of("a", "a", "quniform", [0, 2, 0.5]).probes == [0.0, 2.0, 0.5]
    assert dimension_of("a", "a", "qrandint", [4, 4.0 + 4, 4]).probes == [4, 8]


def test_a_condition_tells_true_from_one():
    condition = Condition("a", (1, "x"))
    assert condition.holds({"a": 1}) and condition.holds({"a": 1.0}) and condition.holds({"a": "x"})
    assert not any(condition.holds(drawn) for drawn in ({}, {"a": True}, {"a": "1"}, {"b": 1}))
