"""Running statistics against NumPy, and against Gymnasium's wrappers on the same stream."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.wrappers.vector import NormalizeObservation, NormalizeReward
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from slm_lightning.rl.normalizers import (
    Normalizers,
    ObsNormalizer,
    PercentileScale,
    RewardNormalizer,
    RunningMoments,
    TargetScale,
    clamp_scaled,
)
from slm_lightning.spec.model import EnvParams


@given(
    st.lists(
        st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=1, max_size=5),
        min_size=1,
        max_size=5,
    )
)
def test_running_moments_equal_numpy_over_all_rows(batches):
    """The start counts as 1e-4 rows of mean 0 and variance 1."""
    moments = RunningMoments((2,))
    for rows in batches:
        moments.update(torch.tensor(rows, dtype=torch.float64))
    rows = np.concatenate(batches)
    n, total = len(rows), len(rows) + 1e-4
    mean = rows.mean(0) * n / total
    second = (rows.var(0) + rows.mean(0) ** 2) * n + 1e-4
    assert_close(moments.mean, torch.from_numpy(mean), rtol=1e-9, atol=1e-9)
    assert_close(moments.var, torch.from_numpy(second / total - mean**2), rtol=1e-6, atol=1e-6)
    assert moments.count.item() == pytest.approx(total)


def test_running_moments_are_nearly_those_of_the_data(rng):
    moments, rows = RunningMoments((3,)), torch.randn(500, 3, generator=rng) * 7 + 100
    for part in rows.split(7):
        moments.update(part)
    assert_close(moments.mean, rows.double().mean(0), rtol=1e-5, atol=0)
    assert_close(moments.var, rows.double().var(0, correction=0), rtol=1e-2, atol=0)


def test_running_moments_keep_their_precision_far_from_zero(rng):
    """A sum of squares in float32 would lose these deviations altogether."""
    moments, rows = RunningMoments(), torch.randn(10_000, generator=rng).double() + 1e6
    for part in rows.split(10):
        moments.update(part)
    shift = 1e-4 * 1e6**2 / 10_000  # what the 1e-4 rows at 0 add to the variance
    assert moments.var.item() == pytest.approx(rows.var().item() + shift, rel=1e-2)


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_observations_are_normalised_as_by_gymnasium(env_id):
    """The wrapper is fed by next-step autoreset; what it sees is given to ours row by row."""
    wrapped = NormalizeObservation(gym.make_vec(env_id, 3, vectorization_mode="sync"))
    raw = gym.make_vec(env_id, 3, vectorization_mode="sync")
    ours = ObsNormalizer(raw.single_observation_space.shape, normalize=True, clip=None)
    raw.action_space.seed(0)
    expected, obs = wrapped.reset(seed=5)[0], raw.reset(seed=5)[0]
    for _ in range(300):
        ours.update(torch.from_numpy(obs))
        out = ours(torch.from_numpy(obs))
        assert out.dtype == torch.float32
        np.testing.assert_allclose(out, expected, rtol=1e-3, atol=1e-4)  # its statistics are float32
        action = raw.action_space.sample()
        expected, obs = wrapped.step(action)[0], raw.step(action)[0]


@pytest.mark.parametrize(("env_id", "num_envs"), [("CartPole-v1", 1), ("Pendulum-v1", 4)])
def test_rewards_are_normalised_as_by_gymnasium(env_id, num_envs):
    """Many terminations (CartPole) and truncations (Pendulum); the wrapper's resetting steps, in which
    nobody acts, are no rows of ours. All sub-environments end at the same time."""
    gamma = 0.97
    envs = NormalizeReward(gym.make_vec(env_id, num_envs, vectorization_mode="sync"), gamma=gamma)
    raw = gym.make_vec(env_id, num_envs, vectorization_mode="sync")
    raw.action_space.seed(0)
    envs.reset(seed=5)
    raw.reset(seed=5)
    expected, rewards, ends, resetting = [], [], [], False
    for _ in range(700):
        action = raw.action_space.sample()
        normalised = envs.step(action)[1]
        _, reward, terminated, truncated, _ = raw.step(action)
        if not resetting:
            expected.append(normalised)
            rewards.append(reward)
            ends.append(terminated)
        resetting = bool((terminated | truncated)[0])
    ours = RewardNormalizer(num_envs, gamma, normalize=True, scale=1.0, clip=None)
    reward, terminated = torch.tensor(np.array(rewards)).float(), torch.tensor(np.array(ends))
    out = torch.cat([ours(*part) for part in zip(reward.split(64), terminated.split(64))])
    assert out.dtype == torch.float32
    np.testing.assert_allclose(out, np.array(expected), rtol=1e-4)


def test_reward_normalising_by_hand():
    # γ = 0.5, one sub-environment. acc = 2, then 0.5 * 2 + 4 = 5, then (terminated) 6.
    # The variances are those of {2}, {2, 5}, {2, 5, 6} and of the 1e-4 rows of mean 0, variance 1.
    ours = RewardNormalizer(1, 0.5, normalize=True, scale=1.0, clip=None)
    out = ours(torch.tensor([[2.0], [4.0], [6.0]]), torch.tensor([[False], [False], [True]]))
    moments = RunningMoments()
    for reward, acc, normalised in zip((2.0, 4.0, 6.0), (2.0, 5.0, 6.0), out):
        moments.update(torch.tensor([acc]))
        assert normalised.item() == pytest.approx(reward / (moments.var.item() + 1e-8) ** 0.5)


def test_rewards_are_scaled_then_clipped():
    ours = RewardNormalizer(2, 0.9, normalize=False, scale=0.1, clip=(-0.5, 1.0))
    out = ours(torch.tensor([[-20.0, 4.0], [3.0, 30.0]]), torch.zeros(2, 2, dtype=torch.bool))
    assert_close(out, torch.tensor([[-0.5, 0.4], [0.3, 1.0]]))


def test_without_any_key_nothing_is_changed(rng):
    normalizers = Normalizers(EnvParams(name="x", num_envs=2, max_frame=1), (3,), 0.9)
    obs, reward = torch.randn(2, 3, generator=rng) * 100, torch.randn(5, 2, generator=rng) * 100
    normalizers.obs.update(obs)
    assert torch.equal(normalizers.obs(obs), obs)
    assert torch.equal(normalizers.reward(reward, torch.zeros(5, 2, dtype=torch.bool)), reward)


@pytest.mark.parametrize(
    ("keys", "clip_obs", "clip_reward"),
    [
        ({}, None, None),
        ({"normalize_obs": True, "normalize_reward": True}, 10.0, (-10.0, 10.0)),
        ({"normalize_obs": True, "clip_obs": 3}, 3.0, None),
        ({"clip_obs": 3}, 3.0, None),
        ({"normalize_reward": True, "clip_reward": 2}, None, (-2.0, 2.0)),
        ({"clip_reward": [-1, 3]}, None, (-1.0, 3.0)),
    ],
)
def test_the_keys_of_env_set_the_clipping(keys, clip_obs, clip_reward):
    normalizers = Normalizers(EnvParams(name="x", max_frame=1, **keys), (3,), 0.9)
    far = torch.tensor([[1e9, -1e9, 0.0]])
    normalizers.obs.update(torch.zeros(1, 3))
    assert normalizers.obs(far).max() == (1e9 if clip_obs is None else clip_obs)
    reward = normalizers.reward(torch.tensor([[1e9], [-1e9]]), torch.zeros(2, 1, dtype=torch.bool))
    low, high = clip_reward or (-1e9, 1e9)
    if not keys.get("normalize_reward"):
        assert reward.flatten().tolist() == [high, low]
    assert reward.max() <= high and reward.min() >= low


def test_statistics_travel_in_the_state_dict(rng):
    env = EnvParams(name="x", num_envs=2, max_frame=1, normalize_obs=True, normalize_reward=True)
    one, other = Normalizers(env, (3,), 0.9), Normalizers(env, (3,), 0.9)
    one.obs.update(torch.randn(50, 3, generator=rng) * 4 + 9)
    reward, never = torch.randn(5, 2, generator=rng), torch.zeros(5, 2, dtype=torch.bool)
    one.reward(reward, never)
    other.load_state_dict(one.state_dict())
    obs = torch.randn(2, 3, generator=rng)
    assert torch.equal(one.obs(obs), other.obs(obs))
    assert torch.equal(one.reward(reward, never), other.reward(reward, never))


def test_target_scale_is_the_deviation_but_never_below_1(rng):
    wide, narrow = TargetScale(), TargetScale()
    target = torch.randn(64, 4, generator=rng) * 20
    assert_close(wide.update(target), target.std(correction=0), rtol=1e-4, atol=0)
    assert narrow.update(target / 1e3).item() == 1.0


def test_percentile_scale_by_hand():
    # 0, 1, …, 100 has the 5th percentile at 5 and the 95th at 95.
    scale, x = PercentileScale(), torch.arange(101.0)
    assert scale.update(x).item() == pytest.approx(90)
    # The range moves by 1 %: 5th 0.99 * 5 + 0.01 * 10, 95th 0.99 * 95 + 0.01 * 190; 90 * 0.99 + 1.8
    assert scale.update(2 * x).item() == pytest.approx(90.9)
    assert PercentileScale().update(x / 1e3).item() == 1.0


def test_clamp_scaled():
    x = torch.tensor([-100.0, 3.0, 100.0])
    assert_close(clamp_scaled(x, torch.tensor(2.0)), torch.tensor([-10.0, 1.5, 10.0]))


def test_batches_merged_together_are_as_one_after_the_other():
    one, other = RunningMoments(), RunningMoments()
    rng = torch.Generator().manual_seed(2)
    for scale in (1e-3, 1.0, 1e3):
        rows = scale * (torch.randn(20, 3, generator=rng, dtype=torch.float64) + 5)
        after = one.update_each(rows)
        for t, row in enumerate(rows):
            other.update(row)
            assert after[t].item() == pytest.approx(other.var.item(), rel=1e-12)
    for buffer, same in zip(one.buffers(), other.buffers()):
        assert buffer.item() == pytest.approx(same.item(), rel=1e-12)
