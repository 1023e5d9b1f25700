"""Action distributions over the last dimension(s) of a net's output.

Each is written out rather than taken from ``torch.distributions``: the formulas are short, they are
part of what a reader comes for, and a rollout builds one per vector step. The tests compare them
with ``torch.distributions``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from slm_lightning.core import ActionSpec
from slm_lightning.errors import SpecError

EULER = 0.5772156649015329
LOG_STD_RANGE = (-5.0, 2.0)
FORBIDDEN = -1e30
"""Logit, or value, of an action that is not allowed: finite, so that the entropy is."""


class Distribution(ABC):
    """π(·|s) for a batch of states; ``log_prob`` and ``entropy`` are summed over action dimensions."""

    @abstractmethod
    def __init__(self, outputs: Sequence[Tensor], temperature: Tensor | float = 1.0):
        """``outputs``: the net's heads, ``[..., size]`` each; logits are divided by ``temperature``."""

    @staticmethod
    @abstractmethod
    def heads(action: ActionSpec) -> list[int]:
        """Sizes of the net's output heads that parametrise the distribution."""

    @abstractmethod
    def sample(self) -> Tensor: ...

    @abstractmethod
    def mode(self) -> Tensor: ...

    @abstractmethod
    def log_prob(self, action: Tensor) -> Tensor: ...

    @abstractmethod
    def entropy(self) -> Tensor: ...


class Categorical(Distribution):
    """``π(a) = softmax(logits)_a``; one head of A logits, actions ``[...]``."""

    def __init__(self, outputs: Sequence[Tensor], temperature: Tensor | float = 1.0):
        plain = not isinstance(temperature, Tensor) and temperature == 1.0
        logits = outputs[0] if plain else outputs[0] / temperature
        self.log_probs = logits.log_softmax(-1)

    @staticmethod
    def heads(action: ActionSpec) -> list[int]:
        return list(action.sizes)

    @property
    def allowed(self) -> Tensor:
        """``[..., A]`` bool: all but those whose logit is FORBIDDEN."""
        return self.log_probs > FORBIDDEN * 1e-10

    def sample(self) -> Tensor:
        """Gumbel-max: ``argmax(log π - log E)`` with E exponential is a draw from π."""
        noise = torch.empty_like(self.log_probs).exponential_().log_()
        return (self.log_probs - noise).argmax(-1)

    def mode(self) -> Tensor:
        return self.log_probs.argmax(-1)

    def log_prob(self, action: Tensor) -> Tensor:
        return self.log_probs.gather(-1, action[..., None]).squeeze(-1)

    def entropy(self) -> Tensor:
        return -(self.log_probs.exp() * self.log_probs).sum(-1)


class GumbelSoftmax(Categorical):
    """As Categorical: a hard sample of the relaxed distribution is an exact draw from it, at any
    temperature of the relaxation (E. Jang et al. 2017)."""


class Argmax(Categorical):
    """All mass on the largest logit, in equal parts where several are the largest. It has no gradient:
    for agents whose logits are action values."""

    def __init__(self, outputs: Sequence[Tensor], temperature: Tensor | float = 1.0):
        best = outputs[0] == outputs[0].amax(-1, keepdim=True)
        super().__init__([torch.where(best, 0.0, FORBIDDEN)])


class MultiCategorical(Distribution):
    """Independent categoricals; one head of n_i logits each, actions ``[..., k]``."""

    def __init__(self, outputs: Sequence[Tensor], temperature: Tensor | float = 1.0):
        self.parts = [Categorical([logits], temperature) for logits in outputs]

    @staticmethod
    def heads(action: ActionSpec) -> list[int]:
        return list(action.sizes)

    def sample(self) -> Tensor:
        return torch.stack([part.sample() for part in self.parts], -1)

    def mode(self) -> Tensor:
        return torch.stack([part.mode() for part in self.parts], -1)

    def log_prob(self, action: Tensor) -> Tensor:
        return torch.stack([p.log_prob(a) for p, a in zip(self.parts, action.unbind(-1))]).sum(0)

    def entropy(self) -> Tensor:
        return torch.stack([part.entropy() for part in self.parts]).sum(0)


