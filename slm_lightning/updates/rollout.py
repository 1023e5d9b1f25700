"""A vector step as one compiled graph."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from slm_lightning.algorithms.agent import Info
from slm_lightning.updates.compiling import as_graph, refusal, troubles, uncollected
from slm_lightning.updates.graph import Graph


class CompiledStep:
    """``step(place)``, which leaves all that it does in tensors, compiled when it is first called."""

    def __init__(self, step: Callable[[Tensor], Info], device: torch.device):
        self.graph = Graph(as_graph(step, device))  # type: ignore[arg-type]
        self.settled = False

    def __call__(self, place: Tensor) -> None:
        """Raises MissingError where the step cannot be compiled on this machine."""
        try:
            if self.settled:
                self.graph(place)
                return
            with uncollected():
                self.graph(place)
            self.settled = True
        except troubles() as error:
            raise refusal("the rollout", error) from error

    def look_again(self) -> None:
        self.graph.look_again()
