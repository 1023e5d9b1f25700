"""Environments in this process: as Gymnasium steps them, and every way they can break."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from slm_lightning.envs.gym_loop import EnvLoop
from slm_lightning.envs.gym_processes import Raised
from tests.envs.misbehaving import Misbehaving

SEEDS = [3, 4, 5]


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "LunarLander-v3"])
def test_it_does_what_gymnasium_does_without_autoreset(name):
    makers = [lambda: gym.make(name, max_episode_steps=30)] * 3
    ours, theirs = EnvLoop(makers), SyncVectorEnv(makers, autoreset_mode=AutoresetMode.DISABLED)
    np.testing.assert_array_equal(ours.reset(seed=SEEDS)[0], theirs.reset(seed=SEEDS)[0])
    theirs.action_space.seed(0)
    for _ in range(70):
        actions: Any = theirs.action_space.sample()
        one, other = ours.step(actions), theirs.step(actions)
        for x, y in zip(one[:4], other[:4]):
            np.testing.assert_array_equal(x, y)
            assert x.dtype == y.dtype
        if (mask := one[2] | one[3]).any():
            again = [env.reset(seed=SEEDS, options={"reset_mask": mask})[0] for env in (ours, theirs)]
            np.testing.assert_array_equal(*again)
    ours.close()
    theirs.close()


class Told(gym.Env):
    """Writes down how it is reset."""

    observation_space = spaces.Box(-1, 1, (1,))
    action_space = spaces.Discrete(2)

    def __init__(self):
        self.told: list[Any] = []

    def reset(self, *, seed=None, options=None):
        self.told.append((seed, options))
        return np.zeros(1, np.float32), {}


def test_only_the_masked_are_reset_each_from_its_seed():
    loop = EnvLoop([Told, Told, Told])
    loop.reset(seed=SEEDS)
    loop.reset(seed=[6, 7, 8], options={"reset_mask": np.array([False, True, False]), "hard": True})
    envs: list[Any] = loop.envs
    assert [env.told for env in envs] == [
        [(3, None)],
        [(4, None), (7, {"hard": True})],
        [(5, None)],
    ]


@pytest.mark.parametrize(
    ("fault", "error", "text"),
    [
        ("raise", ZeroDivisionError, "no bottom"),
        ("quit", SystemExit, "3"),
        ("shape", ValueError, r"an observation has the shape \(1,\), its space \(2,\)"),
        ("dtype", TypeError, "Cannot cast"),
        ("four", ValueError, "not enough values"),
    ],
)
def test_who_breaks_is_named(fault, error, text):
    loop = EnvLoop([lambda: Misbehaving("none"), lambda: Misbehaving(fault, at=2)])
    loop.reset(seed=[0, 1])
    loop.step(np.zeros(2, np.int64))
    with pytest.raises(Raised, match=text) as caught:
        loop.step(np.zeros(2, np.int64))
    assert caught.value.index == 1
    assert isinstance(caught.value.error, error)
    assert "gym_loop.py" in caught.value.trace


def test_environments_that_are_not_alike_are_refused():
    with pytest.raises(RuntimeError, match="spaces are others"):
        EnvLoop([lambda: gym.make("CartPole-v1"), lambda: gym.make("Acrobot-v1")])
