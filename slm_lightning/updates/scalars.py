"""Scalars of compiled updates, computed once.

The compiler moves what leads to a scalar into the loop that uses it, and C++ cannot move it out again,
since what a loop writes might be what it reads: Adam would raise β₁ and β₂ to the number of its steps
for every 16 weights. This is for the compiler; so is this file.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx
from torch._inductor.ir import TensorBox
from torch._inductor.lowering import register_lowering


@torch.library.custom_op("slm_lightning::once", mutates_args=())
def once(x: Tensor) -> Tensor:
    """``x``, which is computed before anything is computed from it."""
    return x.clone()


@once.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


@register_lowering(torch.ops.slm_lightning.once.default, type_promotion_kind=None)
def lower(x: TensorBox) -> TensorBox:
    x.realize()
    return x


def compute_once(graph: fx.Graph) -> None:
    """Keeps the scalars of ``graph`` out of its loops."""
    for node in list(graph.nodes):
        loops = [user for user in node.users if dimensions(user)] if dimensions(node) == 0 else []
        if loops and node.op == "call_function":
            with graph.inserting_after(node):
                kept = graph.call_function(torch.ops.slm_lightning.once.default, (node,))
            kept.meta["val"] = node.meta["val"]
            for user in loops:
                user.replace_input_with(node, kept)


def dimensions(node: fx.Node) -> int | None:
    """How many the array has that ``node`` gives; None where it gives no array."""
    value = node.meta.get("val")
    return value.dim() if isinstance(value, Tensor) else None
