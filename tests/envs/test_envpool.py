"""The EnvPool backend: Gymnasium's physics, episodes without made-up rows, pools that are renewed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from slm_lightning.core import Keys, Step
from slm_lightning.envs import envpool_backend, make_env
from slm_lightning.envs.envpool_backend import EnvPoolVectorEnv
from slm_lightning.envs.gym_backend import GymVectorEnv
from slm_lightning.errors import MissingError, SpecError
from slm_lightning.rl.exploration import random_action
from slm_lightning.spec.model import EnvParams
from tests.support import needs

KEYS = Keys(7)


@pytest.fixture(autouse=True)
def _installed(request: pytest.FixtureRequest) -> None:
    if "without_envpool" not in request.fixturenames:
        needs("envpool", extra="envpool")


def open_env(name: str = "CartPole-v1", **keys: Any) -> EnvPoolVectorEnv:
    section = {"name": name, "num_envs": 3, "max_frame": 1, "backend": "envpool"}
    env = make_env(EnvParams(**section | keys), KEYS)
    assert isinstance(env, EnvPoolVectorEnv)
    return env


def play(env: EnvPoolVectorEnv, steps: int, seed: int = 0) -> list[tuple[torch.Tensor, Step]]:
    """Random actions, and what they led to."""
    torch.manual_seed(seed)
    actions = [random_action(env.info.action, env.num_envs, "cpu") for _ in range(steps)]
    return [(action, env.step(action)) for action in actions]


def angles(obs: np.ndarray) -> list[float]:
    """From ``(cos θ₁, sin θ₁, …, θ̇₁, …)`` to ``(θ₁, …, θ̇₁, …)``."""
    pairs = len(obs) // 3
    theta = [np.arctan2(obs[2 * i + 1], obs[2 * i]) for i in range(pairs)]
    return [*theta, *obs[2 * pairs :]]


STATES: dict[str, Callable[[np.ndarray], Any]] = {
    "CartPole-v1": list,
    "Pendulum-v1": angles,
    "Acrobot-v1": angles,
    "MountainCar-v0": list,
    "MountainCarContinuous-v0": list,
}
"""From an observation to the state of Gymnasium's environment."""


@pytest.mark.parametrize("name", STATES)
def test_a_step_is_gymnasiums(name):
    """Gymnasium, put where EnvPool is, goes where EnvPool goes. Only a pendulum as fast as it may be is
    turned further by EnvPool: by its speed before the limit."""
    env, single = open_env(name, max_t=90), gym.make(name).unwrapped
    single.reset()
    obs = env.reset()
    for action, step in play(env, 200):
        for i in range(3):
            single.state = np.array(STATES[name](obs[i].astype(np.float64)))
            single.steps_beyond_terminated = None
            expected, reward, terminated, _, _ = single.step(env.actions(action)[i])
            if not (name == "Pendulum-v1" and abs(expected[2]) == 8):
                np.testing.assert_allclose(step.next_obs[i], expected, atol=1e-5)
            assert step.reward[i] == pytest.approx(reward, abs=1e-5)
            assert step.terminated[i] == terminated
        obs = step.obs


@pytest.mark.parametrize(
    ("name", "low", "high"), [("CartPole-v1", 20, 25), ("LunarLander-v3", -230, -140)]
)
def test_random_episodes_are_worth_what_they_are_in_gymnasium(name, low, high):
    """Gymnasium's means are 22 and -184."""
    env = open_env(name, num_envs=64)
    env.reset()
    returns, running = [], np.zeros(64)
    for _, step in play(env, 500):
        running += step.reward
        returns += list(running[step.over])
        running[step.over] = 0
    assert len(returns) > 200
    assert low < np.mean(returns) < high


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("CartPole-v1", {}),
        ("LunarLander-v3", {"continuous": True, "max_t": 90}),
        ("HalfCheetah-v5", {"max_t": 30}),
        ("ALE/Pong-v5", {"max_t": 30, "num_envs": 1}),
    ],
)
def test_episodes_are_brought_back_over_renewed_pools(name, keys, monkeypatch):
    """As long as the pool that the oldest running episode is played in, and exact."""
    monkeypatch.setattr(envpool_backend, "RENEW_AFTER", 25)
    env = open_env(name, **keys)
    env.reset()
    play(env, 140)
    state = env.state_dict()
    assert state["home"].min() >= 1
    assert len(state["log"]["actions"]) < 140
    assert len(env.pools) <= 3
    expected = play(env, 80, seed=1)
    other = open_env(name, **keys)
    other.load_state_dict(state)
    for (_, one), (_, same) in zip(expected, play(other, 80, seed=1)):
        for x, y in zip(one, same):
            np.testing.assert_array_equal(x, y)


