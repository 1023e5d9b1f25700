"""SARSA against hand arithmetic and plain PyTorch."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from tests.algorithms.support import Recorder, make_agent, make_batch


def test_the_target_takes_the_action_that_was_taken_next():
    agent, recorder, batch = make_agent("SARSA", gamma=0.5), Recorder(), make_batch()
    torch.manual_seed(0)
    agent.learn(batch, recorder)
    ((obs, _, y),) = recorder.calls
    assert_close(obs, batch.obs.flatten(0, 1))
    y = y.view_as(batch.reward)
    next_q = agent.q(batch.next_obs.flatten(0, 1)).view(*batch.reward.shape, -1)
    for t in range(len(y)):
        for n in range(y.shape[1]):
            r = batch.reward[t, n]
            if batch.terminated[t, n]:
                assert_close(y[t, n], r)
            elif batch.truncated[t, n] or t == len(y) - 1:
                assert any(torch.isclose(y[t, n], r + 0.5 * q) for q in next_q[t, n])
            else:
                assert_close(y[t, n], r + 0.5 * next_q[t, n, batch.action[t + 1, n]])


def test_where_there_is_no_next_action_the_policy_gives_one():
    """Greedy: the best action of the true successor."""
    agent, recorder, batch = make_agent("SARSA", gamma=0.5), Recorder(), make_batch()
    agent.explore_var_spec = agent.explore_var_spec.model_copy(update={"start_val": 0.0})
    agent.learn(batch, recorder)
    y = recorder.calls[0][2].view_as(batch.reward)
    best = agent.q(batch.next_obs.flatten(0, 1)).view(*batch.reward.shape, -1).amax(-1)
    ends = batch.truncated.clone()
    ends[-1] = True
    ends &= ~batch.terminated
    assert ends.sum() == 3
    assert_close(y[ends], (batch.reward + 0.5 * best)[ends])


def test_the_loss_is_the_regression_of_q_on_the_target():
    agent = make_agent("SARSA")
    rows = make_batch().flatten()
    y = torch.randn(len(rows.reward))
    loss, _ = agent.loss(rows.obs, rows.action, y)
    q = agent.q(rows.obs)[torch.arange(len(y)), rows.action]
    assert_close(loss, (q - y).square().mean())
