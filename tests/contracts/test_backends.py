"""What the lab asks of every backend, whatever library runs its environments."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from slm_lightning.core import EnvInfo, Keys, Step, Stream, VectorEnv
from slm_lightning.envs import BACKENDS, make_env
from slm_lightning.rl.exploration import random_action
from slm_lightning.spec.model import EnvParams
from tests.support import needs

KEYS = Keys(5)
ENVS: list[dict[str, Any]] = [
    {"name": "CartPole-v1"},
    {"name": "Acrobot-v1", "max_t": 30},
    {"name": "Pendulum-v1", "max_t": 30},
    {"name": "MountainCar-v0", "max_t": 30},
    {"name": "MountainCarContinuous-v0", "max_t": 30},
    {"name": "LunarLander-v3", "max_t": 80},
    {"name": "LunarLander-v3", "max_t": 80, "continuous": True},
    {"name": "BipedalWalker-v3", "max_t": 40},
    {"name": "CarRacing-v3", "max_t": 5, "frame_stack": 2, "domain_randomize": False},
    {"name": "Pendulum-v1", "max_t": 10, "frame_stack": 3, "action_repeat": 2},
    {"name": "Hopper-v5", "max_t": 20},
    {"name": "HalfCheetah-v5", "max_t": 20},
    {"name": "ALE/Pong-v5", "max_t": 30},
    {"name": "ALE/Breakout-v5", "life_loss_info": True, "max_t": 90},
    {"name": "CartPole-v1", "backend": "torch"},
    {"name": "Acrobot-v1", "backend": "torch", "max_t": 30},
    {"name": "Pendulum-v1", "backend": "torch", "max_t": 30},
    {"name": "MountainCar-v0", "backend": "torch", "max_t": 30},
    {"name": "MountainCarContinuous-v0", "backend": "torch", "max_t": 30},
    {"name": "CartPole-v1", "backend": "envpool"},
    {"name": "LunarLander-v3", "backend": "envpool", "max_t": 80, "continuous": True},
    {"name": "HalfCheetah-v5", "backend": "envpool", "max_t": 20},
    {"name": "ALE/Breakout-v5", "backend": "envpool", "life_loss_info": True, "max_t": 90},
]
"""Environments of every backend, which ``env.backend`` names where the id does not."""
OPTIONAL = {"playground"}
"""Backends whose library is not among what the tests install."""
STEPS = {"CarRacing-v3": 12}
"""Vector steps that are played, where 200 would take long."""


def label(env: dict[str, Any]) -> str:
    """Backend, id, and the keys that make it another environment."""
    more = [key for key in env if key not in ("name", "backend", "max_t")]
    return "-".join([EnvParams(**env, max_frame=1).library, env["name"], *more])


LABELLED = {label(env): env for env in ENVS}
every_env = pytest.mark.parametrize("env", ENVS, ids=label)


@pytest.fixture(autouse=True)
def _installed(request: pytest.FixtureRequest) -> None:
    if "env" in request.fixturenames:
        env = request.getfixturevalue("env")
        if env.get("backend") == "envpool":
            needs("envpool", extra="envpool")


def open_env(env: dict[str, Any], keys: Keys = KEYS, num_envs: int = 3, **more: Any) -> VectorEnv:
    return make_env(EnvParams(**{"num_envs": num_envs, "max_frame": 1} | env | more), keys)


def as_arrays(step: Step) -> Step:
    """A step that later calls cannot write over."""
    full = step._replace(over=step.ended)
    return Step(*(np.array(torch.as_tensor(part).cpu()) for part in full))


def play(env: VectorEnv, steps: int | None = None, seed: int = 0) -> tuple[np.ndarray, list[Step]]:
    """First observations, and ``steps`` random vector steps."""
    torch.manual_seed(seed)
    steps = steps or STEPS.get(env.info.name, 200)
    first = np.array(torch.as_tensor(env.reset()).cpu())
    actions = (random_action(env.info.action, env.info.num_envs, "cpu") for _ in range(steps))
    return first, [as_arrays(env.step(action)) for action in actions]


class Played(NamedTuple):
    """What an environment shows in its first random vector steps."""

    info: EnvInfo
    first: np.ndarray
    steps: list[Step]


@pytest.fixture(scope="module")
def played() -> Callable[[dict[str, Any]], Played]:
    """What an environment of ``ENVS`` shows to every test, played once."""

    @functools.cache
    def of(name: str) -> Played:
        vector = open_env(LABELLED[name])
        shown = Played(vector.info, *play(vector))
        vector.close()
        return shown

    return lambda env: of(label(env))


def assert_same(one: list[Step], other: list[Step]) -> None:
    for a, b in zip(one, other, strict=True):
        for x, y in zip(a, b):
            np.testing.assert_array_equal(x, y)


@every_env
def test_shapes_and_types(env):
    vector = open_env(env)
    info = vector.info
    first, steps = play(vector, 5)
    assert info.num_envs == 3
    assert info.obs_dtype in (torch.float32, torch.uint8)
    assert (first.dtype == np.uint8) == (info.obs_dtype == torch.uint8)
    assert first.shape == (3, *info.obs_shape)
    for step in steps:
        assert step.next_obs.shape == step.obs.shape == (3, *info.obs_shape)
        for part in (step.reward, step.terminated, step.truncated, step.over):
            assert part.shape == (3,)
        assert step.terminated.dtype == step.truncated.dtype == step.over.dtype == bool
        assert np.isfinite(step.reward).all()
        assert np.isfinite(step.next_obs).all()
    vector.close()


@every_env
def test_the_same_keys_give_the_same_episodes(env, played):
    runs = []
    for keys in (KEYS, Keys(6), Keys(5, session=1)):
        vector = open_env(env, keys)
        runs.append(play(vector, None if keys == KEYS else 20))
        vector.close()
    _, first, steps = played(env)
    np.testing.assert_array_equal(first, runs[0][0])
    assert_same(steps, runs[0][1])
    for other, others in runs[1:]:
        assert not np.array_equal(first, other) or any(
            not np.array_equal(a.obs, b.obs) for a, b in zip(steps, others)
        )


@every_env
def test_a_reset_starts_the_same_episodes_again(env, played):
    vector = open_env(env)
    play(vector, 30)
    _, first, steps = played(env)
    again, same = play(vector)
    np.testing.assert_array_equal(first, again)
    assert_same(steps, same)
    vector.close()


@every_env
def test_only_finished_episodes_are_replaced(env, played):
    """Where nothing ended the agent acts next from the successor; where something ended it acts from a
    first observation of its own, and the successor is still the true one."""
    info, _, steps = played(env)
    ended = [step.over for step in steps]
    assert np.sum(ended) >= 3, "the test is to see ends of episodes"
    for step, over in zip(steps, ended):
        assert (step.terminated | step.truncated)[over].all()
        np.testing.assert_array_equal(step.obs[~over], step.next_obs[~over])
        for i in np.flatnonzero(over):
            assert (step.obs[i] != step.next_obs[i]).any()
    if info.name.startswith("ALE/"):  # a game has only 30 beginnings
        return
    starts = np.concatenate([step.obs[over] for step, over in zip(steps, ended)])
    assert len(np.unique(starts, axis=0)) == len(starts), "every episode has its own seed"


@every_env
def test_stacks_begin_with_zeros_and_move_by_one(env, played):
    info, obs, steps = played(env)
    n = info.frame_stack
    begins = np.ones(3, dtype=bool)
    for step in steps:
        old, new = (x.reshape(3, n, -1) for x in (obs, step.next_obs))
        assert not old[begins, :-1].any()
        np.testing.assert_array_equal(new[:, :-1], old[:, 1:])
        obs, begins = step.obs, step.over


@every_env
def test_sub_environments_do_not_touch_each_other(env):
    """The first of three sees the same as alone, given the same actions."""
    three, alone = open_env(env), open_env(env, num_envs=1)
    three.reset()
    alone.reset()
    torch.manual_seed(0)
    for _ in range(STEPS.get(env["name"], 200)):
        action = random_action(three.info.action, 3, "cpu")
        many, one = as_arrays(three.step(action)), as_arrays(alone.step(action[:1]))
        assert_same([Step(*(part[:1] for part in many))], [one])
    three.close()
    alone.close()


@every_env
def test_running_episodes_can_be_brought_back(env):
    vector = open_env(env)
    play(vector, min(70, STEPS.get(env["name"], 70)))
    state = vector.state_dict()
    torch.manual_seed(1)
    steps = STEPS.get(env["name"], 60)
    actions = [random_action(vector.info.action, 3, "cpu") for _ in range(steps)]
    expected = [as_arrays(vector.step(action)) for action in actions]
    vector.close()
    other = open_env(env)
    other.load_state_dict(state)
    assert_same([as_arrays(other.step(action)) for action in actions], expected)
    other.close()


ONE_OF_EACH = list({EnvParams(**env, max_frame=1).library: env for env in ENVS}.values())
every_backend = pytest.mark.parametrize("env", ONE_OF_EACH, ids=label)


def test_every_backend_is_tested_where_it_is_installed():
    assert {EnvParams(**env, max_frame=1).library for env in ENVS} >= BACKENDS.keys() - OPTIONAL


@every_backend
def test_streams_have_seeds_of_their_own(env):
    params = EnvParams(**env, num_envs=2, max_frame=1)
    seen = set()
    for stream in (Stream.ENV, Stream.EVAL, Stream.ENJOY):
        vector = make_env(params, KEYS, stream)
        first, steps = play(vector, 20)
        seen.add(first.tobytes() + steps[-1].next_obs.tobytes())
        vector.close()
    assert len(seen) == 3


@every_env
def test_truncated_by_the_time_limit(env):
    """An episode as long as ``max_t`` is truncated, and none is longer."""
    limit = 4
    vector = open_env(env | {"max_t": limit})
    assert vector.info.max_episode_steps == limit
    age = np.zeros(3, dtype=int)
    for step in play(vector, 3 * limit)[1]:
        age += 1
        assert (age[step.truncated] == limit).all()
        assert (step.terminated | step.truncated)[age == limit].all()
        age[step.over] = 0
    assert step.truncated.any()
    vector.close()


@every_backend
def test_rewards_are_raw(env):
    """Normalising, scaling and clipping are not the backend's."""
    keys = {"reward_scale": 0.1, "clip_reward": 0.5, "normalize_reward": True, "normalize_obs": True}
    plain, keyed = (open_env(env, **more) for more in ({}, keys))
    assert_same(play(plain, 20)[1], play(keyed, 20)[1])
    plain.close()
    keyed.close()
