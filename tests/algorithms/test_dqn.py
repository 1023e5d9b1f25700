"""DQN and its kin against hand arithmetic and plain PyTorch."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import smooth_l1_loss
from torch.testing import assert_close

from slm_lightning.core import Sample
from tests.algorithms.support import Recorder, make_agent, make_sample

FAMILY = ("VanillaDQN", "DQN", "DoubleDQN")


def table(agent, online: list[float], target: list[float] | None = None) -> None:
    """Makes Q the same in every state: ``online``, and ``target`` in the target net."""
    nets = [(agent.q, online)] + ([(agent.target.net, target)] if target else [])
    for net, values in nets:
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.zero_()
            net.net.heads[0].bias.copy_(torch.tensor(values))


def transition(reward: float, terminated: bool, discount: float = 0.5) -> Sample:
    """One minibatch of one transition."""
    row = make_sample(minibatches=1, rows=1)
    return row._replace(
        reward=torch.tensor([[reward]]),
        terminated=torch.tensor([[terminated]]),
        discount=torch.tensor([[discount]]),
        action=torch.tensor([[1]]),
    )


# Q_θ = (1, 5, 2), Q_θ' = (7, 3, 4), r = 1, γ = 0.5. DQN takes the target net's best, 7; double DQN the
# target net's value of the online net's best action, 3; vanilla DQN the online net's best, 5.
@pytest.mark.parametrize(("name", "y"), [("DQN", 4.5), ("DoubleDQN", 2.5), ("VanillaDQN", 3.5)])
def test_the_target_of_each_kind(name, y):
    agent = make_agent(name)
    table(agent, [1.0, 5.0, 2.0], [7.0, 3.0, 4.0] if name != "VanillaDQN" else None)
    (minibatch,) = transition(1.0, terminated=False).minibatches()
    assert agent.target_value(minibatch).tolist() == [y]
    (minibatch,) = transition(1.0, terminated=True).minibatches()
    assert agent.target_value(minibatch).tolist() == [1.0]


@pytest.mark.parametrize("name", FAMILY)
def test_the_discount_is_that_of_the_sample(name):
    """γ^m of n-step returns, not γ."""
    agent = make_agent(name)
    table(agent, [2.0, 2.0, 2.0], [2.0, 2.0, 2.0] if name != "VanillaDQN" else None)
    (minibatch,) = transition(1.0, terminated=False, discount=0.125).minibatches()
    assert agent.target_value(minibatch).tolist() == [1.25]


@pytest.mark.parametrize("name", FAMILY)
def test_the_loss_and_its_gradient_equal_plain_torch(name, rng):
    agent = make_agent(name, net={"loss_spec": {"name": "SmoothL1Loss"}})
    batch = make_sample().minibatches()[0]
    batch = batch._replace(reward=3 * torch.randn(8, generator=rng))
    ours, info = agent.loss(batch)
    y = agent.target_value(batch).detach()
    q = agent.q(batch.obs)[torch.arange(8), batch.action]
    theirs = (batch.weight * smooth_l1_loss(q, y, reduction="none")).mean()
    assert_close(ours, theirs)
    assert_close(info["td_error"], y - q)
    parameters = list(agent.q.parameters())
    for one, two in zip(torch.autograd.grad(ours, parameters), torch.autograd.grad(theirs, parameters)):
        assert_close(one, two)


@pytest.mark.parametrize("name", FAMILY)
def test_every_minibatch_is_learned_from_as_often_as_asked(name):
    agent, recorder = make_agent(name, training_batch_iter=3), Recorder()
    sample = make_sample()
    info = agent.learn(sample, recorder)
    assert [minibatch.obs.data_ptr() for (minibatch,) in recorder.calls] == [
        sample.obs[k].data_ptr() for k in (0, 0, 0, 1, 1, 1)
    ]
    first, second = sample.minibatches()
    errors = [
        agent.target_value(m) - agent.q(m.obs).gather(1, m.action[:, None])[:, 0]
        for m in (first, second)
    ]
    assert_close(info["td_error"], torch.stack(errors))


class TestTarget:
    def test_it_begins_as_the_online_net(self):
        agent = make_agent("DQN")
        for mine, theirs in zip(agent.target.net.parameters(), agent.q.parameters()):
            assert torch.equal(mine, theirs)
            assert not mine.requires_grad

    @pytest.mark.parametrize(
        ("start", "end", "copies"),
        [(0, 4, True), (4, 8, False), (92, 100, False), (96, 104, True), (100, 104, True)],
    )
    def test_replace_copies_every_update_frequency_frames(self, start, end, copies):
        """At frame 100, after what is learned there: what learns at 100 still sees the old target."""
        agent = make_agent("DQN", net={"update_type": "replace", "update_frequency": 100})
        table(agent, [1.0, 2.0, 3.0], [0.0, 0.0, 0.0])
        agent.target.follow(start, end)
        expected = [1.0, 2.0, 3.0] if copies else [0.0, 0.0, 0.0]
        assert agent.target(torch.zeros(1, 4)).tolist() == [expected]

    def test_polyak_moves_once_for_every_vector_step(self):
        """Two sub-environments, four frames: two steps of τ = 0.25, which leave (3/4)²."""
        agent = make_agent("DQN", net={"update_type": "polyak", "polyak_coef": 0.25})
        table(agent, [16.0, 0.0, 0.0], [0.0, 16.0, 0.0])
        agent.target.follow(8, 12)
        assert agent.target(torch.zeros(1, 4))[0].tolist() == pytest.approx([7.0, 9.0, 0.0])

    def test_a_vector_step_is_one_of_all_workers(self):
        """Two workers of two sub-environments, four frames: one step of τ = 0.25."""
        agent = make_agent("DQN", net={"update_type": "polyak", "polyak_coef": 0.25})
        table(agent, [16.0, 0.0, 0.0], [0.0, 16.0, 0.0])
        agent.target.follow(8, 12, workers=2)
        assert agent.target(torch.zeros(1, 4))[0].tolist() == pytest.approx([4.0, 12.0, 0.0])

    @pytest.mark.parametrize(("coef", "tau"), [(0.005, 0.005), (0.5, 0.5), (0.9, 0.1), (0.0, 1.0)])
    def test_older_specs_gave_the_weight_of_the_target_net(self, coef, tau):
        agent = make_agent("DQN", net={"update_type": "polyak", "polyak_coef": coef})
        assert agent.target.params.tau == pytest.approx(tau)

    def test_it_follows_before_it_is_aimed_at(self):
        agent = make_agent("DQN", net={"update_type": "replace", "update_frequency": 4})
        table(agent, [1.0, 1.0, 1.0], [0.0, 0.0, 0.0])
        agent.round_start, agent.frame = 4, 8
        agent.learn(make_sample(), Recorder())
        assert agent.target(torch.zeros(1, 4)).tolist() == [[1.0, 1.0, 1.0]]


class TestActing:
    Q = torch.tensor([[0.0, 1.0, 0.5]]).expand(4000, 3)

    def shares(self, **keys) -> list[float]:
        agent = make_agent("DQN", **({"action_policy": "default", "explore_var_spec": None} | keys))
        torch.manual_seed(0)
        chosen = agent.choose_by_value(lambda _: self.Q, torch.zeros(4000, 4))
        return (chosen.bincount(minlength=3) / 4000).tolist()

    def test_epsilon_greedy_draws_for_each_sub_environment(self):
        keys = {"action_policy": "epsilon_greedy", "explore_var_spec": {"start_val": 0.3}}
        assert self.shares(**keys) == pytest.approx([0.1, 0.8, 0.1], abs=0.02)

    def test_a_schedule_alone_means_epsilon_greedy(self):
        assert self.shares(explore_var_spec={"start_val": 0.3}) == pytest.approx(
            [0.1, 0.8, 0.1], abs=0.02
        )

    @pytest.mark.parametrize("pdtype", ["default", "Argmax"])
    def test_boltzmann_is_a_softmax_of_q_over_the_temperature(self, pdtype):
        keys = {"action_policy": "boltzmann", "explore_var_spec": {"start_val": 0.5}}
        expected = (self.Q[0] / 0.5).softmax(-1).tolist()
        assert self.shares(action_pdtype=pdtype, **keys) == pytest.approx(expected, abs=0.02)

    def test_without_a_policy_the_distribution_says(self):
        assert self.shares() == pytest.approx(self.Q[0].softmax(-1).tolist(), abs=0.02)
        assert self.shares(action_pdtype="Argmax") == [0.0, 1.0, 0.0]
