"""The squashed Gaussian against ``torch.distributions`` and at the edges of its range."""

from __future__ import annotations

import torch
from torch import distributions as reference
from torch.testing import assert_close

from slm_lightning.rl.distributions import NormalTanh


def heads(rng: torch.Generator, rows: int = 50, k: int = 3) -> list[torch.Tensor]:
    return [torch.randn(rows, k, generator=rng), torch.randn(rows, k, generator=rng) - 1]


def twin(outputs: list[torch.Tensor]) -> reference.Distribution:
    mean, log_std = outputs
    normal = reference.Normal(mean, log_std.clamp(-5, 2).exp())
    squashed = reference.TransformedDistribution(normal, [reference.TanhTransform()])
    return reference.Independent(squashed, 1)


def test_log_prob_and_its_gradient_equal_torch(rng):
    outputs = heads(rng)
    ours, theirs = ([x.clone().requires_grad_() for x in outputs] for _ in range(2))
    action = torch.rand(50, 3, generator=rng) * 1.9 - 0.95
    one, other = NormalTanh(ours).log_prob(action), twin(theirs).log_prob(action)
    assert_close(one, other, atol=1e-4, rtol=1e-4)
    for x, y in zip(*(torch.autograd.grad(p.sum(), q) for p, q in ((one, ours), (other, theirs)))):
        assert_close(x, y, atol=1e-3, rtol=1e-4)


def test_a_drawn_action_comes_with_its_log_prob_and_gradients(rng):
    outputs = [x.requires_grad_() for x in heads(rng)]
    torch.manual_seed(0)
    action, log_prob = NormalTanh(outputs).rsample_with_log_prob()
    assert action.shape == (50, 3) and log_prob.shape == (50,)
    assert_close(log_prob, twin(outputs).log_prob(action), atol=1e-3, rtol=1e-3)
    torch.manual_seed(0)
    assert torch.equal(NormalTanh(outputs).sample(), action)
    assert all(x.abs().sum() > 0 for x in torch.autograd.grad(action.sum() + log_prob.sum(), outputs))


def test_it_stays_finite_where_tanh_is_flat():
    outputs = [torch.tensor([[40.0, -40.0]]), torch.tensor([[-5.0, 2.0]])]
    action, log_prob = NormalTanh(outputs).rsample_with_log_prob()
    assert action.tolist() == [[1.0, -1.0]]
    assert log_prob.isfinite().all()
    assert NormalTanh(outputs).log_prob(action).isfinite().all()


def test_its_density_integrates_to_one_and_its_entropy_is_estimated(rng):
    grid = torch.linspace(-1, 1, 200_001)[1:-1, None]
    outputs = [torch.tensor([0.3]), torch.tensor([-0.7])]
    log_prob = NormalTanh(outputs).log_prob(grid)
    assert_close(log_prob.exp().mean() * 2, torch.tensor(1.0), atol=1e-3, rtol=0)
    entropy = -(log_prob.exp() * log_prob).mean() * 2
    torch.manual_seed(0)
    estimate = NormalTanh([x.expand(100_000, 1) for x in outputs]).entropy().mean()
    assert_close(estimate, entropy, atol=0.02, rtol=0)


def test_the_greedy_action_is_tanh_of_the_mean(rng):
    outputs = heads(rng)
    assert_close(NormalTanh(outputs).mode(), outputs[0].tanh())
