"""The Gymnasium backend: where episodes end, and that the mode of running changes nothing."""

from __future__ import annotations

import numpy as np
import torch

from slm_lightning.core import Keys, Step
from tests.contracts.test_backends import assert_same, open_env, play
from tests.envs.probes import probe


def rows(steps: int, **keys) -> list[Step]:
    """``Counter`` shows the number of its episode and the steps so far in every row."""
    env = open_env(probe("Counter"), Keys(5), **keys)
    first, steps_made = play(env, steps)
    env.close()
    assert (first[:, 1] == 0).all()
    return steps_made


def test_truncated_by_the_time_limit():
    for t, step in enumerate(rows(20, max_t=5), start=1):
        ended = t % 5 == 0
        assert (step.truncated == ended).all()
        assert not step.terminated.any()
        assert (step.next_obs[:, 1] == (t - 1) % 5 + 1).all()
        assert (step.obs[:, 1] == t % 5).all()


def test_terminated_by_the_environment():
    for t, step in enumerate(rows(20, length=4), start=1):
        assert (step.terminated == (t % 4 == 0)).all()
        assert not step.truncated.any()


def test_both_at_once():
    last = rows(4, length=4, max_t=4)[-1]
    assert last.terminated.all()


def test_no_row_is_made_up():
    """Every row belongs to one episode: its number stays, and its steps count by one."""
    env = open_env(probe("Counter"), length=4, max_t=3)
    obs, steps = play(env, 20)
    env.close()
    for step in steps:
        np.testing.assert_array_equal(step.next_obs[:, 0], obs[:, 0])
        np.testing.assert_array_equal(step.next_obs[:, 1], obs[:, 1] + 1)
        obs = step.obs


def test_sub_environments_end_on_their_own():
    env = open_env({"name": "CartPole-v1"}, num_envs=4)
    _, steps = play(env)
    env.close()
    ended = np.array([step.terminated for step in steps])
    assert any(0 < row.sum() < 4 for row in ended)


def test_continuous_actions_fill_the_box():
    """``Counter`` rewards the sum of its action, from a Box of -1 to 3."""
    env = open_env(probe("Counter"), kind="continuous", num_envs=5)
    env.reset()
    step = env.step(torch.tensor([[-7.0], [-1.0], [0.0], [1.0], [7.0]]))
    assert np.array(step.reward).tolist() == [-1.0, -1.0, 1.0, 3.0, 3.0]
    env.close()


def test_async_runs_bit_for_bit_as_sync():
    for env in ({"name": "CartPole-v1"}, {"name": "LunarLander-v3", "max_t": 30, "continuous": True}):
        sync, parallel = (
            open_env(env, vectorization_mode=mode, num_envs=2) for mode in ("sync", "async")
        )
        first, steps = play(sync, 100)
        other, same = play(parallel, 100)
        np.testing.assert_array_equal(first, other)
        assert_same(steps, same)
        sync.close()
        parallel.close()


def test_repeated_actions_sum_their_rewards_and_share_the_limits():
    """Five steps of a game with a limit of four decisions are two decisions, the last of one step."""
    env = open_env(probe("Counter"), length=5, max_t=4, action_repeat=3, num_envs=1)
    assert env.info.max_episode_steps == 4
    env.reset()
    steps = [env.step(torch.tensor([2])) for _ in range(2)]
    assert [float(step.reward[0]) for step in steps] == [6.0, 4.0]
    assert [bool(step.terminated[0]) for step in steps] == [False, True]
    env.close()
    env = open_env({"name": "Pendulum-v1"}, action_repeat=7)  # 200 steps are 28 decisions and a bit
    assert env.info.max_episode_steps == 29
    ended = [step.truncated.all() for step in play(env, 29)[1]]
    assert ended == [False] * 28 + [True]
    env.close()
