"""One dimension of a search: how a value is drawn, and from what.

The distributions are those of Ray Tune, as SLM Lab's specs use them. A range includes its upper end,
but for ``randint`` and ``lograndint``; with a quantum ``q`` it is that of the multiples within it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from slm_lightning.spec.numeric import MOST, integer, number
from slm_lightning.spec.wording import short, shown

GOLDEN = (math.sqrt(5) - 1) / 2
"""The number that is furthest from any ratio of small whole numbers."""


class Distribution(NamedTuple):
    """What the arguments of a distribution mean."""

    whole: bool
    log: bool
    quantised: bool


DISTRIBUTIONS = {
    "uniform": Distribution(whole=False, log=False, quantised=False),
    "quniform": Distribution(whole=False, log=False, quantised=True),
    "loguniform": Distribution(whole=False, log=True, quantised=False),
    "qloguniform": Distribution(whole=False, log=True, quantised=True),
    "randint": Distribution(whole=True, log=False, quantised=False),
    "qrandint": Distribution(whole=True, log=False, quantised=True),
    "lograndint": Distribution(whole=True, log=True, quantised=False),
    "qlograndint": Distribution(whole=True, log=True, quantised=True),
}
"""Ranges of numbers by name."""
SEARCHABLE = ("choice", *DISTRIBUTIONS)
"""Distributions that ``<path>__<distribution>`` in ``search`` may name."""


def fingerprint(value: Any) -> str:
    """Text that two values share where they are the same to a spec: 1 and 1.0 are, but neither is
    true or "1"."""
    return json.dumps(_plain(value), sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@dataclass(frozen=True)
class Condition:
    """That what was drawn for ``path`` is one of ``values``."""

    path: str
    values: tuple[Any, ...]

    def holds(self, drawn: Mapping[str, Any]) -> bool:
        if self.path not in drawn:
            return False
        return fingerprint(drawn[self.path]) in map(fingerprint, self.values)


@dataclass(frozen=True)
class Dimension:
    """A key of a spec that a search draws.

    ``path`` is where the value goes, ``key`` what ``search`` calls it, nested keys joined by dots.
    Numbers lie from ``low`` to ``high``, both included, ``step`` apart (None: anywhere between), the
    denser the smaller they are where ``log``. With a ``quantum`` all are its multiples.
    """

    path: str
    key: str
    kind: Literal["float", "int", "choice"]
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    quantum: float | None = None
    choices: tuple[Any, ...] = ()
    condition: Condition | None = None

    def active(self, drawn: Mapping[str, Any]) -> bool:
        """Whether a value is drawn, where ``drawn`` are those of other dimensions by their paths."""
        return self.condition is None or self.condition.holds(drawn)

    def finish(self, raw: Any) -> Any:
        """The value that ``raw``, anywhere in the range, stands for: a multiple of the quantum, a whole
        number for ``int``. An option of a choice stays as it is."""
        if self.kind == "choice":
            return raw
        if self.quantum is not None:
            raw = _multiple(round(_decimal(raw) / _decimal(self.quantum)), self.quantum)
        value = min(max(raw, self.low), self.high)
        return round(value) if self.kind == "int" else float(value)

    @property
    def size(self) -> int | None:
        """How many values there are; None where there is no end of them."""
        if self.kind == "choice":
            return len(self.choices)
        if self.step is None:
            return None
        return int((_decimal(self.high) - _decimal(self.low)) / _decimal(self.step)) + 1

    @property
    def probes(self) -> list[Any]:
        """Values that show whether all of them are allowed: every option, or both ends of a range and
        one between them, which is no whole number unless all are."""
        if self.kind == "choice":
            return list(self.choices)
        within = self.low + (self.step or (self.high - self.low) * (1 - GOLDEN))
        rounded = round(within, 2)
        if self.step is None and self.low < rounded < self.high and not rounded.is_integer():
            within = rounded
        return list(dict.fromkeys(self.finish(value) for value in (self.low, self.high, within)))


def dimension_of(path: str, key: str, distribution: str, arguments: list[Any]) -> Dimension:
    """The dimension that draws by ``distribution``. Raises ValueError with the sentence about arguments
    that are wrong."""
    if distribution == "choice":
        seen = [fingerprint(option) for option in arguments]
        for i, option in enumerate(arguments):
            if seen[i] in seen[:i]:
                raise ValueError(f"{shown(option)} stands there twice")
        return Dimension(path, key, "choice", choices=tuple(arguments))
    whole, log, quantised = DISTRIBUTIONS[distribution]
    low, high, quantum = _range(arguments, whole, log, quantised)
    step = quantum
    if whole and not quantised:
        high, step = high - 1, 1
    kind: Literal["int", "float"] = "int" if whole else "float"
    return Dimension(path, key, kind, low, high, log, step, quantum)


def _range(
    arguments: list[Any], whole: bool, log: bool, quantised: bool
) -> tuple[float, float, float | None]:
    """Both ends as they are drawn, and the quantum. Raises ValueError."""
    names = ("low", "high", "q") if quantised else ("low", "high")
    if len(arguments) != len(names):
        raise ValueError(f"expected [{', '.join(names)}], not {shown(arguments)}")
    low, high, *rest = (
        _argument(name, value, whole) for name, value in zip(names, arguments, strict=True)
    )
    if low >= high:
        raise ValueError(f"expected low below high, not {shown(arguments[:2])}")
    if math.isinf(high - low):
        raise ValueError(f"expected a narrower range than {shown(arguments[:2])}")
    if log and low <= 0:
        raise ValueError(f"expected low above 0 for a logarithm, not {shown(arguments[0])}")
    if not rest:
        return low, high, None
    (quantum,) = rest
    if quantum <= 0:
        raise ValueError(f"expected q above 0, not {shown(arguments[2])}")
    first = math.ceil(_decimal(low) / _decimal(quantum))
    last = math.floor(_decimal(high) / _decimal(quantum))
    if first > last:
        raise ValueError(f"no multiple of {short(quantum)} lies from {short(low)} to {short(high)}")
    if max(-first, last) > MOST:
        raise ValueError(f"expected q to be larger for this range, not {shown(arguments[2])}")
    return _multiple(first, quantum), _multiple(last, quantum), quantum


def _argument(name: str, value: Any, whole: bool) -> float:
    try:
        found = integer(value) if whole else float(number(value))
    except ValueError:
        kind = "a whole number" if whole else "a number"
        raise ValueError(f"expected {kind} for {name}, not {shown(value)}") from None
    if whole and abs(found) > MOST:
        raise ValueError(f"expected {name} to be at most {short(MOST)}, not {shown(value)}")
    return found


def _decimal(value: float) -> Decimal:
    """A number as it is written."""
    return Decimal(str(value))


def _multiple(times: int, quantum: float) -> float:
    """``times`` the quantum as it is written, without the error of binary fractions."""
    value = times * _decimal(quantum)
    return int(value) if isinstance(quantum, int) else float(value)
