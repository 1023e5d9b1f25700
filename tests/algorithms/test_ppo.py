"""PPO's losses against hand arithmetic and plain PyTorch, and the rows that its updates see."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Categorical
from torch.testing import assert_close

from slm_lightning.algorithms.ppo import PPO, Rollout
from slm_lightning.rl.returns import gae
from tests.algorithms.support import OBS, Recorder, make_agent, make_batch
from tests.conftest import make_spec, train

ONE = torch.tensor(1.0)
FIRST = torch.tensor([0])


def row_loss(agent: PPO, ratio: float, advantage: float, entropy_coef: float = 0.0, eps: float = 0.2):
    """The loss on one row whose probability ratio is given. Its value target is its value."""
    obs, action = torch.ones(1, OBS), torch.tensor([1])
    with torch.no_grad():
        pi, value = agent.net(obs)
        log_prob_old = pi.log_prob(action) - math.log(ratio)
    rollout = Rollout(obs, action, log_prob_old, value, torch.tensor([advantage]), value)
    return agent.loss(rollout, FIRST, torch.tensor(eps), torch.tensor(entropy_coef), ONE, ONE)


# ε = 0.2; -min(ρ A, clip(ρ) A). The gradient is cut where the clipped term is the smaller one.
@pytest.mark.parametrize(
    ("ratio", "advantage", "expected", "has_gradient"),
    [
        (1.5, 2.0, -2.4, False),  # min(3, 1.2 * 2)
        (1.5, -2.0, 3.0, True),  # min(-3, -2.4)
        (0.5, 2.0, -1.0, True),  # min(1, 1.6)
        (0.5, -2.0, 1.6, False),  # min(-1, -1.6)
        (1.1, 2.0, -2.2, True),
        (0.9, -2.0, 1.8, True),
    ],
)
def test_clipped_surrogate_by_hand(ratio, advantage, expected, has_gradient):
    agent = make_agent("PPO", normalize_advantages="percentile")
    loss, info = row_loss(agent, ratio, advantage)
    assert info["policy_loss"].item() == pytest.approx(expected, rel=1e-5)
    assert loss.item() == pytest.approx(expected, rel=1e-5)  # value loss and entropy bonus are 0
    loss.backward()
    norm = sum(p.grad.norm() for p in agent.net.actor.parameters())
    assert bool(norm > 1e-6) == has_gradient
    assert info["clip_fraction"].item() == float(abs(ratio - 1) > 0.2)
    # Schulman's estimate of KL(old, new): ρ - 1 - ln ρ
    assert info["kl"].item() == pytest.approx(ratio - 1 - math.log(ratio), rel=1e-4)


def test_an_extreme_ratio_stays_finite():
    agent = make_agent("PPO", normalize_advantages="percentile")
    loss, _ = row_loss(agent, math.exp(60), -1.0)
    assert loss.item() == pytest.approx(math.exp(20), rel=1e-4)


def test_the_entropy_bonus_is_subtracted():
    agent = make_agent("PPO", normalize_advantages="percentile")
    entropy = agent.net.policy(torch.ones(1, OBS)).entropy().item()
    loss, info = row_loss(agent, 1.0, 2.0, entropy_coef=0.3)
    assert info["entropy"].item() == pytest.approx(entropy)
    assert loss.item() == pytest.approx(-2.0 - 0.3 * entropy, rel=1e-5)


VALUE, VALUE_OLD, TARGET = torch.tensor([[1.0, 2.0], [0.0, 3.0], [2.0, 3.0]])
SCALE_4 = torch.tensor(4.0)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        # ((1 - 2)² + (2 - 3)²) / 2
        ({}, 1.0),
        # kept within 0.2 of the old: 0.2 and 2.8; half the mean of max(1, 1.8²) and max(1, 0.2²)
        ({"clip_vloss": True}, 0.5 * (3.24 + 1) / 2),
        # divided by 4: (1/16 + 1/16) / 2
        ({"normalize_v_targets": True}, 1 / 16),
        # ln 2, ln 3 against ln 3, ln 4
        ({"symlog": True}, (math.log(3 / 2) ** 2 + math.log(4 / 3) ** 2) / 2),
        # symlog first, then kept within 0.2 of ln 1 and ln 4: 0.2 and ln 4 - 0.2
        (
            {"symlog": True, "clip_vloss": True},
            0.5 * ((math.log(3) - 0.2) ** 2 + max(math.log(4 / 3) ** 2, 0.2**2)) / 2,
        ),
    ],
)
def test_value_loss_by_hand(keys, expected):
    agent = make_agent("PPO", **keys)
    loss = agent.value_loss(VALUE, VALUE_OLD, TARGET, torch.tensor(0.2), SCALE_4)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_normalised_targets_are_clamped_to_ten_scales():
    agent = make_agent("PPO", normalize_v_targets=True)
    value, target = torch.tensor([100.0, 0.0]), torch.tensor([60.0, 400.0])
    # (10 - 10)² and (0 - 10)²
    assert agent.value_loss(value, value, target, ONE, SCALE_4).item() == pytest.approx(50.0)


def test_the_value_loss_is_that_of_the_net_section():
    agent = make_agent("PPO", net={"loss_spec": {"name": "L1Loss"}})
    # |1 - 3| and |2 - 4|, whose squares would give 4
    assert agent.value_loss(VALUE, VALUE_OLD, TARGET + 1, ONE, ONE).item() == pytest.approx(2.0)


def reference_loss(agent: PPO, obs, action, log_prob_old, advantage, target, eps, entropy_coef):
    """Equation 9 in plain PyTorch: advantages standardised, mean squared error, two separate nets."""
    pi = Categorical(logits=agent.net.actor.net(obs)[0])
    value = agent.net.critic(obs)[0][:, 0]
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    ratio = (pi.log_prob(action) - log_prob_old).exp()
    surrogate = torch.minimum(ratio * advantage, ratio.clip(1 - eps, 1 + eps) * advantage)
    value_loss = ((value - target) ** 2).mean()
    return -surrogate.mean() - entropy_coef * pi.entropy().mean() + 0.5 * value_loss


def test_the_whole_loss_and_its_gradient_equal_plain_torch(rng):
    agent = make_agent("PPO")
    obs, action = torch.randn(16, OBS, generator=rng), torch.randint(3, (16,), generator=rng)
    log_prob_old, value_old, advantage, target = torch.randn(4, 16, generator=rng) / 2
    log_prob_old -= 1.0
    rollout = Rollout(obs, action, log_prob_old, value_old, advantage, target)
    index, eps, entropy_coef = torch.randperm(16, generator=rng)[:9], *torch.tensor([0.2, 0.01])
    ours, _ = agent.loss(rollout, index, eps, entropy_coef, ONE, ONE)
    rows = (tensor[index] for tensor in (obs, action, log_prob_old, advantage, target))
    theirs = reference_loss(agent, *rows, 0.2, 0.01)
    assert_close(ours, theirs)
    parameters = list(agent.net.parameters())
    for one, two in zip(torch.autograd.grad(ours, parameters), torch.autograd.grad(theirs, parameters)):
        assert_close(one, two, atol=1e-6, rtol=1e-4)


def learn(agent: PPO, batch) -> tuple[Recorder, dict]:
    recorder = Recorder()
    torch.manual_seed(2)
    return recorder, agent.learn(batch, recorder)


def test_every_epoch_sees_every_row_once():
    agent, batch = make_agent("PPO", minibatch_size=5, training_epoch=3), make_batch()
    recorder, _ = learn(agent, batch)
    minibatches = [rollout.obs[index] for rollout, index, *_ in recorder.calls]
    assert [len(obs) for obs in minibatches] == [5, 5, 2] * 3
    rows = {tuple(row.tolist()) for row in batch.obs.flatten(0, 1)}
    orders = []
    for epoch in range(3):
        seen = torch.cat(minibatches[3 * epoch : 3 * epoch + 3])
        assert {tuple(row.tolist()) for row in seen} == rows
        orders.append(seen)
    assert not torch.equal(orders[0], orders[1])
    assert set(recorder.names) == {("actor", "critic")}


def test_minibatch_rows_belong_together():
    agent, batch = make_agent("PPO", minibatch_size=5, training_epoch=1), make_batch()
    recorder, info = learn(agent, batch)
    minibatches = [rollout.at(index) for rollout, index, *_ in recorder.calls]
    obs, action, log_prob, value, advantage, target = map(torch.cat, zip(*minibatches))
    with torch.no_grad():
        pi, v = agent.net(batch.obs.flatten(0, 1))
        next_v = agent.net.value(batch.next_obs.flatten(0, 1))
    a = gae(
        batch.reward, v.view(6, 2), next_v.view(6, 2), batch.terminated, batch.truncated, 0.99, 0.95
    ).flatten()
    order = (obs[:, None] == batch.obs.flatten(0, 1)).all(-1).nonzero()[:, 1]
    assert_close(action, batch.action.flatten()[order])
    assert_close(log_prob, pi.log_prob(batch.action.flatten())[order])
    assert_close(value, v[order])
    assert_close(advantage, a[order])
    assert_close(target, (a + v)[order])
    assert_close(torch.stack(recorder.calls[0][2:]), torch.tensor([0.2, 0.01, 1.0, 1.0]))
    target = a + v
    assert_close(info["explained_variance"], 1 - a.var(correction=0) / target.var(correction=0))


def test_schedules_are_taken_at_the_agents_frame():
    decay = {"name": "linear_decay", "end_val": 0.0, "end_step": 100}
    agent = make_agent(
        "PPO",
        clip_eps_spec=decay | {"start_val": 0.2},
        entropy_coef_spec=decay | {"start_val": 0.1},
        training_epoch=1,
    )
    agent.frame = 50
    recorder, _ = learn(agent, make_batch())
    assert [x.item() for x in recorder.calls[0][2:4]] == pytest.approx([0.1, 0.05])
    assert agent.schedules() == pytest.approx({"clip_eps": 0.1, "entropy_coef": 0.05})


def test_no_entropy_schedule_is_no_bonus():
    agent = make_agent("PPO", entropy_coef_spec=None, training_epoch=1)
    recorder, _ = learn(agent, make_batch())
    assert recorder.calls[0][3] == 0
    assert agent.schedules().keys() == {"clip_eps"}


def test_percentile_advantages_are_divided_by_the_running_range():
    agent = make_agent("PPO", normalize_advantages="percentile", training_epoch=1)
    batch = make_batch()
    recorder, _ = learn(agent, batch._replace(reward=batch.reward * 100))
    rollout, scale = recorder.calls[0][0], recorder.calls[0][4]
    low, high = torch.quantile(rollout.advantage, torch.tensor([0.05, 0.95]))
    assert_close(scale, high - low)
    loss_of = {}
    for divisor in (scale, 2 * scale):
        tensors = [*recorder.calls[0][:4], divisor, ONE]
        loss_of[float(divisor)] = agent.loss(*tensors)[1]["policy_loss"]
    one, half = loss_of.values()
    assert_close(half, one / 2)  # divided, not centred


def test_normalised_targets_use_the_scale_of_all_targets_so_far():
    agent = make_agent("PPO", normalize_v_targets=True, training_epoch=1)
    batch = make_batch()
    recorder, _ = learn(agent, batch._replace(reward=batch.reward * 100))
    rollout, scale = recorder.calls[0][0], recorder.calls[0][5]
    assert_close(scale, rollout.target.std(correction=0), rtol=1e-3, atol=0)


@pytest.mark.parametrize("shared", [False, True])
def test_the_first_minibatch_of_every_round_has_ratio_1(shared, monkeypatch):
    """The policy that learns is the one that acted: its ratio is 1 until the first step."""
    deviation: dict[int, list[float]] = {}
    loss = PPO.loss

    def spy(self, rollout, index, *scalars):
        rows = rollout.at(index)
        with torch.no_grad():
            ratio = (self.net.policy(rows.obs).log_prob(rows.action) - rows.log_prob).exp()
        deviation.setdefault(self.frame, []).append((ratio - 1).abs().max().item())
        return loss(self, rollout, index, *scalars)

    monkeypatch.setattr(PPO, "loss", spy)
    net = {"shared": shared, "optim_spec": {"lr": 0.01}}
    train(make_spec("PPO", {"name": "CartPole-v1", "normalize_obs": True}, net))
    assert list(deviation) == [64, 128, 192, 256]
    for ratios in deviation.values():
        assert ratios[0] < 1e-5
        assert max(ratios[1:]) > 1e-3


def test_what_it_learns_from_is_what_it_did(monkeypatch):
    """The log-probabilities at the start of ``learn`` are those with which the actions were drawn,
    from the observations as they were normalised then."""
    acted, learned = [], []
    act, learn = PPO.act, PPO.learn

    def spy_act(self, obs, explore=True):
        action = act(self, obs, explore)
        acted.append(self.net.policy(obs).log_prob(action).clone())
        return action

    def spy_learn(self, batch, optimize):
        with torch.no_grad():
            rows = batch.flatten()
            learned.append(self.net.policy(rows.obs).log_prob(rows.action).view_as(batch.reward))
        return learn(self, batch, optimize)

    monkeypatch.setattr(PPO, "act", spy_act)
    monkeypatch.setattr(PPO, "learn", spy_learn)
    train(make_spec("PPO", {"name": "Pendulum-v1", "normalize_obs": True}))
    assert_close(torch.stack(acted), torch.cat(learned), atol=1e-5, rtol=1e-5)
