"""QR-DQN's quantile loss against hand arithmetic and plain PyTorch, and its targets."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from slm_lightning.algorithms.qr_dqn import QuantileNet, quantile_huber
from slm_lightning.errors import SpecError
from slm_lightning.nets.dueling import DuelingMLPNet
from tests.algorithms.support import OBS, info, make_agent, make_sample


def test_the_quantile_huber_loss_by_hand():
    theta, y = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 3.0]])
    # τ̂ = 1/4, 3/4. θ_1 = 0: u = 0.5, 3 > 0: 1/4 (0.125 + 2.5) / 2
    # θ_2 = 1: u = -0.5 < 0, 2 > 0: (1/4 · 0.125 + 3/4 · 1.5) / 2
    expected = (0.25 * 2.625 + 0.25 * 0.125 + 0.75 * 1.5) / 2
    assert quantile_huber(theta, y).tolist() == pytest.approx([expected])


def test_the_quantile_huber_loss_and_its_gradient_against_a_loop(rng):
    theta, y = (torch.randn(3, n, generator=rng) * 2 for n in (5, 4))
    theta.requires_grad_()
    expected = []
    for b in range(3):
        total = torch.tensor(0.0)
        for i in range(5):
            for j in range(4):
                u = y[b, j] - theta[b, i]
                huber = u**2 / 2 if u.abs() <= 1 else u.abs() - 0.5
                total = total + abs((2 * i + 1) / 10 - float(u < 0)) * huber / 4
        expected.append(total)
    loss, expected = quantile_huber(theta, y), torch.stack(expected)
    assert_close(loss, expected)
    for ours, theirs in zip(*(torch.autograd.grad(x.sum(), theta) for x in (loss, expected))):
        assert_close(ours, theirs)


def test_minimising_it_finds_the_quantiles():
    """Of a uniform variable on [0, 100], where the Huber bend of width 1 is small."""
    y = torch.linspace(0, 100, 1001)[None]
    theta = torch.full((1, 4), 50.0, requires_grad=True)
    optimizer = torch.optim.Adam([theta], lr=1.0)
    for _ in range(300):
        optimizer.zero_grad()
        quantile_huber(theta, y).sum().backward()
        optimizer.step()
    assert theta[0].tolist() == pytest.approx([12.5, 37.5, 62.5, 87.5], abs=1.5)


def test_values_are_means_of_quantiles():
    net = make_agent("QRDQN").q
    obs = torch.randn(6, OBS)
    theta = net.quantiles(obs)
    assert theta.shape == (6, 3, 8)
    assert_close(net(obs), theta.mean(-1))
    # the outputs of an action lie side by side
    assert_close(theta[:, 1], net.net(obs)[0][:, 8:16])


def test_the_target_is_the_distribution_of_the_best_action_of_the_target_net(monkeypatch):
    agent = make_agent("QRDQN", num_quantiles=2)
    theta = torch.tensor([[[9.0, -9.0], [1.0, 3.0], [0.0, 1.0]]] * 2)  # means 0, 2, 1/2
    monkeypatch.setattr(agent.target.net, "quantiles", lambda obs: theta)
    rows = make_sample(rows=2).minibatches()[0]
    rows = rows._replace(
        reward=torch.tensor([1.0, 1.0]),
        discount=torch.tensor([0.5, 0.5]),
        terminated=torch.tensor([False, True]),
    )
    assert agent.target_value(rows).tolist() == [[1.5, 2.5], [1.0, 1.0]]


def test_the_loss_is_weighted_and_of_the_actions_taken():
    agent = make_agent("QRDQN")
    rows = make_sample().minibatches()[0]
    y = agent.target_value(rows)
    loss, metrics = agent.loss(rows)
    theta = torch.stack([agent.q.quantiles(rows.obs)[b, a] for b, a in enumerate(rows.action)])
    assert_close(loss, (rows.weight * quantile_huber(theta, y)).mean())
    assert_close(metrics["td_error"], y.mean(-1) - theta.mean(-1))


def test_a_dueling_net_is_refused():
    params = DuelingMLPNet.Params(type="DuelingMLPNet", hid_layers=[8])
    with pytest.raises(SpecError, match=r"agent.net.type: DuelingMLPNet gives action values"):
        QuantileNet(params, info(), 4)
