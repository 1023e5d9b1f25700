"""A recurrent policy out of its files: shown one observation after the other, it remembers them."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from slm_lightning.core import Keys, Stream
from slm_lightning.data import sealed
from slm_lightning.lab.replay import Files, Policy
from tests.conftest import make_spec, train

RNN = {"type": "RecurrentNet", "cell_type": "LSTM", "rnn_hidden_size": 16, "init_fn": "orthogonal_"}


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """Of a few rounds of PPO on CartPole, with normalised observations."""
    spec = make_spec("PPO", {"name": "CartPole-v1", "normalize_obs": True}, RNN)
    run, tmp_path = train(spec), tmp_path_factory.mktemp("policy")
    (tmp_path / "spec.json").write_text(json.dumps({"test": run.data.spec.to_dict()}))
    sealed.save({"state_dict": run.session.state_dict()}, tmp_path / "last.ckpt")
    return Policy(Files("test", tmp_path / "spec.json", tmp_path / "last.ckpt"))


def by_hand(policy: Policy, env: Any, episode: int) -> float:
    obs, _ = env.reset(seed=Keys(0).seed_for(Stream.ENJOY, 0, episode))
    policy.forget()
    total, over = 0.0, False
    while not over:
        obs, reward, terminated, truncated, _ = env.step(policy.act(obs))
        total, over = total + float(reward), terminated or truncated
    return total


def test_acting_by_hand_equals_playing(policy):
    env = gym.make("CartPole-v1")
    first = by_hand(policy, env, 0)
    assert [first] == policy.play(1).tolist()
    by_hand(policy, env, 1)
    assert by_hand(policy, env, 0) == first  # nothing of the episode in between is left
    env.close()


def test_it_forgets_where_it_is_told(policy):
    obs = np.random.default_rng(0).normal(size=(9, 3, 4)).astype(np.float32)
    states = []
    for reset in (None, np.array([True, False, False]), np.array([True, True, True])):
        policy.forget()
        for t in range(9):
            if t == 8 and reset is not None:
                policy.forget(reset)
            policy.act(obs[t])
        assert policy.recall is not None
        states.append(policy.recall.hidden)
    going_on, some, none = states
    assert torch.equal(some[1:], going_on[1:]) and torch.equal(some[0], none[0])
    assert (none != going_on).any(1).all()


def test_another_number_of_observations_begins_anew(policy):
    policy.forget()
    policy.forget(np.array([True]))  # nothing yet
    policy.act(np.zeros((3, 4), dtype=np.float32))
    assert policy.act(np.zeros(4, dtype=np.float32)) in (0, 1)
    first = policy.recall.hidden
    policy.forget()
    policy.act(np.zeros(4, dtype=np.float32))
    assert torch.equal(policy.recall.hidden, first)
