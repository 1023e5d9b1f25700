"""A2C's loss against plain PyTorch, and its three ways to an advantage."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Categorical
from torch.testing import assert_close

from slm_lightning.rl.returns import discounted_returns, gae
from tests.algorithms.support import OBS, Recorder, make_agent, make_batch

ONE = torch.tensor(1.0)


def test_the_loss_and_its_gradient_equal_plain_torch(rng):
    agent = make_agent("ActorCritic", policy_loss_coef=0.7, val_loss_coef=0.3)
    obs, action = torch.randn(16, OBS, generator=rng), torch.randint(3, (16,), generator=rng)
    advantage, target = torch.randn(2, 16, generator=rng)
    ours, info = agent.loss(obs, action, advantage, target, ONE, torch.tensor(0.05))

    pi = Categorical(logits=agent.net.actor.net(obs)[0])
    policy_loss = -0.7 * (pi.log_prob(action) * advantage).mean()
    value_loss = 0.3 * ((agent.net.critic(obs)[0][:, 0] - target) ** 2).mean()
    theirs = policy_loss - 0.05 * pi.entropy().mean() + value_loss
    assert_close(ours, theirs)
    assert_close(info["policy_loss"], policy_loss)
    assert_close(info["value_loss"], value_loss)
    assert_close(info["entropy"], pi.entropy().mean())
    parameters = list(agent.net.parameters())
    for one, two in zip(torch.autograd.grad(ours, parameters), torch.autograd.grad(theirs, parameters)):
        assert_close(one, two, atol=1e-6, rtol=1e-4)


def test_normalised_targets_by_hand(monkeypatch):
    agent = make_agent("ActorCritic", normalize_v_targets=True, val_loss_coef=0.5)
    value = torch.tensor([4.0, 100.0, 0.0])
    pi = agent.net.policy(torch.zeros(3, OBS))
    monkeypatch.setattr(agent.net, "forward", lambda obs, temperature: (pi, value))
    target = torch.tensor([10.0, 60.0, 400.0])
    tensors = torch.zeros(3, OBS), torch.zeros(3, dtype=torch.int64), torch.zeros(3), target
    _, info = agent.loss(*tensors, torch.tensor(2.0), ONE * 0)
    # over 2, within ± 10: (2 - 5)² + (10 - 10)² + (0 - 10)²
    assert info["value_loss"].item() == pytest.approx(0.5 * (9 + 0 + 100) / 3)


def learn(batch, **keys):
    """What the optimizer is given from ``batch``; the critic's values before; the agent."""
    agent, recorder = make_agent("ActorCritic", **keys), Recorder()
    with torch.no_grad():
        value = agent.net.value(batch.obs.flatten(0, 1)).view_as(batch.reward)
        next_value = agent.net.value(batch.next_obs.flatten(0, 1)).view_as(batch.reward)
    info = agent.learn(batch, recorder)
    assert recorder.names == [("actor", "critic")]  # one step a round
    return recorder.calls[0], value, next_value, info


@pytest.mark.parametrize("keys", [{"lam": 0.9}, {"lam": None}])
def test_learn_hands_over_standardised_advantages_and_raw_targets(keys):
    batch = make_batch()
    tensors, value, next_value, info = learn(batch, gamma=0.9, **keys)
    obs, action, advantage, target, scale, entropy_coef = tensors
    ends = batch.terminated, batch.truncated
    if keys["lam"] is None:
        expected = discounted_returns(batch.reward, next_value, *ends, 0.9) - value
    else:
        expected = gae(batch.reward, value, next_value, *ends, 0.9, 0.9)
    assert_close(advantage, ((expected - expected.mean()) / expected.std()).flatten())
    assert_close(target, (expected + value).flatten())
    assert_close(obs, batch.obs.flatten(0, 1))
    assert_close(action, batch.action.flatten())
    assert (scale.item(), entropy_coef.item()) == pytest.approx((1.0, 0.01))
    target = expected + value
    explained = 1 - expected.var(correction=0) / target.var(correction=0)
    assert_close(info["explained_variance"], explained)


def test_normalised_targets_use_the_scale_of_all_targets_so_far():
    batch = make_batch()
    batch = batch._replace(reward=batch.reward * 100)
    (_, _, _, target, scale, _), *_ = learn(batch, normalize_v_targets=True)
    assert_close(scale, target.std(correction=0), rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    ("keys", "horizon"),
    [
        ({"lam": 0.9, "num_step_returns": None}, 64),
        ({"lam": 0.9, "num_step_returns": 5}, 64),  # λ wins
        ({"lam": None, "num_step_returns": 5}, 5),
        ({"lam": None, "num_step_returns": None}, 64),
    ],
)
def test_n_step_returns_set_the_rollout_length(keys, horizon):
    agent = make_agent("ActorCritic", training_frequency=64, **keys)
    assert agent.params.horizon == horizon


def test_a_single_row_gives_finite_metrics():
    batch = make_batch(steps=4, num_envs=1)
    one = batch._replace(**{k: v[:1] for k, v in batch._asdict().items() if torch.is_tensor(v)})
    *_, info = learn(one)
    assert all(value.isfinite() for value in info.values())
