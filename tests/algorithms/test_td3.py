"""TD3's updates against Algorithm 1 in plain PyTorch and by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from slm_lightning.core import Sample
from tests.algorithms.support import OBS, make_agent, make_sample
from tests.algorithms.test_sac import LR, assert_steps, make_session
from tests.conftest import assert_equal


def reference_learn(agent, batch: Sample) -> None:
    """Algorithm 1 with d = 2, σ̃ = 0.2, c = 0.25 and τ = 0.2."""
    online = agent.actor, agent.critics.q1, agent.critics.q2
    slow = agent.target_actor.net, agent.target_critics.net.q1, agent.target_critics.net.q2
    optimizers = [torch.optim.Adam(net.parameters(), LR) for net in online]

    def q(critic, obs: Tensor, action: Tensor) -> Tensor:
        return critic.net(torch.cat([obs, action], -1))[0][:, 0]

    for k, rows in enumerate(batch.minibatches()):
        with torch.no_grad():
            mean = torch.tanh(slow[0].net(rows.next_obs)[0])
            action = (mean + (0.2 * torch.randn_like(mean)).clip(-0.25, 0.25)).clip(-1, 1)
            value = torch.minimum(*(q(critic, rows.next_obs, action) for critic in slow[1:]))
            y = rows.reward + rows.discount * (~rows.terminated) * value
        for critic, optimizer in zip(online[1:], optimizers[1:]):
            optimizer.zero_grad()
            (rows.weight * (q(critic, rows.obs, rows.action) - y) ** 2).mean().backward()
            optimizer.step()
        if k % 2:
            continue
        optimizers[0].zero_grad()
        (-q(online[1], rows.obs, torch.tanh(online[0].net(rows.obs)[0])).mean()).backward()
        optimizers[0].step()
        with torch.no_grad():
            for fast_net, slow_net in zip(online, slow):
                for fast, late in zip(fast_net.parameters(), slow_net.parameters()):
                    late.copy_(0.8 * late + 0.2 * fast)


def test_a_round_of_learning_is_algorithm_1():
    session = make_session("TD3", "continuous", target_noise_clip=0.25)
    agent, batch = copy.deepcopy(session.agent), make_sample("continuous", minibatches=3)
    torch.manual_seed(5)
    session.agent.learn(batch, session.optimize)
    torch.manual_seed(5)
    reference_learn(agent, batch)
    for (name, ours), theirs in zip(session.agent.named_parameters(), agent.parameters()):
        assert_close(ours, theirs, atol=1e-5, rtol=1e-4, msg=name)


def test_the_target_by_hand(monkeypatch):
    agent = make_agent("TD3", "continuous", target_noise=0.0)
    monkeypatch.setattr(
        agent.target_critics.net, "forward", lambda obs, action: torch.tensor([[4.0, 9.0], [2.0, 9.0]])
    )
    rows = make_sample("continuous", rows=2).minibatches()[0]
    rows = rows._replace(
        reward=torch.tensor([1.0, 1.0]),
        discount=torch.tensor([0.5, 0.5]),
        terminated=torch.tensor([False, True]),
    )
    assert agent.target_value(rows).tolist() == [1 + 0.5 * 2.0, 1.0]


@pytest.mark.parametrize(
    ("noise", "clip", "most"), [(10.0, 0.3, 0.3), (0.0, 0.3, 0.0), (10.0, 5.0, 1.0)]
)
def test_the_noise_on_target_actions_is_clipped_and_so_are_they(monkeypatch, noise, clip, most):
    agent = make_agent("TD3", "continuous", target_noise=noise, target_noise_clip=clip)
    seen = []
    monkeypatch.setattr(agent.target_actor.net, "forward", lambda obs: torch.zeros(len(obs), 2))
    monkeypatch.setattr(
        agent.target_critics.net, "forward", lambda obs, a: seen.append(a) or torch.zeros(2, len(a))
    )
    agent.target_value(make_sample("continuous", rows=50).minibatches()[0])
    assert seen[0].abs().max().item() == pytest.approx(most)


def test_exploration_is_gaussian_noise_within_the_range_of_actions():
    agent = make_agent("TD3", "continuous", training_start_step=0, explore_noise=0.3)
    obs = torch.zeros(4000, OBS)
    greedy, action = agent.act(obs, explore=False), agent.act(obs)
    assert greedy[0].abs().max() < 0.5
    assert (action - greedy).std().item() == pytest.approx(0.3, rel=0.05)
    loud = make_agent("TD3", "continuous", training_start_step=0, explore_noise=9.0).act(obs)
    assert loud.abs().max() == 1


def test_the_policys_update_climbs_the_first_critic_and_leaves_both_as_they_are():
    """With plain descent at rate 1 a step is the gradient."""
    session = make_session("TD3", "continuous", {"optim_spec": {"name": "SGD", "lr": 1.0}})
    agent, before = session.agent, copy.deepcopy(session.agent)
    obs = torch.randn(8, OBS)
    info = session.optimize(*agent.policy_step(obs))
    loss = -before.critics.q1(obs, before.actor(obs)).mean()
    assert_close(info["policy_loss"], loss.detach())
    assert_steps(before.actor, agent.actor, loss)
    assert_equal(agent.critics.state_dict(), before.critics.state_dict())
