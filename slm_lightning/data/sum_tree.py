"""A sum tree of tensors: draws proportional to priorities, thousands at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from slm_lightning.data.arrays import Array, array

WIDEST = 320
"""Most children of a node: a wide tree is a few gathers deep, two up to a hundred thousand leaves."""
BELOW_ONE = 1 - 1e-12
"""Of a node's sum, what is searched for at most: rounding must not fall off its end."""


class SumTree:
    """Non-negative ``priority [size]``, float64, with the sums that make a draw cost O(log size).

    Each sum is made anew from all children of its node, so that equal priorities make equal trees,
    whatever was there before.
    """

    def __init__(self, size: int, device: torch.device):
        depth = next(depth for depth in range(1, 64) if WIDEST**depth >= size)
        self.fanout = next(fanout for fanout in range(1, WIDEST + 1) if fanout**depth >= size)
        self.levels = [
            torch.zeros(self.fanout**level, self.fanout, dtype=torch.float64, device=device)
            for level in range(depth)
        ]
        """From the root down to the leaves, each ``[nodes, children]``."""
        self.arrays = [array(level) for level in self.levels]

    @property
    def priority(self) -> Tensor:
        """The leaves, padded with zeros."""
        return self.levels[-1].view(-1)

    @property
    def total(self) -> Tensor:
        """The sum of all priorities, a scalar."""
        return self.levels[0].sum()

    def set(self, index: Tensor, priority: Tensor) -> None:
        """Gives the leaves ``index [B]`` their ``priority [B]``."""
        self._change(array(index), array(priority))

    def fill(self, start: int, end: int, priority: Tensor) -> None:
        """Gives the leaves from ``start`` to before ``end`` one ``priority``, a scalar."""
        self._change(slice(start, end), array(priority))

    def _change(self, leaves: Array | slice, priority: Array) -> None:
        self.arrays[-1].reshape(-1)[leaves] = priority
        nodes = leaves
        for level in range(len(self.arrays) - 1, 0, -1):
            nodes = self._above(nodes)
            self.arrays[level - 1].reshape(-1)[nodes] = self.arrays[level][nodes].sum(-1)

    def _above(self, nodes: Array | slice) -> Array | slice:
        """The parents of ``nodes``."""
        if isinstance(nodes, slice):
            return slice(nodes.start // self.fanout, (nodes.stop - 1) // self.fanout + 1)
        return nodes // self.fanout

    def find(self, mass: Tensor) -> Tensor:
        """The leaves ``[B]`` whose stretch of the cumulated priorities holds ``mass [B]``, each in
        ``[0, total)``."""
        sums = self.levels[0][0].cumsum(0)
        mass = torch.minimum(mass, sums[-1] * BELOW_ONE)
        node = child = torch.searchsorted(sums, mass, right=True)
        for level in self.levels[1:]:
            mass = mass - _before(sums, child)
            sums = level.index_select(0, node).cumsum(-1)
            mass = torch.minimum(mass, sums[:, -1] * BELOW_ONE)
            child = torch.searchsorted(sums, mass[:, None], right=True).squeeze(-1)
            node = node * self.fanout + child
        return node


def _before(sums: Tensor, child: Tensor) -> Tensor:
    """Of cumulated ``sums [children]``, or those of each draw ``[B, children]``, the one before
    ``child [B]``."""
    index = (child - 1).clamp_(min=0)
    before = sums.take(index) if sums.dim() == 1 else sums.gather(-1, index[:, None]).squeeze(-1)
    return before.masked_fill_(child == 0, 0.0)
