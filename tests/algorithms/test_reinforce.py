"""REINFORCE against plain PyTorch and hand arithmetic."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Categorical, Independent, Normal
from torch.testing import assert_close

from tests.algorithms.support import OBS, Recorder, make_agent, make_batch


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
def test_the_loss_and_its_gradient_equal_plain_torch(kind, rng):
    agent = make_agent("Reinforce", kind, policy_loss_coef=0.7)
    obs, advantage = torch.randn(16, OBS, generator=rng), torch.randn(16, generator=rng)
    outputs = agent.policy.net(obs)
    if kind == "discrete":
        pi, action = Categorical(logits=outputs[0]), torch.randint(3, (16,), generator=rng)
    else:
        pi = Independent(Normal(outputs[0], outputs[1].exp()), 1)
        action = torch.randn(16, 2, generator=rng)
    ours, info = agent.loss(obs, action, advantage, torch.tensor(0.05))
    policy_loss = -0.7 * (pi.log_prob(action) * advantage).mean()
    theirs = policy_loss - 0.05 * pi.entropy().mean()
    assert_close(ours, theirs)
    assert_close(info["policy_loss"], policy_loss)
    parameters = list(agent.policy.parameters())
    for one, two in zip(torch.autograd.grad(ours, parameters), torch.autograd.grad(theirs, parameters)):
        assert_close(one, two, atol=1e-6, rtol=1e-4)


def test_it_learns_from_standardised_monte_carlo_returns():
    # γ = 0.5, T = 3. Sub-environment 0 terminates after its second step: R = (1 + 1, 2, 4).
    # Sub-environment 1 is truncated there, and nothing stands in for what follows: the same.
    batch = make_batch(steps=4)
    batch = batch._replace(**{k: v[:3] for k, v in batch._asdict().items() if torch.is_tensor(v)})
    second = torch.tensor([False, True, False])
    never = torch.zeros(3, dtype=torch.bool)
    batch = batch._replace(
        reward=torch.tensor([1.0, 2.0, 4.0])[:, None].expand(3, 2),
        terminated=torch.stack([second, never], 1),
        truncated=torch.stack([never, second], 1),
    )
    agent, recorder = make_agent("Reinforce", gamma=0.5), Recorder()
    agent.learn(batch, recorder)
    ((obs, action, advantage, entropy_coef),) = recorder.calls
    returns = torch.tensor([2.0, 2.0, 2.0, 2.0, 4.0, 4.0])
    assert_close(advantage, (returns - returns.mean()) / returns.std())
    assert_close(obs, batch.obs.flatten(0, 1))
    assert_close(action, batch.action.flatten())
    assert entropy_coef.item() == pytest.approx(0.01)
    assert recorder.names == ["policy"]


def test_the_horizon_is_the_training_frequency():
    assert make_agent("Reinforce", training_frequency=7).params.horizon == 7
