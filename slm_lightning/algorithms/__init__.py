"""One file is one algorithm. Each is found by the name of its class."""

from __future__ import annotations

import importlib
import pkgutil

from slm_lightning.algorithms.agent import Agent


def algorithms() -> dict[str, type[Agent]]:
    """Every algorithm of this package by the name a spec calls it."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        importlib.import_module(module.name)
    return {cls.__name__: cls for cls in Agent.__subclasses__()}
