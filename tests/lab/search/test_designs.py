"""Settings laid out in advance: the grid and the Sobol sequence."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
from scipy.stats import qmc

from slm_lightning.lab.search.designs import at, grid_point, quasi_random_point, values_of
from slm_lightning.spec.space import Space

NET, WIDTH, GAMMA = "agent.net.type", "agent.net.width", "agent.algorithm.gamma"
CONDITIONAL = Space.of(
    {
        f"{NET}__choice": ["MLPNet", "RecurrentNet"],
        f"{WIDTH}__qrandint__if__{NET}=RecurrentNet": [32, 96, 32],
        f"{GAMMA}__choice": [0.9, 0.99],
    }
)


def settings(space: Space, seed: int, count: int) -> list[dict[str, Any]]:
    return [grid_point(space, seed, number) for number in range(count)]


def key(setting: dict[str, Any]) -> tuple:
    return tuple(sorted(setting.items()))


class TestGrid:
    def test_every_setting_comes_once(self) -> None:
        space = Space.of({"a__choice": [1, 2, 3], "b__quniform": [0, 1, 0.25], "c__randint": [0, 4]})
        assert space.size == 3 * 5 * 4
        found = {key(setting) for setting in settings(space, 0, 60)}
        values = [1, 2, 3], [0, 0.25, 0.5, 0.75, 1], range(4)
        assert found == {key(dict(zip("abc", drawn))) for drawn in itertools.product(*values)}
        with pytest.raises(IndexError):
            grid_point(space, 0, 60)

    def test_what_depends_on_another_is_drawn_only_with_it(self) -> None:
        assert CONDITIONAL.size == 2 * (1 + 3)
        found = settings(CONDITIONAL, 5, 8)
        assert len({key(setting) for setting in found}) == 8
        recurrent = Counter(s.get(WIDTH) for s in found if s[NET] == "RecurrentNet")
        assert recurrent == {32: 2, 64: 2, 96: 2}
        assert all(WIDTH not in s for s in found if s[NET] == "MLPNet")

    def test_the_order_is_shuffled_by_the_seed_and_nothing_else(self) -> None:
        space = Space.of({"a__randint": [0, 20]})
        orders = [[s["a"] for s in settings(space, seed, 20)] for seed in (1, 1, 2)]
        assert orders[0] == orders[1] != orders[2]
        assert all(sorted(order) == list(range(20)) for order in orders)
        assert list(range(20)) not in orders

    def test_the_first_half_sees_something_of_everything(self) -> None:
        space = Space.of({"a__randint": [0, 4], "b__randint": [0, 10]})
        assert {s["a"] for s in settings(space, 0, 20)} == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("search", "values"),
    [
        ({"x__choice": [[64], None, "relu", True]}, [[64], None, "relu", True]),
        ({"x__randint": [2, 5]}, [2, 3, 4]),
        ({"x__qrandint": [64, 200, 64]}, [64, 128, 192]),
        ({"x__quniform": [0.1, 0.7, 0.2]}, [0.2, 0.4, 0.6]),
        ({"x__quniform": [0, 0.3, 0.1]}, [0.0, 0.1, 0.2, 0.3]),
        ({"x__qloguniform": [0.001, 0.004, 0.001]}, [0.001, 0.002, 0.003, 0.004]),
    ],
)
def test_values_with_steps_between_them(search: dict[str, Any], values: list[Any]) -> None:
    (dimension,) = Space.of(search).dimensions
    assert values_of(dimension) == values


class TestSobol:
    def test_it_fills_the_square_more_evenly_than_random_points(self) -> None:
        space = Space.of({"x__uniform": [0, 1], "y__uniform": [0, 1]})
        points = [quasi_random_point(space, 7, n) for n in range(64)]
        sobol = qmc.discrepancy([[p["x"], p["y"]] for p in points])
        randoms = [qmc.discrepancy(np.random.default_rng(s).random((64, 2))) for s in range(20)]
        assert sobol < min(randoms) / 2

    def test_each_eighth_of_a_range_is_met_once_in_eight(self) -> None:
        space = Space.of({"x__loguniform": [1e-4, 1e4], "y__uniform": [-1, 1]})
        points = [quasi_random_point(space, 3, n) for n in range(8)]
        assert sorted(int(np.log10(p["x"]) + 4) for p in points) == list(range(8))
        assert sorted(int(4 * (p["y"] + 1)) for p in points) == list(range(8))

    def test_a_point_depends_on_its_number_and_the_seed_alone(self) -> None:
        space = Space.of({"x__uniform": [0, 1], "n__randint": [0, 100]})
        forwards = [quasi_random_point(space, 3, n) for n in range(9)]
        backwards = [quasi_random_point(space, 3, n) for n in reversed(range(9))]
        assert forwards == backwards[::-1]
        assert forwards[0] != quasi_random_point(space, 4, 0)

    def test_what_depends_on_another_is_drawn_only_with_it(self) -> None:
        points = [quasi_random_point(CONDITIONAL, 1, n) for n in range(32)]
        assert Counter(p[NET] for p in points) == {"MLPNet": 16, "RecurrentNet": 16}
        assert all((WIDTH in p) == (p[NET] == "RecurrentNet") for p in points)


@pytest.mark.parametrize(
    ("search", "values"),
    [
        ({"x__randint": [1, 5]}, [1, 2, 3, 4]),
        ({"x__qrandint": [32, 128, 32]}, [32, 64, 96, 128]),
        ({"x__quniform": [0, 0.75, 0.25]}, [0, 0.25, 0.5, 0.75]),
        ({"x__choice": ["a", [1], None, 2.5]}, ["a", [1], None, 2.5]),
    ],
)
def test_every_value_is_as_likely(search: dict[str, Any], values: list[Any]) -> None:
    (dimension,) = Space.of(search).dimensions
    found = [at(dimension, u) for u in np.arange(400) / 400]
    assert found == [value for value in values for _ in range(100)]
    assert at(dimension, np.nextafter(1, 0)) == values[-1]


def test_whole_numbers_of_a_logarithm_reach_both_ends() -> None:
    (dimension,) = Space.of({"x__lograndint": [1, 17]}).dimensions
    found = Counter(at(dimension, u) for u in np.arange(1000) / 1000)
    assert set(found) == set(range(1, 17))
    counts = [found[n] for n in range(1, 17)]
    assert counts == sorted(counts, reverse=True)


@pytest.mark.parametrize(
    ("search", "low", "middle", "high"),
    [
        ({"x__uniform": [2, 4]}, 2.0, 3.0, 4.0),
        ({"x__loguniform": [1e-4, 1e-2]}, 1e-4, 1e-3, 1e-2),
        ({"x__qloguniform": [1, 100, 1]}, 1, 10, 100),
    ],
)
def test_a_range_from_its_low_end_to_its_high_one(
    search: dict[str, Any], low: float, middle: float, high: float
) -> None:
    (dimension,) = Space.of(search).dimensions
    found = [at(dimension, u) for u in (0.0, 0.5, np.nextafter(1, 0))]
    assert found == pytest.approx([low, middle, high])