def test_the_next_pool_has_the_next_seeds(monkeypatch):
    """Short pools repeat nothing: all episodes start differently."""
    monkeypatch.setattr(envpool_backend, "RENEW_AFTER", 5)
    env = open_env(max_t=6)
    starts = [env.reset(), *(step.obs[step.over] for _, step in play(env, 60))]
    starts = np.concatenate(starts)
    assert env.home.min() == 10
    assert len(np.unique(starts, axis=0)) == len(starts)


def test_a_lost_life_terminates_but_the_game_goes_on():
    env = open_env("ALE/Breakout-v5", life_loss_info=True)
    env.reset()
    lost = 0
    for _, step in play(env, 120):
        alone = step.terminated & ~step.over
        lost += alone.sum()
        np.testing.assert_array_equal(step.obs[alone], step.next_obs[alone])
    assert lost >= 3
    assert not open_env("ALE/Breakout-v5").life_loss


@pytest.mark.parametrize(
    ("name", "keys", "expected"),
    [
        ("ALE/Pong-v5", {}, {"frame_skip": 4, "stack_num": 4, "repeat_action_probability": 0.25}),
        ("Pong-v5", {}, {"frame_skip": 4, "stack_num": 4, "repeat_action_probability": 0.25}),
        ("PongNoFrameskip-v4", {}, {"repeat_action_probability": 0.0, "max_episode_steps": 27_000}),
        (
            "ALE/Pong-v5",
            {"frame_stack": 2, "action_repeat": 3, "noop_max": 5, "max_t": 100},
            {"stack_num": 2, "frame_skip": 3, "noop_max": 5, "max_episode_steps": 100},
        ),
    ],
)
def test_the_settings_of_games(name, keys, expected):
    env = open_env(name, **keys)
    assert env.name == "Pong-v5"
    assert expected.items() <= env.settings.items()
    assert env.info.frame_stack == keys.get("frame_stack", 4)


@pytest.mark.parametrize(
    ("name", "shape", "kind"),
    [
        ("LunarLander-v3", (8,), "discrete"),
        ("LunarLanderContinuous-v3", (8,), "continuous"),
        ("HalfCheetah-v5", (17,), "continuous"),
        ("CarRacing-v3", (3, 96, 96), "continuous"),
        ("Taxi-v3", (500,), "discrete"),
    ],
)
def test_spaces(name, shape, kind):
    env = open_env(name)
    assert (env.info.obs_shape, env.info.action.kind) == (shape, kind)
    assert env.reset().shape == (3, *shape)
    assert play(env, 1)[0][1].next_obs.shape == (3, *shape)


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"gravitation": 3}, "env.gravitation"),
        ({"seed": 3}, "env.seed"),
        ({"name": "HalfCheetah-v5", "ctrl_cost_weight": "much"}, "env.ctrl_cost_weight"),
        ({"name": "ALE/Pong-v5", "episodic_life": True}, "env.episodic_life"),
        ({"name": "ALE/Pong-v5", "stack_num": 2}, "env.stack_num"),
        ({"name": "ALE/Pong-v5", "frame_skip": 2}, "env.frame_skip"),
        ({"entry_point": "tests.envs.probes:Counter"}, "env.entry_point"),
        ({"vectorization_mode": "async"}, "env.vectorization_mode"),
        ({"frame_stack": 4}, "env.frame_stack"),
        ({"action_repeat": 2}, "env.action_repeat"),
        ({"name": "MiniGrid-Empty-5x5-v0"}, "env.name"),
    ],
)
def test_what_it_does_not_do_is_a_spec_error(keys, path):
    with pytest.raises(SpecError) as caught:
        open_env(**keys)
    assert [problem.path for problem in caught.value.problems] == [path]


def test_an_unknown_environment_is_missing_and_similar_ones_are_named():
    with pytest.raises(MissingError, match='no environment "CartPoll-v1"') as caught:
        open_env("CartPoll-v1")
    assert "CartPole-v1" in caught.value.hint


@pytest.fixture
def without_envpool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "envpool", None)


def test_without_envpool_the_extra_is_named(without_envpool):
    with pytest.raises(MissingError, match="envpool") as caught:
        open_env()
    assert caught.value.hint == 'pip install "slm-lightning[envpool]"'


def test_pictures_are_taken_by_gymnasium():
    params = EnvParams(
        name="LunarLander-v3", continuous=True, num_threads=1, max_frame=1, backend="envpool", max_t=9
    )
    env = make_env(params, KEYS, num_envs=1, render_mode="rgb_array")
    assert isinstance(env, GymVectorEnv)
    assert (env.info.max_episode_steps, env.info.action.kind) == (9, "continuous")
    env.reset()
    assert env.render().shape == (400, 600, 3)
    env.close()
    only_there = params.model_copy(update={"name": "WalkerWalk-v1"})
    with pytest.raises(SpecError, match="no pictures of WalkerWalk-v1"):
        make_env(only_there, KEYS, render_mode="rgb_array")
