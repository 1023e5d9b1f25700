"""How numbers, settings and sentences are written, in the terminal and on pages."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping
from typing import Any

WIDTH = 80
"""Characters of a line of text."""


def number(value: float | None, digits: int = 4) -> str:
    """Significant digits without an exponent where that is readable; n/a where there is no value."""
    if value is None or not math.isfinite(value):
        return "n/a"
    if value and not 1e-4 <= abs(value) < 10 ** max(digits, 6):
        return f"{value:.{digits}g}".replace("-", "−")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0
    text = f"{value:,.{decimals}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace(",", "\u202f").replace("-", "−")


def interval(low: float, high: float) -> str:
    """The bounds of an interval; empty where it has none."""
    return f"{number(low)} to {number(high)}" if math.isfinite(low) and math.isfinite(high) else ""


def bracketed(low: float, high: float) -> str:
    """The same to stand behind a mean: `` (95 % interval 1 to 2)``."""
    bounds = interval(low, high)
    return f" (95 % interval {bounds})" if bounds else ""


def count(n: int, noun: str) -> str:
    """``1 trial``, ``2 trials``."""
    return f"{number(n, 15)} {noun}" if n == 1 else f"{number(n, 15)} {noun}s"


def duration(seconds: float | None) -> str:
    """The two largest units: ``2 h 5 min``."""
    if seconds is None:
        return "n/a"
    rest = max(0, round(seconds))
    parts = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        amount, rest = divmod(rest, size)
        parts.append((amount, unit))
    first = next((i for i, (amount, _) in enumerate(parts) if amount), len(parts) - 1)
    return " ".join(f"{amount} {unit}" for amount, unit in parts[first : first + 2] if amount) or "0 s"


def setting(drawn: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """What was drawn for a trial: ``lr 0.01, hid_layers [64]``; ``names`` by path, those there are."""
    return ", ".join(f"{names.get(path, path)} {spec_value(value)}" for path, value in drawn.items())


def spec_value(value: Any) -> str:
    """A value as a spec has it: fractions in four digits, all else as JSON."""
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value)


def shortened(text: str, width: int) -> str:
    """A text without its middle where it is longer than ``width``; its end, which tells names apart,
    stays."""
    end = (width - 1) // 2
    return text if len(text) <= width else f"{text[: width - 1 - end]}…{text[-end:]}"


def wrapped(line: str, indent: str = "  ") -> str:
    """A line as several of at most 80 characters, all but the first indented. A name or a path stays
    whole."""
    return textwrap.fill(
        line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
