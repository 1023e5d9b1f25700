"""A sum tree of tensors: draws proportional to priorities, thousands at a time."""

from __future__ import annotations

import torch
from torch import Tensor

FANOUT = 32
"""Children of a node: a wide tree is a few gathers deep."""


class SumTree:
    """Non-negative ``priority [size]``, float64, with the sums that make a draw cost O(log size)."""

    def __init__(self, size: int, device: torch.device):
        self.levels: list[Tensor] = []
        """From the root's children down to the leaves, each ``[nodes * FANOUT]``."""
        while not self.levels or size > 1:
            nodes = -(-size // FANOUT)
            zeros = torch.zeros(nodes * FANOUT, dtype=torch.float64, device=device)
            self.levels.insert(0, zeros)
            size = nodes

    @property
    def priority(self) -> Tensor:
        """The leaves, padded with zeros."""
        return self.levels[-1]

    @property
    def total(self) -> Tensor:
        """The sum of all priorities, a scalar."""
        return self.levels[0].sum()

    def set(self, index: Tensor, priority: Tensor) -> None:
        """Gives the leaves ``index [B]`` their ``priority [B]``."""
        self.priority[index] = priority.double()
        for children, parents in zip(reversed(self.levels), reversed(self.levels[:-1])):
            index = index // FANOUT
            parents[index] = children.view(-1, FANOUT)[index].sum(-1)

    def find(self, mass: Tensor) -> Tensor:
        """The leaves ``[B]`` whose stretch of the cumulated priorities holds ``mass [B]``, each in
        ``[0, total)``."""
        node = torch.zeros_like(mass, dtype=torch.int64)
        for level in self.levels:
            sums = level.view(-1, FANOUT)[node].cumsum(-1)
            mass = torch.minimum(mass, sums[:, -1] * (1 - 1e-12))  # rounding must not fall off the end
            child = (sums <= mass[:, None]).sum(-1)
            before = sums.gather(-1, (child - 1).clamp(min=0)[:, None]).squeeze(-1)
            mass = (mass - torch.where(child > 0, before, 0.0)).clamp(min=0)
            node = node * FANOUT + child
        return node
