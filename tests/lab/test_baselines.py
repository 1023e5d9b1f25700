"""Random baselines: the shipped table, and measuring what is not in it."""

from __future__ import annotations

import importlib
import json
import logging
import math
import multiprocessing
import runpy
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from slm_lightning.errors import StorageError
from slm_lightning.lab import baselines
from slm_lightning.lab.baselines import (
    SHIPPED,
    Baseline,
    baseline_key,
    measure,
    random_baseline,
    read_table,
    reward_threshold,
    write_table,
)

SCRIPT = Path(__file__).parents[2] / "scripts" / "random_baselines"

SLM_LAB = {
    "CartPole-v1": 22.97,
    "Acrobot-v1": -499.86,
    "Pendulum-v1": -1197.15,
    "MountainCar-v0": -200.0,
    "LunarLander-v3": -186.78,
    "LunarLanderContinuous-v3": -215.93,
    "BipedalWalker-v3": -102.69,
}
"""Means over 100 random episodes that SLM Lab publishes."""


class Coin(gymnasium.Env):
    """Pays ``prize`` for action 1 and ends after ``length`` steps; notes each time it is made."""

    observation_space = gymnasium.spaces.Box(0.0, 1.0, (1,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, prize: float = 1.0, length: float = 10, notes: str | None = None):
        self.prize, self.length = prize, length
        self.action_space = gymnasium.spaces.Discrete(2)
        if notes is not None:
            with open(notes, "a") as file:
                file.write("made\n")

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.zeros(1, np.float32), self.prize * action, self.steps >= self.length, False, {}


class Broken(Coin):
    def step(self, action):
        raise ZeroDivisionError("a bug in the environment")


gymnasium.register("SLMTest/Coin-v0", entry_point=Coin)
gymnasium.register("SLMTest/Broken-v0", entry_point=Broken)


@pytest.mark.parametrize("name", SLM_LAB)
def test_shipped_values_agree_with_those_of_slm_lab(name, tmp_path):
    baseline = random_baseline(name, {}, tmp_path / "cache.json")
    # the difference of two means of 100 episodes, with room for four standard errors
    assert abs(baseline.mean - SLM_LAB[name]) <= 4 * baseline.std * math.sqrt(2 / 100)
    assert not (tmp_path / "cache.json").exists()


@pytest.mark.parametrize("name", ["CartPole-v1", "MountainCar-v0", "Pendulum-v1"])
def test_measuring_again_gives_the_shipped_value(name):
    assert measure(lambda: gymnasium.make(name)) == pytest.approx(read_table(SHIPPED)[name], rel=1e-6)


def test_the_alias_of_the_continuous_lander_has_the_same_baseline(tmp_path):
    cache = tmp_path / "cache.json"
    continuous = random_baseline("LunarLander-v3", {"continuous": True}, cache)
    assert continuous == random_baseline("LunarLanderContinuous-v3", {}, cache)
    assert continuous != random_baseline("LunarLander-v3", {}, cache)


def test_the_script_lists_what_is_shipped():
    environments = runpy.run_path(str(SCRIPT))["ENVIRONMENTS"]
    assert {baseline_key(*environment) for environment in environments} == read_table(SHIPPED).keys()


@pytest.mark.slow
def test_the_script_writes_the_shipped_values(tmp_path, monkeypatch, capsys):
    shipped = read_table(SHIPPED)
    monkeypatch.setattr(baselines, "SHIPPED", tmp_path / "table.json")
    runpy.run_path(str(SCRIPT), run_name="__main__")
    measured = read_table(tmp_path / "table.json")
    assert measured.keys() == shipped.keys()
    for key, baseline in measured.items():
        assert abs(baseline.mean - shipped[key].mean) <= baseline.std / 10, key  # one standard error


def test_unknown_environment_is_measured_and_kept(tmp_path):
    cache = tmp_path / "folder" / "cache.json"
    before = SHIPPED.read_bytes()
    baseline = random_baseline("SLMTest/Coin-v0", {}, cache)
    # returns are binomial: 10 steps, each paid with probability 1/2
    assert baseline.mean == pytest.approx(5.0, abs=4 * math.sqrt(2.5 / 100))
    assert baseline.std == pytest.approx(math.sqrt(2.5), abs=0.5)
    assert baseline.episodes == 100
    assert read_table(cache) == {"SLMTest/Coin-v0": baseline}
    assert SHIPPED.read_bytes() == before


def test_cached_value_is_used(tmp_path):
    cache = tmp_path / "cache.json"
    kept = Baseline(mean=-7.0, std=1.0, episodes=3)
    write_table(cache, {"SLMTest/Coin-v0": kept})
    assert random_baseline("SLMTest/Coin-v0", {}, cache) == kept


def test_constructor_arguments_belong_to_the_environment(tmp_path):
    cache = tmp_path / "cache.json"
    one = random_baseline("SLMTest/Coin-v0", {}, cache)
    ten = random_baseline("SLMTest/Coin-v0", {"prize": 10.0, "length": 10}, cache)
    same = random_baseline("SLMTest/Coin-v0", {"length": 10, "prize": 10.0}, cache)
    assert ten == same
    assert ten.mean == pytest.approx(10 * one.mean)
    assert len(read_table(cache)) == 2


def test_measuring_is_deterministic_and_leaves_the_global_generators_alone():
    np.random.seed(1)
    state = np.random.get_state()[1].copy()
    assert measure(lambda: gymnasium.make("SLMTest/Coin-v0")) == measure(
        lambda: gymnasium.make("SLMTest/Coin-v0")
    )
    assert np.array_equal(np.random.get_state()[1], state)


def test_endless_environment_is_cut():
    baseline = measure(lambda: gymnasium.make("SLMTest/Coin-v0", length=math.inf))
    assert baseline.episodes == baselines.MAX_STEPS // baselines.MAX_EPISODE_STEPS
    assert baseline.mean == pytest.approx(baselines.MAX_EPISODE_STEPS / 2, rel=0.02)


@pytest.mark.parametrize(
    ("name", "kwargs", "reason"),
    [
        ("NoSuchEnv-v0", {}, "NoSuchEnv"),
        ("SLMTest/Coin-v0", {"colour": "red"}, "colour"),
        ("SLMTest/Broken-v0", {}, "a bug in the environment"),
    ],
)
def test_environment_that_cannot_be_played_has_no_baseline(tmp_path, caplog, name, kwargs, reason):
    cache = tmp_path / "cache.json"
    with caplog.at_level(logging.WARNING, logger="slm_lightning.lab.baselines"):
        assert random_baseline(name, kwargs, cache) is None
    assert reason in caplog.text
    assert not cache.exists()


@pytest.mark.parametrize("content", ["", "{half", "[]", '{"x": {"median": 1}}'])
def test_damaged_cache_is_measured_anew(tmp_path, content):
    cache = tmp_path / "cache.json"
    cache.write_text(content)
    baseline = random_baseline("SLMTest/Coin-v0", {}, cache)
    assert json.loads(cache.read_text()) == {"SLMTest/Coin-v0": baseline._asdict()}


def test_cache_that_cannot_be_written_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="random baselines"):
        random_baseline("SLMTest/Coin-v0", {}, tmp_path / "file" / "cache.json")


