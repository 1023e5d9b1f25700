"""Evaluation: the same episodes for every policy, and nothing of training touched."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from slm_lightning.core import Keys, Stream
from slm_lightning.data import evaluate as module
from slm_lightning.data.evaluate import evaluate
from slm_lightning.envs import make_env
from slm_lightning.session import Session
from tests.conftest import make_spec
from tests.envs.probes import probe

KEYS = Keys(4)


def set_up(env: str | dict, num_envs: int = 3, net: dict | None = None):
    spec = make_spec("PPO", env, net)
    vector = make_env(spec.env, KEYS, Stream.EVAL, num_envs=num_envs)
    session = Session.build(spec, vector.info, KEYS)
    session.normalizers.obs.update(torch.randn(50, *vector.info.obs_shape))
    return session.agent, session.normalizers, vector


def test_returns_are_those_of_scalar_environments_stepped_by_hand():
    agent, normalizers, vector = set_up({"name": "CartPole-v1", "normalize_obs": True})
    returns = evaluate(agent, normalizers, vector)
    for i, episode in np.ndindex(3, 1):
        env = gym.make("CartPole-v1")
        obs, _ = env.reset(seed=KEYS.seed_for(Stream.EVAL, i, episode))
        total, over = 0.0, False
        while not over:
            with torch.no_grad():
                action = agent.act(normalizers.obs(torch.tensor(obs)[None]), explore=False)
            obs, reward, terminated, truncated, _ = env.step(action.item())
            total, over = total + reward, terminated or truncated
        assert returns.reshape(3, -1)[i, episode] == total


def test_the_same_number_of_episodes_from_each_sub_environment():
    """Sub-environments whose episodes are short do not count more often."""
    agent, normalizers, vector = set_up("CartPole-v1", num_envs=4)
    few = evaluate(agent, normalizers, vector, episodes=2)
    many = evaluate(agent, normalizers, vector, episodes=5)
    assert few.shape == (4, 2)
    assert many.shape == (4, 5)
    np.testing.assert_array_equal(many[:, :2], few)
    assert (many > 0).all()


def test_it_repeats_itself_and_leaves_everything_as_it_was():
    net = {"batch_norm": True}
    agent, normalizers, vector = set_up({"name": "CartPole-v1", "normalize_obs": True}, net=net)
    before = {key: value.clone() for key, value in agent.state_dict().items()}
    statistics = {key: value.clone() for key, value in normalizers.state_dict().items()}
    agent.train()
    first, again = (evaluate(agent, normalizers, vector) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert agent.training
    assert all(torch.equal(value, before[key]) for key, value in agent.state_dict().items())
    assert all(torch.equal(v, statistics[key]) for key, v in normalizers.state_dict().items())


def test_exploring_draws_actions():
    agent, normalizers, vector = set_up(probe("Counter", length=50))
    greedy = evaluate(agent, normalizers, vector)
    torch.manual_seed(0)
    explored = [evaluate(agent, normalizers, vector, explore=True).tolist() for _ in range(2)]
    assert explored[0] != explored[1]
    assert greedy.tolist() not in explored


def test_rewards_are_raw():
    keys = {"clip_reward": 0.1, "reward_scale": 0.01, "normalize_reward": True}
    plain = evaluate(*set_up(probe("Counter", length=10)))
    keyed = evaluate(*set_up(probe("Counter", length=10, **keys)))
    np.testing.assert_array_equal(plain, keyed)


def test_on_step_sees_every_observation_that_is_acted_on():
    calls = []
    evaluate(*set_up(probe("Counter", length=10)), on_step=lambda: calls.append(1))
    assert len(calls) == 10


def test_an_endless_episode_is_cut(monkeypatch):
    monkeypatch.setattr(module, "MAX_STEPS", 25)
    returns = evaluate(*set_up(probe("EndlessReward", ending="never", period=2)))
    assert returns.flatten().tolist() == [25.0] * 3


def test_an_error_leaves_the_agent_in_training_mode():
    agent, normalizers, vector = set_up("CartPole-v1")
    vector.close()

    def broken() -> None:
        raise RuntimeError("no display")

    agent.train()
    with pytest.raises(RuntimeError, match="no display"):
        evaluate(agent, normalizers, vector, on_step=broken)
    assert agent.training
