"""Twin critics: what they see, that they differ, and the gradients that they let through."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from slm_lightning.nets.critic import Critic, TwinCritics
from slm_lightning.nets.mlp import MLPNet
from tests.algorithms.support import OBS, info

NET = MLPNet.Params(type="MLPNet", hid_layers=[8])


def test_a_critic_reads_the_state_and_the_action_end_to_end():
    torch.manual_seed(0)
    critic, obs, action = Critic(NET, info("continuous")), torch.randn(5, OBS), torch.rand(5, 2)
    assert_close(critic(obs, action), critic.net(torch.cat([obs, action], 1))[0][:, 0])


@pytest.mark.parametrize(("kind", "shape"), [("continuous", (2, 5)), ("discrete", (2, 5, 3))])
def test_twins_differ_in_their_first_weights_only(kind, shape):
    torch.manual_seed(0)
    critics = TwinCritics(NET, info(kind))
    inputs = (torch.randn(5, OBS), torch.rand(5, 2))[: 2 if kind == "continuous" else 1]
    q = critics(*inputs)
    assert q.shape == shape
    assert not torch.equal(q[0], q[1])
    critics.q2.load_state_dict(critics.q1.state_dict())
    assert torch.equal(*critics(*inputs))
    learners = critics.learners()
    assert tuple(learners) == critics.optimizers
    assert [p.shape for p in learners["q1"].parameters] == [p.shape for p in learners["q2"].parameters]
