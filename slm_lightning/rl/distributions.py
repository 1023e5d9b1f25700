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
from torch.nn.functional import logsigmoid

from slm_lightning.core import ActionSpec
from slm_lightning.errors import SpecError

LOG_STD_RANGE = (-5.0, 2.0)


class Distribution(ABC):
    """π(·|s) for a batch of states; ``log_prob`` and ``entropy`` are summed over action dimensions."""

    @abstractmethod
    def __init__(self, outputs: Sequence[Tensor], temperature: float = 1.0):
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

    def __init__(self, outputs: Sequence[Tensor], temperature: float = 1.0):
        logits = outputs[0] if temperature == 1.0 else outputs[0] / temperature
        self.log_probs = logits.log_softmax(-1)

    @staticmethod
    def heads(action: ActionSpec) -> list[int]:
        return list(action.sizes)

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


class MultiCategorical(Distribution):
    """Independent categoricals; one head of n_i logits each, actions ``[..., k]``."""

    def __init__(self, outputs: Sequence[Tensor], temperature: float = 1.0):
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

    def __init__(self, outputs: Sequence[Tensor], temperature: float = 1.0):
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

    def __init__(self, outputs: Sequence[Tensor], temperature: float = 1.0):
        self.mean, raw = outputs
        self.log_std = self.scale(raw.clamp(*LOG_STD_RANGE)) + math.log(temperature)
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


CHOICES: dict[str, dict[str, type[Distribution]]] = {
    "discrete": {"Categorical": Categorical},
    "continuous": {"Normal": Normal, "MultivariateNormal": MultivariateNormal},
    "multi_discrete": {"MultiCategorical": MultiCategorical},
    "multi_binary": {"Bernoulli": Bernoulli},
}


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
