"""One file is one algorithm, or a few that differ in a line. Each is found by the name of its class."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

from slm_lightning.algorithms.agent import Agent


def algorithms() -> dict[str, type[Agent]]:
    """Every algorithm of this package by the name a spec calls it; an abstract class is what
    several have in common."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        importlib.import_module(module.name)
    return {cls.__name__: cls for cls in _descendants(Agent) if not inspect.isabstract(cls)}


def _descendants(cls: type[Agent]) -> Iterator[type[Agent]]:
    for child in cls.__subclasses__():
        yield child
        yield from _descendants(child)
