"""The Gymnasium backend: the right physics, spaces of every kind, and every way it can say no."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from slm_lightning.core import Keys, Stream
from slm_lightning.envs import make_env
from slm_lightning.envs.gym_backend import ActionMap, GymVectorEnv
from slm_lightning.envs.gym_making import time_limit
from slm_lightning.errors import CrashError, MissingError, SpecError
from slm_lightning.rl.exploration import random_action
from slm_lightning.spec.model import EnvParams
from tests.envs.misbehaving import misbehaving
from tests.envs.probes import Identity, probe

KEYS = Keys(11)


def params(name: str | dict = "CartPole-v1", **keys) -> EnvParams:
    section = name if isinstance(name, dict) else {"name": name}
    return EnvParams(**{"num_envs": 2, "max_frame": 1000} | section | keys)


def open_env(name: str | dict = "CartPole-v1", **keys) -> GymVectorEnv:
    return GymVectorEnv(params(name, **keys), KEYS)


SCALAR = [
    ("CartPole-v1", {}, 120),
    ("Acrobot-v1", {"max_t": 40}, 90),
    ("Pendulum-v1", {}, 430),
    ("MountainCarContinuous-v0", {"max_t": 30}, 70),
    ("LunarLander-v3", {}, 250),
    ("LunarLander-v3", {"continuous": True}, 250),
]


@pytest.mark.parametrize(("name", "keys", "steps"), SCALAR)
def test_every_row_is_what_a_scalar_environment_does(name, keys, steps):
    """Each sub-environment is one scalar environment, reset from the key of its episode and stepped
    with the same actions: the same rewards, ends, and successors, at episode ends too."""
    vector = open_env(name, num_envs=3, **keys)
    options = {"continuous": True} if keys.get("continuous") else {}
    limit = {"max_episode_steps": keys["max_t"]} if "max_t" in keys else {}
    scalars = [gym.make(name, **options, **limit) for _ in range(3)]
    episode = [0, 0, 0]
    seeds = lambda i: KEYS.seed_for(Stream.ENV, i, episode[i])  # noqa: E731
    obs = vector.reset().copy()
    expected = [env.reset(seed=seeds(i))[0] for i, env in enumerate(scalars)]
    torch.manual_seed(0)
    for _ in range(steps):
        np.testing.assert_array_equal(obs, expected)
        action = random_action(vector.info.action, 3, "cpu")
        step = vector.step(action)
        taken = vector.actions(action)
        for i, env in enumerate(scalars):
            next_obs, reward, terminated, truncated, _ = env.step(taken[i])
            np.testing.assert_array_equal(step.next_obs[i], next_obs)
            assert step.reward[i] == reward
            assert (step.terminated[i], step.truncated[i]) == (terminated, truncated)
            expected[i] = next_obs
            if terminated or truncated:
                episode[i] += 1
                expected[i] = env.reset(seed=seeds(i))[0]
        obs = step.obs.copy()
    assert min(episode) >= 1, "the test is to see ends of episodes"
    vector.close()


@pytest.mark.parametrize("kind", Identity.SPACES)
def test_spaces_of_actions(kind):
    env = open_env(probe("Identity", kind=kind))
    assert env.info.action.kind == kind
    sizes = {"discrete": (3,), "multi_discrete": (2, 3), "multi_binary": (3,), "continuous": (2,)}
    assert env.info.action.sizes == sizes[kind]
    env.reset()
    torch.manual_seed(0)
    for _ in range(20):
        env.step(random_action(env.info.action, 2, "cpu"))  # the probe refuses what is not in its space
    env.close()


def test_continuous_actions_are_mapped_to_the_box_and_clipped_to_it():
    box = spaces.Box(np.array([-2.0, 0.0]), np.array([2.0, 10.0]), dtype=np.float64)
    to_box = ActionMap(box)
    agent = torch.tensor([[-1.0, -1.0], [0.0, 0.0], [0.5, 0.5], [1.0, 1.0], [9.0, -9.0]])
    expected = [[-2.0, 0.0], [0.0, 5.0], [1.0, 7.5], [2.0, 10.0], [2.0, 0.0]]
    np.testing.assert_array_equal(to_box(agent), expected)
    assert to_box(agent).dtype == np.float64


def test_a_box_without_bounds_takes_actions_as_they_are():
    to_box = ActionMap(spaces.Box(-np.inf, np.inf, (1,)))
    np.testing.assert_array_equal(to_box(torch.tensor([[-50.0], [3.0]])), [[-50.0], [3.0]])
    half_open = ActionMap(spaces.Box(0, np.inf, (1,)))
    np.testing.assert_array_equal(half_open(torch.tensor([[-50.0], [3.0]])), [[0.0], [3.0]])


def test_a_box_of_integers_takes_the_nearest():
    to_box = ActionMap(spaces.Box(0, 3, (1,), dtype=np.int64))
    taken = to_box(torch.tensor([[-1.0], [-0.4], [0.4], [0.9], [5.0]]))  # 0, 0.9, 2.1, 2.85, 3
    assert taken.ravel().tolist() == [0, 1, 2, 3, 3]
    assert taken.dtype == np.int64


def test_a_box_as_wide_as_its_type_does_not_overflow():
    to_box = ActionMap(spaces.Box(-3e38, 3e38, (1,)))
    np.testing.assert_allclose(to_box(torch.tensor([[0.5], [-1.0]])), [[1.5e38], [-3e38]], rtol=1e-6)


def test_actions_of_any_shape():
    to_box = ActionMap(spaces.Box(-1, 1, (2, 3)))
    assert to_box.spec.sizes == (6,)
    assert to_box(torch.zeros(4, 6)).shape == (4, 2, 3)


def test_discrete_actions_start_where_the_space_starts():
    assert ActionMap(spaces.Discrete(3, start=-1))(torch.tensor([0, 2])).tolist() == [-1, 1]
    shifted = ActionMap(spaces.MultiDiscrete([2, 3], start=[5, 0]))
    assert shifted(torch.tensor([[1, 2]])).tolist() == [[6, 2]]


class Showing(gym.Env):
    """Shows, and wants, samples of the spaces it is given."""

    def __init__(self, shows: gym.Space, wants: gym.Space | None = None):
        self.observation_space = shows
        self.action_space = wants or spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


def showing(shows: gym.Space, wants: gym.Space | None = None) -> dict:
    return {"name": "Showing-v0", "entry_point": f"{__name__}:Showing", "shows": shows, "wants": wants}


@pytest.mark.parametrize(
    ("space", "shape", "dtype"),
    [
        (spaces.Box(-1, 1, (3,)), (3,), torch.float32),
        (spaces.Box(-1, 1, ()), (1,), torch.float32),
        (spaces.Box(0, 255, (4, 8, 8), dtype=np.uint8), (4, 8, 8), torch.uint8),
        (spaces.Box(-1, 1, (3,), dtype=np.float64), (3,), torch.float32),
        (spaces.Discrete(5), (5,), torch.float32),
        (spaces.MultiBinary(4), (4,), torch.float32),
        (spaces.MultiDiscrete([2, 3]), (5,), torch.float32),
        (spaces.Dict(a=spaces.Box(-1, 1, (2, 2)), b=spaces.Discrete(3)), (7,), torch.float32),
        (spaces.Tuple([spaces.Box(-1, 1, (2,)), spaces.Discrete(3)]), (5,), torch.float32),
    ],
)
def test_spaces_of_observations(space, shape, dtype):
    env = open_env(showing(space))
    assert (env.info.obs_shape, env.info.obs_dtype) == (shape, dtype)
    assert env.reset().shape == (2, *shape)
    assert env.step(torch.tensor([0, 1])).next_obs.shape == (2, *shape)
    env.close()


def test_a_discrete_observation_is_one_hot():
    env = open_env(showing(spaces.Discrete(5)))
    scalar = spaces.Discrete(5)
    scalar.seed(KEYS.seed_for(Stream.ENV, 0, 0))
    assert env.reset()[0].tolist() == np.eye(5)[scalar.sample()].tolist()


@pytest.mark.parametrize(
    "space", [spaces.Sequence(spaces.Discrete(2)), spaces.Graph(spaces.Discrete(2), None)]
)
def test_observations_without_a_size_are_a_spec_error(space):
    with pytest.raises(SpecError, match=r"env\.name: Showing-v0 has .* no fixed size"):
        open_env(showing(space))


@pytest.mark.parametrize(
    "space",
    [
        spaces.Dict(a=spaces.Discrete(2)),
        spaces.Tuple([spaces.Discrete(2)]),
        spaces.MultiBinary((2, 2)),
        spaces.MultiDiscrete([[2, 3], [4, 5]]),
    ],
)
def test_actions_that_no_agent_can_take_are_a_spec_error(space):
    with pytest.raises(SpecError, match=r"action space .* is not supported"):
        open_env(showing(spaces.Box(-1, 1, (2,)), space))


def test_an_unknown_environment_is_missing_and_similar_ones_are_named():
    with pytest.raises(MissingError, match='"CartPoll-v1" is not registered') as caught:
        open_env("CartPoll-v1")
    assert "CartPole-v1" in caught.value.hint
    with pytest.raises(MissingError) as caught:
        open_env("my_own_robot-v7")
    assert "env.entry_point" in caught.value.hint


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_an_unknown_keyword_is_a_spec_error_that_names_it(mode):
    with pytest.raises(SpecError) as caught:
        open_env("CartPole-v1", gravitation=3, vectorization_mode=mode)
    assert caught.value.problems[0].path == "env.gravitation"
    assert "neither a key of env nor an argument of CartPole-v1" in str(caught.value)


def test_keywords_reach_the_environment():
    env = open_env("LunarLander-v3", continuous=True)
    assert env.info.action.kind == "continuous"
    env.close()


@pytest.mark.parametrize(
    ("entry_point", "word"),
    [
        ("no_such_module:Env", "no_such_module"),
        ("tests.envs.probes:NoSuchEnv", "NoSuchEnv"),
        ("tests.envs.probes", "tests.envs.probes"),
        ("", "import"),
    ],
)
def test_an_entry_point_that_cannot_be_imported_is_a_spec_error(entry_point, word):
    with pytest.raises(SpecError, match=word) as caught:
        open_env("Mine-v0", entry_point=entry_point)
    assert caught.value.problems[0].path == "env.entry_point"


def test_an_entry_point_is_not_hidden_by_another_environment_of_that_name():
    """Two own environments under one name, and one under the name of a registered one."""
    shapes = []
    for name, cls in [("Own-v0", "ConstantReward"), ("Own-v0", "Counter"), ("CartPole-v1", "Counter")]:
        env = open_env(name, entry_point=f"tests.envs.probes:{cls}")
        shapes.append(env.info.obs_shape)
        env.close()
    assert shapes == [(1,), (2,), (2,)]


def test_an_environment_that_breaks_when_it_is_made_is_explained():
    with pytest.raises(MissingError, match="cannot be made: KeyError"):
        open_env(probe("Identity", kind="no such kind"))


def test_a_name_that_is_no_id_is_said_to_be_one():
    with pytest.raises(MissingError, match=r"my env cannot be made: .*Malformed"):
        open_env("my env", entry_point="tests.envs.probes:Counter")


@pytest.mark.parametrize(
    ("name", "max_t", "limit"),
    [("CartPole-v1", None, 500), ("CartPole-v1", 20, 20), ("CartPole-v1", 900, 500)],
)
def test_the_time_limit_is_the_smaller_of_max_t_and_the_environments(name, max_t, limit):
    assert time_limit(params(name, max_t=max_t)) == limit
    env = open_env(name, max_t=max_t)
    assert env.info.max_episode_steps == limit
    env.close()


def test_a_module_in_the_name_is_imported_first(tmp_path, monkeypatch):
    """Gymnasium's own notation for environments that register themselves."""
    (tmp_path / "counting_envs.py").write_text(
        "import gymnasium\n"
        "gymnasium.register('Counting-v0', 'tests.envs.probes:Counter', max_episode_steps=9)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    env = open_env("counting_envs:Counting-v0", max_t=20)
    assert env.info.max_episode_steps == 9
    env.close()
    with pytest.raises(MissingError, match="no_such_module"):
        open_env("no_such_module:Counting-v0")


def test_own_environments_have_no_limit_but_max_t():
    assert open_env(probe("Counter")).info.max_episode_steps is None
    assert open_env(probe("Counter"), max_t=7).info.max_episode_steps == 7


def test_render_is_a_picture_of_the_first_sub_environment():
    env = make_env(params(), KEYS, num_envs=1, render_mode="rgb_array")
    env.reset()
    picture = env.render()
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    env.close()


def test_an_environment_that_would_end_the_program_has_crashed():
    env = open_env(misbehaving("quit", at=3), num_envs=1)
    env.reset()
    with pytest.raises(
        CrashError, match=r"raised SystemExit: 3 \(tests/envs/misbehaving.py:\d+\) in step 3"
    ):
        for _ in range(3):
            env.step(torch.zeros(1, dtype=torch.long))
