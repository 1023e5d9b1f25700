"""Every environment of the extras starts from its seed alone, and comes back to where it was."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
import torch

from slm_lightning.core import Keys, Stream
from slm_lightning.envs import gym_making
from slm_lightning.rl.exploration import random_action
from tests.contracts.test_backends import as_arrays, assert_same, open_env, play

SEEDS = 30
"""Episodes that are begun in a used environment and in a fresh one, side by side."""
CHEAP = [
    "CartPole-v1",
    "Acrobot-v1",
    "Pendulum-v1",
    "MountainCar-v0",
    "MountainCarContinuous-v0",
    "LunarLander-v3",
    "LunarLanderContinuous-v3",
    "BipedalWalker-v3",
    "FrozenLake-v1",
    "Blackjack-v1",
    "Taxi-v4",
    "CliffWalking-v1",
]
MUJOCO = [
    "Ant-v5",
    "HalfCheetah-v5",
    "Hopper-v5",
    "Humanoid-v5",
    "HumanoidStandup-v5",
    "InvertedDoublePendulum-v5",
    "InvertedPendulum-v5",
    "Pusher-v5",
    "Reacher-v5",
    "Swimmer-v5",
    "Walker2d-v5",
]
DEAR = [
    "BipedalWalkerHardcore-v3",
    "CarRacing-v3",
    *MUJOCO,
    *(f"ALE/{game}-v5" for game in ("Breakout", "Pong", "Qbert", "Seaquest", "SpaceInvaders")),
]
FEW = {"CarRacing-v3": (3, 20)}
"""Seeds and steps where they take long."""

every_env = pytest.mark.parametrize(
    "name", [*CHEAP, *(pytest.param(name, marks=pytest.mark.slow) for name in DEAR)]
)


@pytest.fixture(autouse=True)
def _installed(request: pytest.FixtureRequest) -> None:
    if "name" in request.fixturenames:
        name = request.getfixturevalue("name")
        module = "ale_py" if name.startswith("ALE") else "mujoco" if name in MUJOCO else "gymnasium"
        if importlib.util.find_spec(module) is None:
            pytest.skip(f'{module} is not installed: pip install "slm-lightning[mujoco,atari]"')


def used_differs(name: str) -> bool:
    """Whether episodes of used environments are others than those of fresh ones with their seeds."""
    seeds, steps = FEW.get(name, (SEEDS, 40))
    used, fresh = (open_env({"name": name}, num_envs=seeds) for _ in range(2))
    play(used, steps, seed=1)
    one, other = play(used, steps), play(fresh, steps)
    used.close()
    fresh.close()
    if not np.array_equal(one[0], other[0]):
        return True
    try:
        assert_same(one[1], other[1])
    except AssertionError:
        return True
    return False


@every_env
def test_a_used_environment_is_as_a_fresh_one(name: str) -> None:
    assert not used_differs(name)


def test_without_its_repair_a_walker_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gym_making, "FreshWorld", lambda env: env)
    assert used_differs("BipedalWalker-v3")


@every_env
def test_brought_back_at_any_point(name: str) -> None:
    """Twenty points of a walk; the digest of each replay is checked, and what follows is the same."""
    points, stride = (3, 4) if name in FEW else (20, 10)
    rng = np.random.default_rng(len(name))
    env: Any = open_env({"name": name}, num_envs=2)
    other: Any = open_env({"name": name}, num_envs=2)
    torch.manual_seed(0)
    env.reset()
    for _ in range(points):
        for _ in range(int(rng.integers(1, 2 * stride))):
            env.step(random_action(env.info.action, 2, "cpu"))
        other.load_state_dict(env.state_dict())
        assert np.array_equal(env.log.digest.value, other.log.digest.value)
        action = random_action(env.info.action, 2, "cpu")
        assert_same([as_arrays(env.step(action))], [as_arrays(other.step(action))])
    env.close()
    other.close()


def test_the_streams_of_a_session_have_no_seed_in_common() -> None:
    """Nor have those of other sessions: evaluations, replays and baselines play other episodes than
    training does. By chance two of 16 000 draws of 31 bits meet once in sixteen such tests."""
    seeds = {
        (session, stream): {
            Keys(7, session).seed_for(stream, i, e) for i in range(25) for e in range(40)
        }
        for session in range(4)
        for stream in (Stream.ENV, Stream.EVAL, Stream.ENJOY, Stream.BASELINE)
    }
    assert all(len(drawn) == 1000 for drawn in seeds.values())
    assert len(set.union(*seeds.values())) >= 16_000 - 2