class Bernoulli(Distribution):
    """Independent coins ``π(1) = σ(logit)``; one head of k logits, actions ``[..., k]`` in {0, 1}."""

    def __init__(self, outputs: Sequence[Tensor], temperature: Tensor | float = 1.0):
        self.logits = outputs[0] / temperature

    @staticmethod
    def heads(action: ActionSpec) -> list[int]:
        return [action.sizes[0]]

    def sample(self) -> Tensor:
        return (torch.rand_like(self.logits) < self.logits.sigmoid()).long()

    def mode(self) -> Tensor:
        return (self.logits > 0).long()

    def log_prob(self, action: Tensor) -> Tensor:
        return logsigmoid(torch.where(action.bool(), self.logits, -self.logits)).sum(-1)

    def entropy(self) -> Tensor:
        p = self.logits.sigmoid()
        return -(p * logsigmoid(self.logits) + (1 - p) * logsigmoid(-self.logits)).sum(-1)


class Normal(Distribution):
    """Diagonal Gaussian; heads (μ, log σ) of k each, log σ clamped to [-5, 2], actions ``[..., k]``."""

    def __init__(self, outputs: Sequence[Tensor], temperature: Tensor | float = 1.0):
        self.mean, raw = outputs
        self.log_std = self.scale(raw.clamp(*LOG_STD_RANGE)) + _log(temperature)
        self.std = self.log_std.exp()

    @staticmethod
    def scale(raw: Tensor) -> Tensor:
        """log σ from the clamped net output."""
        return raw

    @staticmethod
    def heads(action: ActionSpec) -> list[int]:
        return [action.sizes[0], action.sizes[0]]

    def sample(self) -> Tensor:
        return self.mean + self.std * torch.randn_like(self.mean)

    def mode(self) -> Tensor:
        return self.mean

    def log_prob(self, action: Tensor) -> Tensor:
        z = (action - self.mean) / self.std
        return (-0.5 * z.square() - self.log_std - 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self) -> Tensor:
        entropy = self.log_std + 0.5 * math.log(2 * math.pi * math.e)
        return entropy.expand_as(self.mean).sum(-1)


class MultivariateNormal(Normal):
    """Gaussian whose head gives the logarithm of the diagonal *covariance*: ``log σ = raw / 2``."""

    @staticmethod
    def scale(raw: Tensor) -> Tensor:
        return raw / 2


class LogNormal(Normal):
    """``a = e^x`` with x of a Normal, so actions are positive."""

    LIMITS = (1e-30, 1e30)
    """Actions are taken to be within these, as e^x may be 0 or infinite in float32."""

    def sample(self) -> Tensor:
        return super().sample().exp()

    def mode(self) -> Tensor:
        return (self.mean - self.std.square()).exp()

    def log_prob(self, action: Tensor) -> Tensor:
        x = action.clamp(*self.LIMITS).log()
        return super().log_prob(x) - x.sum(-1)

    def entropy(self) -> Tensor:
        return super().entropy() + self.mean.sum(-1)


class Gumbel(Normal):
    """Type I extreme values; the heads are the location μ and log β. With ``z = (a - μ) / β``,
    ``log π(a) = -Σ (z + e^-z + log β)``."""

    RAREST = -10.0
    """z below this counts as this in ``e^-z``: the density, ``e^(-e^10)``, is 0 long before."""

    def sample(self) -> Tensor:
        noise = torch.empty_like(self.mean).exponential_().clamp_(min=1e-20)
        return self.mean - self.std * noise.log()

    def log_prob(self, action: Tensor) -> Tensor:
        z = (action - self.mean) / self.std
        return -(z + (-z.clamp(min=self.RAREST)).exp() + self.log_std).sum(-1)

    def entropy(self) -> Tensor:
        return (self.log_std + 1 + EULER).expand_as(self.mean).sum(-1)


