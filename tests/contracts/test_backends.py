"""What the lab asks of every backend, whatever library runs its environments."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from slm_lightning.core import Keys, Step, Stream, VectorEnv
from slm_lightning.envs import BACKENDS, make_env
from slm_lightning.rl.exploration import random_action
from slm_lightning.spec.model import EnvParams
from tests.envs.probes import probe

KEYS = Keys(5)
ENVS = [
    {"name": "CartPole-v1"},
    {"name": "Acrobot-v1", "max_t": 30},
    {"name": "Pendulum-v1", "max_t": 30},
    {"name": "MountainCarContinuous-v0", "max_t": 30},
    {"name": "LunarLander-v3", "max_t": 80},
    {"name": "LunarLander-v3", "max_t": 80, "continuous": True},
]
STEPS = 200

pytestmark = pytest.mark.parametrize("backend", BACKENDS)
every_env = pytest.mark.parametrize(
    "env", ENVS, ids=lambda env: "-".join([env["name"], *(["continuous"] if len(env) > 2 else [])])
)


def open_env(backend: str, env: dict, keys: Keys = KEYS, num_envs: int = 3, **more) -> VectorEnv:
    return make_env(EnvParams(**env | more, backend=backend, num_envs=num_envs, max_frame=1), keys)


def as_arrays(step: Step) -> Step:
    """A step that later calls cannot write over."""
    return Step(*(np.array(torch.as_tensor(part).cpu()) for part in step))


def play(env: VectorEnv, steps: int = STEPS, seed: int = 0) -> tuple[np.ndarray, list[Step]]:
    """First observations, and ``steps`` random vector steps."""
    torch.manual_seed(seed)
    first = np.array(torch.as_tensor(env.reset()).cpu())
    actions = (random_action(env.info.action, env.info.num_envs, "cpu") for _ in range(steps))
    return first, [as_arrays(env.step(action)) for action in actions]


def assert_same(one: list[Step], other: list[Step]) -> None:
    for a, b in zip(one, other, strict=True):
        for x, y in zip(a, b):
            np.testing.assert_array_equal(x, y)


@every_env
def test_shapes_and_types(backend, env):
    vector = open_env(backend, env)
    info = vector.info
    first, steps = play(vector, 5)
    assert info.num_envs == 3
    assert info.obs_dtype in (torch.float32, torch.uint8)
    assert first.shape == (3, *info.obs_shape)
    for step in steps:
        assert step.next_obs.shape == step.obs.shape == (3, *info.obs_shape)
        assert step.reward.shape == step.terminated.shape == step.truncated.shape == (3,)
        assert step.terminated.dtype == step.truncated.dtype == bool
        assert np.isfinite(step.reward).all()
        assert np.isfinite(step.next_obs).all()
    vector.close()


@every_env
def test_the_same_keys_give_the_same_episodes(backend, env):
    runs = []
    for keys in (KEYS, KEYS, Keys(6), Keys(5, session=1), Keys(5, trial=1)):
        vector = open_env(backend, env, keys)
        runs.append(play(vector))
        vector.close()
    first, steps = runs[0]
    np.testing.assert_array_equal(first, runs[1][0])
    assert_same(steps, runs[1][1])
    for other, _ in runs[2:]:
        assert not np.array_equal(first, other)


@every_env
def test_a_reset_starts_the_same_episodes_again(backend, env):
    vector = open_env(backend, env)
    first, steps = play(vector)
    again, same = play(vector)
    np.testing.assert_array_equal(first, again)
    assert_same(steps, same)
    vector.close()


@every_env
def test_only_finished_episodes_are_replaced(backend, env):
    """Where nothing ended the agent acts next from the successor; where something ended it acts from a
    first observation of its own, and the successor is still the true one."""
    vector = open_env(backend, env)
    _, steps = play(vector)
    done = [step.terminated | step.truncated for step in steps]
    assert np.sum(done) >= 3, "the test is to see ends of episodes"
    for step, ended in zip(steps, done):
        np.testing.assert_array_equal(step.obs[~ended], step.next_obs[~ended])
        assert (step.obs[ended] != step.next_obs[ended]).any(axis=-1).all()
    starts = np.concatenate([step.obs[ended] for step, ended in zip(steps, done)])
    assert len(np.unique(starts, axis=0)) == len(starts), "every episode has its own seed"
    vector.close()


@every_env
def test_sub_environments_do_not_touch_each_other(backend, env):
    """The first of three sees the same as alone, given the same actions."""
    three, alone = open_env(backend, env), open_env(backend, env, num_envs=1)
    three.reset()
    alone.reset()
    torch.manual_seed(0)
    for _ in range(STEPS):
        action = random_action(three.info.action, 3, "cpu")
        many, one = as_arrays(three.step(action)), as_arrays(alone.step(action[:1]))
        assert_same([Step(*(part[:1] for part in many))], [one])
    three.close()
    alone.close()


def test_streams_have_seeds_of_their_own(backend):
    params = EnvParams(name="CartPole-v1", backend=backend, num_envs=2, max_frame=1)
    first = {}
    for stream in (Stream.ENV, Stream.EVAL, Stream.ENJOY):
        env = make_env(params, KEYS, stream)
        first[stream] = np.array(env.reset())
        env.close()
    assert len({obs.tobytes() for obs in first.values()}) == 3


@every_env
def test_running_episodes_can_be_brought_back(backend, env):
    vector = open_env(backend, env)
    play(vector, 70)
    state = vector.state_dict()
    torch.manual_seed(1)
    actions = [random_action(vector.info.action, 3, "cpu") for _ in range(60)]
    expected = [as_arrays(vector.step(action)) for action in actions]
    vector.close()
    other = open_env(backend, env)
    other.load_state_dict(state)
    assert_same([as_arrays(other.step(action)) for action in actions], expected)
    other.close()


class TestEndsOfEpisodes:
    """``Counter`` shows the number of its episode and the steps so far in every row."""

    def rows(self, backend: str, steps: int, **keys) -> list[Step]:
        env = open_env(backend, probe("Counter"), **keys)
        first, rows = play(env, steps)
        env.close()
        assert (first[:, 1] == 0).all()
        return rows

    def test_truncated_by_the_time_limit(self, backend):
        for t, step in enumerate(self.rows(backend, 20, max_t=5), start=1):
            ended = t % 5 == 0
            assert (step.truncated == ended).all()
            assert not step.terminated.any()
            assert (step.next_obs[:, 1] == (t - 1) % 5 + 1).all()
            assert (step.obs[:, 1] == t % 5).all()

    def test_terminated_by_the_environment(self, backend):
        for t, step in enumerate(self.rows(backend, 20, length=4), start=1):
            assert (step.terminated == (t % 4 == 0)).all()
            assert not step.truncated.any()

    def test_both_at_once(self, backend):
        last = self.rows(backend, 4, length=4, max_t=4)[-1]
        assert last.terminated.all()

    def test_no_row_is_made_up(self, backend):
        """Every row belongs to one episode: its number stays, and its steps count by one."""
        env = open_env(backend, probe("Counter"), length=4, max_t=3)
        obs, rows = play(env, 20)
        env.close()
        for step in rows:
            np.testing.assert_array_equal(step.next_obs[:, 0], obs[:, 0])
            np.testing.assert_array_equal(step.next_obs[:, 1], obs[:, 1] + 1)
            obs = step.obs

    def test_sub_environments_end_on_their_own(self, backend):
        env = open_env(backend, {"name": "CartPole-v1"}, num_envs=4)
        _, steps = play(env)
        env.close()
        ended = np.array([step.terminated for step in steps])
        assert any(0 < row.sum() < 4 for row in ended)


def test_rewards_are_raw(backend):
    """Normalising, scaling and clipping are not the backend's."""
    keys = {"reward_scale": 0.1, "clip_reward": 1, "normalize_reward": True, "normalize_obs": True}
    plain, keyed = (open_env(backend, {"name": "Pendulum-v1"}, **more) for more in ({}, keys))
    assert_same(play(plain, 20)[1], play(keyed, 20)[1])
    plain.close()
    keyed.close()


def test_continuous_actions_fill_the_box(backend):
    """``Counter`` rewards the sum of its action, from a Box of -1 to 3."""
    env = open_env(backend, probe("Counter"), kind="continuous", num_envs=5)
    env.reset()
    step = env.step(torch.tensor([[-7.0], [-1.0], [0.0], [1.0], [7.0]]))
    assert np.array(step.reward).tolist() == [-1.0, -1.0, 1.0, 3.0, 3.0]
    env.close()


def test_async_runs_bit_for_bit_as_sync(backend):
    for env in ({"name": "CartPole-v1"}, {"name": "LunarLander-v3", "max_t": 30, "continuous": True}):
        sync, parallel = (
            open_env(backend, env, vectorization_mode=mode, num_envs=2) for mode in ("sync", "async")
        )
        first, steps = play(sync, 100)
        other, same = play(parallel, 100)
        np.testing.assert_array_equal(first, other)
        assert_same(steps, same)
        sync.close()
        parallel.close()
