"""Narrow matrix products of compiled updates, as sums.

The first layer of a small net has few inputs, its heads have few outputs. To call a library for such a
product takes longer than to compute it: a head of 256 weights for 256 rows 10 µs in float32 and 25 in
bfloat16. As sums of products of numbers it is part of the loops before and behind it. This is for the
compiler; so is this file.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx
from torch._inductor import inductor_prims
from torch._inductor.decomposition import select_decomp_table
from torch.fx.experimental.proxy_tensor import make_fx

FEW = 8
"""Rows, columns, or terms of each sum, up to which a product is narrow."""


def is_narrow(a: fx.Node, b: fx.Node) -> bool:
    """Whether ``a @ b`` is to be sums."""
    left, right = a.meta["val"], b.meta["val"]
    return left.is_floating_point() and 0 < min(*left.shape, right.shape[1]) <= FEW


def sums(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """``a [M, K] @ b [K, N] + bias``, computed in float32 at least, for a small M, K or N."""
    (m, k), n = a.shape, b.shape[1]
    dtype = a.dtype
    wide = torch.promote_types(dtype, torch.float32)
    a, b = a.to(wide), b.to(wide)
    if k <= FEW:
        b = laid_out(b)
        made = sum((a[:, i, None] * b[i] for i in range(1, k)), a[:, 0, None] * b[0])
    elif n <= FEW:
        columns = laid_out(b.t())
        made = torch.stack([(a * columns[i]).sum(1) for i in range(n)], 1)
    else:
        made = torch.stack([(a[i, :, None] * b).sum(0) for i in range(m)])
    return (made if bias is None else made + bias).to(dtype)


def laid_out(rows: Tensor) -> Tensor:
    """``rows`` with each one end to end in memory, where a loop reads 16 numbers at once."""
    return inductor_prims.force_stride_order(rows, [rows.shape[1], 1])


def insert_sums(graph: fx.Graph, *nodes: fx.Node) -> fx.Node:
    """What :func:`sums` makes of ``nodes``, in the ``graph`` where it is now written to."""
    values = [node.meta["val"] for node in nodes]
    part = make_fx(lambda *values: sums(*values), select_decomp_table())(*values).graph
    given = part.find_nodes(op="placeholder")
    return graph.graph_copy(part, dict(zip(given, nodes)))  # type: ignore[return-value]
