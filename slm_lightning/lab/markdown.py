"""Pieces of Markdown texts."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

from slm_lightning.lab.wording import interval, number


def plain(text: str) -> str:
    """Text that Markdown shows as it is, in a table too."""
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table; its cells are Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def block(commands: Sequence[str]) -> list[str]:
    """Commands of a shell."""
    return ["```sh", *commands, "```"]


def mean(scalars: Mapping[str, float], metric: str, mark: str = "") -> str:
    """A metric of a trial with its interval, where it has one; ``mark`` goes around the mean."""
    bounds = interval(*(scalars.get(f"{metric}_ci_{end}", float("nan")) for end in ("low", "high")))
    return f"{mark}{number(scalars.get(metric))}{mark}" + (f" ({bounds})" if bounds else "")
