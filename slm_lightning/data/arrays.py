"""Rings of rows that are written and read a handful of numbers at a time.

On the CPU an operation on a few numbers costs PyTorch about five times what it costs NumPy, so host
memory is used through NumPy's view of it; on a GPU tensors stay what they are, and nothing waits
for the host. Code for both uses what both spell alike: arithmetic, comparisons, slices, indices,
``reshape``, ``view``, ``clip``, ``any``, ``sum`` and ``cumsum``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = Any
"""A NumPy array, or a tensor that is not on the CPU."""


def array(x: Tensor) -> Array:
    """The memory of ``x``, as NumPy sees it where that is the host's."""
    return x.numpy() if x.is_cpu else x


def tensor(x: Array) -> Tensor:
    """The memory of ``x`` as a tensor again."""
    return x if isinstance(x, Tensor) else torch.from_numpy(x)


def joined(first: Array, second: Array) -> Array:
    """One after the other along the first dimension."""
    parts = (first, second)
    return torch.cat(parts) if isinstance(first, Tensor) else np.concatenate(parts)


def taken(rows: Array, places: Array) -> Array:
    """``rows[places]``, whole rows copied, which is far quicker than general indexing."""
    if not isinstance(rows, Tensor):
        return rows.take(places, 0)
    return rows.index_select(0, places.view(-1)).view(*places.shape, *rows.shape[1:])


def chosen(condition: Array, x: Array, otherwise: Array | float) -> Array:
    """``x`` where the condition holds."""
    if isinstance(condition, Tensor):
        return torch.where(condition, x, otherwise)
    return np.where(condition, x, otherwise)


def places_of(mask: Array) -> tuple[Array, ...]:
    """Where ``mask`` is true: an index for each of its dimensions."""
    return mask.nonzero(as_tuple=True) if isinstance(mask, Tensor) else mask.nonzero()


def running_max(x: Array) -> Array:
    """The largest so far along the first dimension."""
    return x.cummax(0).values if isinstance(x, Tensor) else np.maximum.accumulate(x)


def write(rings: dict[str, Array], step: int, columns: dict[str, Array]) -> None:
    """Writes the rows ``[T, ...]`` of each column into the ring of its name, from ``step`` on, around
    the end where need be. All columns are of one length, and all rings, which is at least T."""
    length, count = (len(next(iter(x.values()))) for x in (rings, columns))
    first = step % length
    if first + count <= length:
        for name, rows in columns.items():
            rings[name][first : first + count] = rows
        return
    room = length - first
    for name, rows in columns.items():
        rings[name][first:] = rows[:room]
        rings[name][: count - room] = rows[room:]