class Beta(Distribution):
    """Beta distributions stretched over the range of actions, ``a = 2x - 1``; two heads of k each.

    P.-W. Chou et al., *Improving stochastic policy gradients in continuous control with deep
    reinforcement learning using the Beta distribution*, ICML 2017: ``α, β = 1 + softplus(head)``, which
    has one mode and no mass outside of the range. A temperature τ makes π into ``π^(1/τ)``.
    """

    LIMIT = 1 - 1e-6
    """Actions are taken to be at most this far from 0, where the density may be 0."""

    def __init__(self, outputs: Sequence[Tensor], temperature: Tensor | float = 1.0):
        self.alpha, self.beta = (1 + softplus(raw) / temperature for raw in outputs)

    @staticmethod
    def heads(action: ActionSpec) -> list[int]:
        return [action.sizes[0], action.sizes[0]]

    def sample(self) -> Tensor:
        """``x = g / (g + h)`` with g and h of gamma distributions."""
        g, h = torch._standard_gamma(self.alpha), torch._standard_gamma(self.beta)
        return (g - h) / (g + h)

    def mode(self) -> Tensor:
        return (self.alpha - self.beta) / (self.alpha + self.beta - 2).clamp(min=1e-6)

    def log_prob(self, action: Tensor) -> Tensor:
        a = action.clamp(-self.LIMIT, self.LIMIT)
        log_x, log_rest = ((1 + a) / 2).log(), ((1 - a) / 2).log()
        return ((self.alpha - 1) * log_x + (self.beta - 1) * log_rest - self._log_norm()).sum(-1)

    def entropy(self) -> Tensor:
        a, b = self.alpha, self.beta
        inner = (a - 1) * a.digamma() + (b - 1) * b.digamma() - (a + b - 2) * (a + b).digamma()
        return (self._log_norm() - inner).sum(-1)

    def _log_norm(self) -> Tensor:
        """``log 2 B(α, β)``; the 2 is the width of the range."""
        a, b = self.alpha, self.beta
        return a.lgamma() + b.lgamma() - (a + b).lgamma() + math.log(2)


class NormalTanh(Normal):
    """Diagonal Gaussian squashed into (-1, 1): ``a = tanh(x)`` with ``x ~ N(μ, σ²)``.

    T. Haarnoja et al., *Soft actor-critic*, 2018, appendix C: ``log π(a) = log N(x; μ, σ²) - Σ log(1 -
    tanh² x)``. The mode is tanh μ. The entropy has no closed form; it is estimated by one draw.
    """

    LIMIT = 1 - 1e-6
    """Actions are taken to be at most this far from 0, where tanh is not yet flat in float32."""

    def sample(self) -> Tensor:
        return super().sample().tanh()

    def rsample_with_log_prob(self) -> tuple[Tensor, Tensor]:
        """An action ``[..., k]`` and its log-probability ``[...]``, with gradients into μ and σ."""
        x = super().sample()
        return x.tanh(), self._log_prob_of(x)

    def mode(self) -> Tensor:
        return self.mean.tanh()

    def log_prob(self, action: Tensor) -> Tensor:
        return self._log_prob_of(action.clamp(-self.LIMIT, self.LIMIT).atanh())

    def _log_prob_of(self, x: Tensor) -> Tensor:
        """``log(1 - tanh² x) = 2 (ln 2 - x - softplus(-2 x))``, which stays finite for every x."""
        return super().log_prob(x) - 2 * (math.log(2) - x - softplus(-2 * x)).sum(-1)

    def entropy(self) -> Tensor:
        return -self.rsample_with_log_prob()[1]


CHOICES: dict[str, dict[str, type[Distribution]]] = {
    "discrete": {"Categorical": Categorical, "GumbelSoftmax": GumbelSoftmax, "Argmax": Argmax},
    "continuous": {
        "Normal": Normal,
        "MultivariateNormal": MultivariateNormal,
        "NormalTanh": NormalTanh,
        "LogNormal": LogNormal,
        "Gumbel": Gumbel,
        "Beta": Beta,
    },
    "multi_discrete": {"MultiCategorical": MultiCategorical},
    "multi_binary": {"Bernoulli": Bernoulli},
}


def _log(temperature: Tensor | float) -> Tensor | float:
    return temperature.log() if isinstance(temperature, Tensor) else math.log(temperature)


def distribution_for(action: ActionSpec, name: str = "default") -> type[Distribution]:
    """The class ``agent.algorithm.action_pdtype`` names; ``default`` is the first of its kind.

    Raises SpecError where it does not fit the action space.
    """
    choices = CHOICES[action.kind]
    if name == "default":
        return next(iter(choices.values()))
    if name not in choices:
        raise SpecError.at(
            "agent.algorithm.action_pdtype",
            f'"{name}" does not fit a {action.kind.replace("_", "-")} action space;'
            f" choose {' or '.join(choices)}, or default",
        )
    return choices[name]
