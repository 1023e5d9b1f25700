"""What an installation can run, as the rest of the spec package needs to know it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slm_lightning.spec.model import MemoryParams


@dataclass(frozen=True)
class Registry:
    """Everything a spec can name, by name.

    Algorithms and nets are classes that hold the model of their section as ``Params``; an algorithm
    also says in ``memories`` the names of those it learns from.
    """

    algorithms: Mapping[str, type[Any]]
    nets: Mapping[str, type[Any]]
    memories: Mapping[str, type[MemoryParams]]
    imitation_memories: Mapping[str, type[MemoryParams]]
    """The memories of algorithms that imitate past episodes."""
    backends: frozenset[str]