def _measure_at(barrier, cache: Path, notes: Path, prize: float, results) -> None:
    barrier.wait()
    kwargs = {"prize": prize, "notes": str(notes)}
    results.put((prize, random_baseline("SLMTest/Coin-v0", kwargs, cache)))


def test_four_processes_measure_each_environment_once(tmp_path):
    cache, notes = tmp_path / "cache.json", tmp_path / "notes"
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(4), context.Queue()
    processes = [
        context.Process(target=_measure_at, args=(barrier, cache, notes, prize, results), daemon=True)
        for prize in (1.0, 1.0, 2.0, 2.0)
    ]
    for process in processes:
        process.start()
    found = [results.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert notes.read_text().splitlines() == ["made", "made"]
    assert len({baseline for prize, baseline in found if prize == 1.0}) == 1
    assert len({baseline for prize, baseline in found if prize == 2.0}) == 1
    assert sorted(read_table(cache).values()) == sorted({baseline for _, baseline in found})


@pytest.mark.parametrize(
    ("name", "threshold"),
    [
        ("CartPole-v1", 475.0),
        ("LunarLander-v3", 200.0),
        ("Pendulum-v1", None),
        ("tests/Nowhere-v0", None),
    ],
)
def test_the_threshold_of_an_environment(name, threshold):
    assert reward_threshold(name) == threshold


def test_asking_for_a_threshold_imports_nothing(monkeypatch):
    monkeypatch.setattr(importlib, "import_module", lambda name: pytest.fail(f"imported {name}"))
    assert reward_threshold("antigravity:CartPole-v1") is None
