"""Each action distribution against ``torch.distributions``."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch import distributions as reference
from torch.distributions.transforms import AffineTransform
from torch.nn.functional import one_hot, softplus
from torch.testing import assert_close

from slm_lightning.core import ActionSpec
from slm_lightning.errors import SpecError
from slm_lightning.rl.distributions import (
    CHOICES,
    Argmax,
    Bernoulli,
    Beta,
    Categorical,
    Gumbel,
    GumbelSoftmax,
    LogNormal,
    MultiCategorical,
    MultivariateNormal,
    Normal,
    distribution_for,
)

DRAWS = 40_000
SPACES = {
    "discrete": ActionSpec("discrete", (4,)),
    "continuous": ActionSpec("continuous", (3,)),
    "multi_discrete": ActionSpec("multi_discrete", (2, 4)),
    "multi_binary": ActionSpec("multi_binary", (3,)),
}
KINDS = [(kind, name) for kind, choices in CHOICES.items() for name in choices if name != "NormalTanh"]
"""Each that has an entropy in closed form."""


def outputs_for(kind: str, name: str, rng: torch.Generator, rows: int = 5) -> list[Tensor]:
    """What a net would give: each head ``[rows, size]``."""
    sizes = CHOICES[kind][name].heads(SPACES[kind])
    return [torch.randn(rows, size, generator=rng) for size in sizes]


class OnActions(reference.TransformedDistribution):
    """A distribution on [0, 1] stretched by 2, which adds log 2 to its entropy."""

    def entropy(self) -> Tensor:
        return self.base_dist.entropy() + math.log(2)


def twin(name: str, outputs: list[Tensor]) -> reference.Distribution | list[reference.Categorical]:
    """The same distribution, by PyTorch."""
    match name:
        case "Categorical" | "GumbelSoftmax":
            return reference.Categorical(logits=outputs[0])
        case "Argmax":
            return reference.Categorical(one_hot(outputs[0].argmax(-1), outputs[0].shape[-1]))
        case "MultiCategorical":
            return [reference.Categorical(logits=logits) for logits in outputs]
        case "Bernoulli":
            return reference.Independent(reference.Bernoulli(logits=outputs[0]), 1)
        case "Normal":
            mean, log_std = outputs
            return reference.Independent(reference.Normal(mean, log_std.clamp(-5, 2).exp()), 1)
        case "LogNormal" | "Gumbel":
            mean, log_std = outputs
            kind = {"LogNormal": reference.LogNormal, "Gumbel": reference.Gumbel}[name]
            return reference.Independent(kind(mean, log_std.clamp(-5, 2).exp()), 1)
        case "Beta":
            unit = reference.Beta(*(1 + softplus(raw) for raw in outputs))
            return reference.Independent(OnActions(unit, AffineTransform(-1.0, 2.0)), 1)
    mean, log_var = outputs
    return reference.MultivariateNormal(mean, torch.diag_embed(log_var.clamp(-5, 2).exp()))


@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_log_prob_and_entropy_equal_torch(kind, name, rng):
    outputs = outputs_for(kind, name, rng)
    pi, other = CHOICES[kind][name](outputs), twin(name, outputs)
    torch.manual_seed(1)
    action = pi.sample()
    assert action.shape == (5, *SPACES[kind].shape)
    assert action.dtype == SPACES[kind].dtype
    if isinstance(other, list):
        log_prob = sum(part.log_prob(a) for part, a in zip(other, action.unbind(-1)))
        entropy = sum(part.entropy() for part in other)
    else:
        log_prob = other.log_prob(action.float() if name == "Bernoulli" else action)
        entropy = other.entropy()
    assert_close(pi.log_prob(action), log_prob)
    assert_close(pi.entropy(), entropy)


@pytest.mark.parametrize(("kind", "name"), [kind for kind in KINDS if kind[1] != "Argmax"])
def test_gradients_of_log_prob_and_entropy_equal_torch(kind, name, rng):
    outputs = [x.requires_grad_() for x in outputs_for(kind, name, rng)]
    pi, other = CHOICES[kind][name](outputs), twin(name, outputs)
    action = pi.mode().detach()
    if kind == "continuous":
        action = action * 0.7 if name == "Beta" else action + 0.3
    ours = torch.autograd.grad((pi.log_prob(action) + pi.entropy()).sum(), outputs)
    if isinstance(other, list):
        theirs = sum(p.log_prob(a) + p.entropy() for p, a in zip(other, action.unbind(-1)))
    else:
        theirs = other.log_prob(action.float()) + other.entropy()
    for one, two in zip(ours, torch.autograd.grad(theirs.sum(), outputs)):
        assert_close(one, two, atol=1e-5, rtol=1e-4)


def five_sigma(p: Tensor) -> Tensor:
    """The largest deviation of an observed frequency that chance explains."""
    return 5 * (p * (1 - p) / DRAWS).sqrt()


@pytest.mark.parametrize("kind", [Categorical, GumbelSoftmax])
def test_categorical_samples_with_its_probabilities(kind):
    p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    torch.manual_seed(0)
    draws = kind([p.log().expand(DRAWS, 4)]).sample()
    frequency = draws.bincount(minlength=4) / DRAWS
    assert ((frequency - p).abs() < five_sigma(p)).all()


def test_multi_categorical_samples_each_dimension_independently():
    p, q = torch.tensor([0.2, 0.8]), torch.tensor([0.1, 0.3, 0.6])
    torch.manual_seed(0)
    draws = MultiCategorical([p.log().expand(DRAWS, 2), q.log().expand(DRAWS, 3)]).sample()
    joint = (draws[:, 0] * 3 + draws[:, 1]).bincount(minlength=6).view(2, 3) / DRAWS
    expected = p[:, None] * q
    assert ((joint - expected).abs() < five_sigma(expected)).all()


def test_bernoulli_samples_with_its_probabilities():
    p = torch.tensor([0.1, 0.5, 0.9])
    torch.manual_seed(0)
    frequency = Bernoulli([p.logit().expand(DRAWS, 3)]).sample().float().mean(0)
    assert ((frequency - p).abs() < five_sigma(p)).all()


@pytest.mark.parametrize(("kind", "halved"), [(Normal, 1), (MultivariateNormal, 2)])
def test_normal_samples_with_its_moments(kind, halved):
    mean, raw = torch.tensor([3.0, -1.0]), torch.tensor([-1.0, 0.5])
    torch.manual_seed(0)
    draws = kind([mean.expand(DRAWS, 2), raw.expand(DRAWS, 2)]).sample()
    std = (raw / halved).exp()
    assert ((draws.mean(0) - mean).abs() < 5 * std / DRAWS**0.5).all()
    assert ((draws.std(0) / std - 1).abs() < 5 / (2 * DRAWS) ** 0.5).all()


def test_argmax_draws_the_largest_or_one_of_them():
    assert (Argmax([torch.tensor([0.1, 3.0, -1.0]).expand(500, 3)]).sample() == 1).all()
    tied = Argmax([torch.tensor([2.0, 0.0, 2.0]).expand(DRAWS, 3)])
    torch.manual_seed(0)
    frequency = tied.sample().bincount(minlength=3) / DRAWS
    expected = torch.tensor([0.5, 0.0, 0.5])
    assert ((frequency - expected).abs() <= five_sigma(expected)).all()
    assert_close(tied.entropy()[0], torch.tensor(2.0).log())
    assert_close(tied.log_prob(torch.zeros(DRAWS, dtype=torch.int64))[0], torch.tensor(0.5).log())


@pytest.mark.parametrize("name", ["LogNormal", "Gumbel", "Beta"])
def test_the_others_sample_with_their_moments(name):
    heads = [torch.tensor([0.4, -1.0]), torch.tensor([-1.0, 0.3])]
    other = twin(name, [x[None] for x in heads]).base_dist
    mean, std = (
        (2 * other.base_dist.mean - 1, 2 * other.base_dist.stddev)
        if name == "Beta"
        else (
            other.mean,
            other.stddev,
        )
    )
    torch.manual_seed(0)
    draws = CHOICES["continuous"][name]([x.expand(DRAWS, 2) for x in heads]).sample()
    assert ((draws.mean(0) - mean).abs() < 5 * std / DRAWS**0.5).all()
    quartiles = torch.tensor([0.25, 0.5, 0.75])[:, None].expand(3, 2)
    if name != "Beta":  # torch has no inverse of its distribution function
        below = (draws[:, None] < other.icdf(quartiles)).float().mean(0)
        assert ((below - quartiles).abs() < five_sigma(quartiles)).all()
    else:
        assert (draws.std(0) / std - 1).abs().max() < 0.02
        assert draws.abs().max() < 1


def test_beta_where_it_is_all_but_uniform_or_an_action_lies_on_the_edge():
    flat = Beta([torch.full((1, 2), -200.0), torch.full((1, 2), -200.0)])
    assert flat.mode().tolist() == [[0.0, 0.0]]
    assert_close(flat.log_prob(torch.tensor([[0.3, -1.0]])), torch.tensor([-2 * math.log(2)]))
    edge = Beta([torch.zeros(1, 1), torch.zeros(1, 1)]).log_prob(torch.tensor([[1.0]]))
    assert edge.isfinite() and edge < -5


def test_the_temperature_of_beta_is_a_power_of_its_density(rng):
    heads = [torch.randn(1, 1, generator=rng) for _ in range(2)]
    actions = torch.linspace(-0.9, 0.9, 7)[:, None]
    plain, hot = (Beta(heads, temperature).log_prob(actions) for temperature in (1.0, 2.5))
    assert_close(hot.diff(), plain.diff() / 2.5)


@pytest.mark.parametrize("kind", [LogNormal, Gumbel])
def test_the_others_stay_finite_far_from_where_they_draw(kind):
    heads = [torch.tensor([[0.0, 3.0]], requires_grad=True), torch.full((1, 2), -9.0)]
    for action in (-1.0, 0.0, 1e-45, 1.0, torch.inf if kind is LogNormal else 1e6):
        log_prob = kind(heads).log_prob(torch.full((1, 2), action))
        assert log_prob.isfinite() and log_prob < -100
        (gradient,) = torch.autograd.grad(log_prob.sum(), heads[0])
        assert gradient.isfinite().all()


@pytest.mark.parametrize("kind", [LogNormal, Gumbel])
def test_the_temperature_of_the_others_widens_them(kind, rng):
    heads = torch.randn(5, 3, generator=rng), torch.zeros(5, 3)
    assert_close(kind(heads, 2.0).std, 2 * kind(heads).std)


@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_mode_is_the_most_likely_action(kind, name, rng):
    outputs = outputs_for(kind, name, rng)
    pi = CHOICES[kind][name](outputs)
    torch.manual_seed(0)
    best = pi.log_prob(pi.mode())
    assert all((pi.log_prob(pi.sample()) <= best + 1e-6).all() for _ in range(50))
    assert torch.equal(pi.mode(), pi.mode())


def test_the_log_deviation_is_kept_between_minus_5_and_2():
    mean, raw = torch.zeros(1, 2), torch.tensor([[-50.0, 50.0]])
    assert_close(Normal([mean, raw]).std, torch.tensor([[-5.0, 2.0]]).exp())


def test_a_log_deviation_that_no_state_changes_is_shared_by_all_rows(rng):
    mean, log_std = torch.randn(6, 2, generator=rng), torch.tensor([-1.0, 0.5])
    pi, wide = Normal([mean, log_std]), Normal([mean, log_std.expand(6, 2)])
    action = torch.randn(6, 2, generator=rng)
    assert_close(pi.log_prob(action), wide.log_prob(action))
    assert_close(pi.entropy(), wide.entropy())
    assert pi.entropy().shape == (6,)


def test_temperature_divides_logits_and_multiplies_deviations(rng):
    logits = torch.randn(5, 3, generator=rng)
    hot, expected = Categorical([logits], temperature=2.0), reference.Categorical(logits=logits / 2)
    action = torch.tensor([0, 1, 2, 0, 1])
    assert_close(hot.log_prob(action), expected.log_prob(action))
    assert_close(Bernoulli([logits], 2.0).entropy(), Bernoulli([logits / 2]).entropy())
    assert_close(Normal([logits, logits], 2.0).std, 2 * logits.exp())


@pytest.mark.parametrize("kind", SPACES)
def test_the_default_is_the_first_that_fits(kind):
    first = next(iter(CHOICES[kind].values()))
    assert distribution_for(SPACES[kind]) is first
    for name, cls in CHOICES[kind].items():
        assert distribution_for(SPACES[kind], name) is cls


def test_a_distribution_that_does_not_fit_is_named_with_what_does():
    with pytest.raises(SpecError, match=r'"Normal" does not fit a multi-binary .* choose Bernoulli'):
        distribution_for(SPACES["multi_binary"], "Normal")
