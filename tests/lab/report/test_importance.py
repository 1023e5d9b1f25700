"""A parameter is important where it tells the best trials apart."""

from __future__ import annotations

import math

import numpy as np
import optuna
import pytest

from slm_lightning.lab.report.findings import TrialFinding
from slm_lightning.lab.report.importance import LEAST, importances
from tests.lab.made_findings import found, trial

LAYERS = [[16], [64, 64], "wide"]


def draw(rng: np.random.Generator) -> dict:
    return {
        "net.lr": float(10 ** rng.uniform(-4, -1)),
        "gamma": float(rng.uniform(0.9, 1.0)),
        "net.layers": LAYERS[rng.integers(3)],
        "epochs": int(rng.integers(1, 9)),
    }


def trials(worth, count: int = 60) -> list[TrialFinding]:
    rng = np.random.default_rng(0)
    settings = [draw(rng) for _ in range(count)]
    return [trial(i, *np.atleast_1d(worth(drawn)), drawn=drawn) for i, drawn in enumerate(settings)]


@pytest.mark.parametrize(
    ("path", "worth"),
    [
        ("net.lr", lambda drawn: -abs(math.log10(drawn["net.lr"]) + 2)),
        ("gamma", lambda drawn: drawn["gamma"]),
        (
            "net.layers",
            lambda drawn: (drawn["net.layers"] == [64, 64]) + 0.1 * math.sin(1e5 * drawn["gamma"]),
        ),
        ("epochs", lambda drawn: float(drawn["epochs"])),
    ],
)
def test_the_parameter_that_decides_comes_first(path, worth):
    shares = importances(found(*trials(worth, 200)))
    assert next(iter(shares)) == path
    assert shares[path] > 0.6
    assert sum(shares.values()) == pytest.approx(1)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)


def test_the_best_are_those_that_the_objective_asks_for():
    """γ decides which trials are low, the learning rate which are high."""

    def worth(drawn):
        rate, gamma = math.log10(drawn["net.lr"]), drawn["gamma"]
        return -10.0 if gamma < 0.91 else 10.0 if rate > -1.3 else 0.1 * math.sin(1e4 * gamma)

    high = importances(found(*trials(worth, 200)))
    low = importances(found(*trials(worth, 200), objectives={"score": "minimize"}))
    assert next(iter(high)) == "net.lr"
    assert next(iter(low)) == "gamma"


def test_several_objectives():
    both = {"score": "maximize", "frames": "minimize"}
    shares = importances(found(*trials(lambda d: (-abs(d["gamma"] - 0.95), 0.0)), objectives=both))
    assert next(iter(shares)) == "gamma"


def test_a_parameter_that_only_some_trials_draw():
    settings = trials(lambda drawn: drawn["gamma"])
    for one in settings[::2]:
        one.drawn.pop("net.lr")
    shares = importances(found(*settings))
    assert shares.keys() == {"net.lr", "gamma", "net.layers", "epochs"}
    assert next(iter(shares)) == "gamma"


def test_values_at_both_ends_of_a_range_count():
    ends = [{"net.lr": lr, "gamma": 0.9} for lr in (1e-4, 1e-1)]
    settings = [trial(i, float(i), drawn=ends[i % 2]) for i in range(20)]
    assert importances(found(*settings))


def test_few_trials_say_nothing():
    settings = trials(lambda drawn: drawn["gamma"], LEAST)
    failed = [trial(100 + i, status="failed") for i in range(20)]
    assert importances(found(*settings[:-1], *failed)) == {}
    assert importances(found(*settings, *failed)) != {}


def test_the_same_trials_have_the_same_importances():
    settings = trials(lambda drawn: drawn["gamma"])
    assert importances(found(*settings)) == importances(found(*settings))


def test_optuna_says_as_much_as_before(capfd: pytest.CaptureFixture[str]):
    before = optuna.logging.get_verbosity()
    for level in (optuna.logging.ERROR, optuna.logging.INFO):
        optuna.logging.set_verbosity(level)
        importances(found(*trials(lambda drawn: drawn["gamma"])))
        assert optuna.logging.get_verbosity() == level
    optuna.logging.set_verbosity(before)
    assert capfd.readouterr().err == ""
