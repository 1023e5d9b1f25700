"""The random walk: what breaks the interface is named, and so is what cannot be brought back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from slm_lightning.envs import gym_making
from slm_lightning.envs.walk import _fault, look_closely, walk
from slm_lightning.errors import MissingError
from slm_lightning.spec.model import EnvParams
from tests.envs.misbehaving import misbehaving
from tests.envs.probes import probe


def params(env: dict[str, Any]) -> EnvParams:
    return EnvParams(**{"max_frame": 1} | env)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("outside", "observation has 11 at [1], outside of [0, 10]"),
        ("nan", "observation is not finite"),
        ("shape", "observation has the shape (1,), and observation_space (2,)"),
        ("dtype", "observation is of complex64, and observation_space of float32"),
        ("reward", "reward is inf"),
        ("array", "reward is a ndarray, not a number"),
        ("flag", "terminated is 1, a int, not a bool"),
        ("four", "step() returns a tuple of 4, not (observation, reward, terminated, truncated, info)"),
        ("raise", "step() raises ZeroDivisionError: no bottom (tests/envs/misbehaving.py:"),
        ("quit", "step() raises SystemExit: 3 (tests/envs/misbehaving.py:"),
    ],
)
def test_the_field_and_the_step_are_named(fault: str, said: str) -> None:
    with pytest.raises(MissingError) as caught:
        walk(params(misbehaving(fault)))
    message = str(caught.value)
    assert message.startswith(f"tests/Misbehaving-v0 breaks the interface of Gymnasium: {said}")
    assert message.endswith(", in step 13 of a random walk")
    assert caught.value.exit_code == 3 and caught.value.hint


def test_an_environment_without_a_seed() -> None:
    with pytest.raises(MissingError, match=r"reset\(\) takes no seed, in the first reset") as caught:
        walk(params(misbehaving("none", "Seedless")))
    assert "unexpected keyword argument 'seed'" in caught.value.hint


@pytest.mark.parametrize(
    ("fault", "doubt"),
    [
        ("none", ""),
        ("random", "does not repeat itself from its seed and actions: another reward in step 4"),
        ("leak", "keeps traces of earlier episodes over a reset: another reward in step 1"),
    ],
)
def test_what_cannot_be_brought_back(fault: str, doubt: str) -> None:
    assert walk(params(misbehaving(fault))) == doubt


@pytest.mark.parametrize(
    "env",
    [
        {"name": "CartPole-v1"},
        {"name": "Pendulum-v1", "frame_stack": 2, "action_repeat": 2},
        {"name": "FrozenLake-v1"},
        {"name": "Blackjack-v1"},
        probe("Allowed"),
        probe("Identity", kind="multi_discrete"),
        probe("BrightHalf"),
    ],
    ids=lambda env: env["name"],
)
def test_what_is_sound(env: dict[str, Any]) -> None:
    look = look_closely(params(env))
    assert look.doubt == "" and look.info.name == env["name"]


def test_a_leak_of_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    walker = params({"name": "BipedalWalker-v3", "max_t": 30})
    assert walk(walker) == ""
    monkeypatch.setattr(gym_making, "FreshWorld", lambda env: env)
    assert walk(walker).startswith("keeps traces of earlier episodes over a reset: another ")


@pytest.mark.parametrize(
    ("dtype", "shown", "sound"),
    [
        (np.float32, np.float64, True),
        (np.float32, np.int64, True),
        (np.uint8, np.uint8, True),
        (np.uint8, np.float32, False),
        (np.uint8, np.int64, False),
    ],
)
def test_numbers_of_another_kind(dtype: Any, shown: Any, sound: bool) -> None:
    space = spaces.Box(0, 10, (2,), dtype=dtype)
    assert (_fault(space, np.ones(2, dtype=shown)) == "") is sound


def test_the_part_of_an_observation_is_named() -> None:
    space = spaces.Dict({"position": spaces.Box(0, 1, (1,)), "mode": spaces.Discrete(2)})
    from slm_lightning.envs.walk import _parts

    parts = _parts("observation", space, {"position": np.zeros(1), "mode": 3})
    faults = {name: _fault(part, shown) for name, part, shown in parts}
    assert faults == {
        'observation["position"]': "",
        'observation["mode"]': "3 is not in observation_space Discrete(2)",
    }


@pytest.mark.parametrize(
    ("env", "foreign"),
    [
        ({"name": "CartPole-v1"}, False),
        ({"name": "CartPole-v1", "backend": "torch"}, False),
        ({"name": "HalfCheetah-v5"}, False),
        ({"name": "ALE/Pong-v5"}, False),
        ({"name": "NoSuchEnv-v0"}, False),
        ({"name": "tests.envs.probes:Some-v0"}, True),
        (probe("Counter"), True),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_which_are_foreign(env: dict[str, Any], foreign: bool) -> None:
    """Those that are not waste no time of a run, and neither does an id that does not exist."""
    assert gym_making.is_foreign(params(env)) is foreign
