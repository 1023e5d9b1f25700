"""CrossQ's joint pass against plain PyTorch, and what its batch statistics are made of."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.functional import mse_loss
from torch.testing import assert_close

from slm_lightning.nets.norms import BatchRenorm1d
from tests.algorithms.support import OBS, Recorder, make_agent, make_sample
from tests.algorithms.test_sac import every_kind, make_session, q_taken, soft_value

RENORM = {"batch_renorm": True}
PLAIN = {"batch_renorm": False}


def crossq(kind: str, critic_net: dict | None = None, **keys):
    return make_session("CrossQ", kind, critic_net=RENORM if critic_net is None else critic_net, **keys)


def layers(agent) -> list[BatchRenorm1d]:
    return [m for m in agent.critics.modules() if isinstance(m, BatchRenorm1d)]


@every_kind
def test_the_loss_is_that_of_one_pass_over_both_halves(kind):
    """Value and gradient; the statistics of the batch carry gradient from both halves, y none."""
    agent = crossq(kind).agent
    other, rows = copy.deepcopy(agent), make_sample(kind).minibatches()[0]
    alpha = torch.tensor(0.7)
    torch.manual_seed(1)
    loss, _ = agent.loss(rows, alpha)
    loss.backward()

    torch.manual_seed(1)
    with torch.no_grad():
        inputs, log_prob = other.draw(rows.next_obs)
    joint = [torch.cat(pair) for pair in zip(other.asked(rows.obs, rows.action), inputs)]
    other.train()
    flat = torch.cat(joint, -1)
    q = [critic.net(flat)[0] for critic in (other.critics.q1, other.critics.q2)]
    next_q = [x[8:].detach() for x in q]
    if kind == "continuous":
        value = torch.minimum(*next_q)[:, 0] - alpha * log_prob
        taken = [x[:8, 0] for x in q]
    else:
        value = (log_prob.exp() * ((next_q[0] + next_q[1]) / 2 - alpha * log_prob)).sum(-1)
        taken = [x[torch.arange(8), rows.action] for x in q]
    y = rows.reward + 0.9 * (~rows.terminated) * value
    expected = sum((rows.weight * (x - y) ** 2).mean() for x in taken)
    assert_close(loss, expected)
    expected.backward()
    for ours, theirs in zip(agent.critics.parameters(), other.critics.parameters()):
        assert_close(ours.grad, theirs.grad)


@every_kind
def test_without_batch_statistics_it_is_sac_whose_targets_are_the_critics(kind):
    agent = crossq(kind, PLAIN).agent
    rows = make_sample(kind).minibatches()[0]
    torch.manual_seed(1)
    info = Recorder()(*agent.critics_step(rows))
    torch.manual_seed(1)
    with torch.no_grad():
        value = soft_value(agent, agent.critics, rows.next_obs, torch.tensor(1.0))[0]
        y = rows.reward + rows.discount * (~rows.terminated) * value
        q = [q_taken(agent, c, rows.obs, rows.action) for c in (agent.critics.q1, agent.critics.q2)]
    assert_close(info["td_error"], y - torch.minimum(*q))
    weighted = sum((rows.weight * mse_loss(x, y, reduction="none")).mean() for x in q)
    assert_close(info["loss"], weighted)


@every_kind
def test_only_the_critics_update_takes_in_statistics(kind):
    session = crossq(kind, training_start_step=0, policy_delay=3)
    agent, policy_rows = session.agent, []
    learn_policy = agent.policy_loss

    def spy(obs, *scalars):
        before = [layer.running_mean.clone() for layer in layers(agent)]
        result = learn_policy(obs, *scalars)
        assert all(torch.equal(x, layer.running_mean) for x, layer in zip(before, layers(agent)))
        policy_rows.append(obs)
        return result

    agent.policy_loss = spy
    agent.act(torch.randn(1, OBS))
    agent.learn(make_sample(kind, minibatches=4), session.optimize)
    assert [int(layer.num_batches_tracked) for layer in layers(agent)] == [4, 4]
    assert len(policy_rows) == 2  # of the updates 0 and 3
    assert not any(module.training for module in agent.modules())


def test_the_policy_delay_goes_on_over_rounds():
    session = crossq("discrete", policy_delay=3)
    rounds = ["policy_loss" in session.agent.learn(make_sample(), session.optimize) for _ in range(3)]
    assert rounds == [True, True, False]  # updates 0 1, 2 3, 4 5: of these 0 and 3
    assert session.agent.updates.item() == 6


def test_there_are_no_target_nets_and_the_critics_have_their_own_section():
    agent = make_agent("CrossQ", "continuous", critic_net={"hid_layers": [24, 24], **RENORM})
    assert {name.partition(".")[0] for name in agent.state_dict()} == {
        *("critics", "policy", "log_alpha", "updates", "entropy_mean")
    }
    assert agent.critics.q1.net.body.out_features == 24
    assert agent.policy.net.body.out_features == 16
    assert [len(layers(agent)), len(agent.learners())] == [4, 4]


def test_the_regression_is_that_of_the_main_net_and_clipping_each_nets_own():
    critic_net = {"loss_spec": {"name": "MSELoss"}, "clip_grad_val": 0.3}
    net = {"loss_spec": {"name": "L1Loss"}, "clip_grad_val": 0.7}
    agent = make_agent("CrossQ", "continuous", net, critic_net)
    assert type(agent.regression).__name__ == "L1Loss"
    clips = {name: learner.net.clip_grad_val for name, learner in agent.learners().items()}
    assert clips == {"actor": 0.7, "q1": 0.3, "q2": 0.3, "alpha": None}


@pytest.mark.parametrize("rows", [1, 3])
def test_acting_on_few_rows_needs_no_statistics_of_theirs(rows):
    agent = make_agent("CrossQ", "continuous", RENORM, training_start_step=0)
    obs = torch.randn(5, OBS)
    assert_close(agent.act(obs[:rows], explore=False), agent.act(obs, explore=False)[:rows])
