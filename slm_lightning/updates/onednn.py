"""Large matrix products of compiled updates, by oneDNN.

As for the layers of ``nets/linear.py``, in graphs: a product of 256 × 256 matrices takes 0.35 ms by MKL
and 0.17 ms by oneDNN. This is for the compiler, which takes a second to import; so is this file.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch._inductor.ir import ExternKernel, FixedLayout, IRNode, TensorBox
from torch._inductor.lowering import register_lowering
from torch._inductor.mkldnn_ir import LinearUnary, _create_output_node
from torch._ops import OpOverload

from slm_lightning.nets.linear import LARGE, ahead
from slm_lightning.updates.narrow import FEW

LONG, NARROW = 256, range(FEW + 1, 17)
"""Not only LARGE products are oneDNN's, but also that of a matrix of at least LONG rows and columns
with one of so few columns, unless the latter is transposed."""

aten = torch.ops.aten


@torch.library.custom_op("slm_lightning::linear", mutates_args=())
def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x [M, K] @ weight.T [K, N] + bias [N]``"""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


@linear.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0])


@register_lowering(torch.ops.slm_lightning.linear.default, type_promotion_kind=None)
def lower(x: TensorBox, weight: TensorBox, bias: TensorBox | None) -> TensorBox:
    """A call of oneDNN's kernel, which is what makes it a direct one from C++."""
    inputs: list[IRNode] = [end_to_end(x), dense(weight)]
    constants: list[Any] = ["none", [-1], ""]
    if bias is None:
        constants.insert(0, None)
    else:
        inputs.append(end_to_end(bias))
    size = [x.get_size()[0], weight.get_size()[0]]
    layout = FixedLayout(device=x.get_device_or_error(), dtype=x.get_dtype(), size=size)
    return TensorBox.create(_create_output_node(LinearUnary(layout, inputs, constants)))


def end_to_end(tensor: TensorBox) -> IRNode:
    """``tensor`` with its rows end to end, copied where they are not."""
    return ExternKernel.require_contiguous(ExternKernel.realize_input(tensor))


def dense(matrix: TensorBox) -> IRNode:
    """``matrix`` with its rows or its columns end to end: oneDNN takes a weight in either order."""
    given = ExternKernel.realize_input(matrix)
    by_columns = [1, given.get_size()[0]]
    return given if list(given.get_stride()) == by_columns else ExternKernel.require_contiguous(given)


def pays(a: fx.Node, b: fx.Node, bias: fx.Node | None = None) -> bool:
    """Whether ``a @ b + bias`` is to be oneDNN's."""
    left, right = a.meta["val"], b.meta["val"]
    if left.device.type != "cpu" or left.dtype != torch.float32 or not ahead():
        return False
    if bias is not None and bias.meta["val"].dim() != 1:
        return False
    (m, k), n = left.shape, right.shape[1]
    return m * k * n > LARGE or (min(m, k) >= LONG and n in NARROW and right.is_contiguous())


def product(graph: fx.Graph, a: fx.Node, b: fx.Node, bias: fx.Node | None = None) -> fx.Node:
    """``a @ b + bias``, as the transpose of ``bᵀ @ aᵀ`` where that copies less: oneDNN wants the rows
    of its first matrix end to end."""
    left, right = a.meta["val"], b.meta["val"]
    less = right.t().is_contiguous() or right.shape[1] < left.shape[0]
    if bias is None and not left.is_contiguous() and less:
        return transposed(graph, call(graph, LINEAR, transposed(graph, b), a, None))
    return call(graph, LINEAR, a, transposed(graph, b), bias)


def transposed(graph: fx.Graph, matrix: fx.Node) -> fx.Node:
    return call(graph, aten.permute.default, matrix, [1, 0])


def call(graph: fx.Graph, op: OpOverload, *args: Any) -> fx.Node:
    """A call of ``op``, which knows what it gives."""
    node = graph.call_function(op, args)
    node.meta["val"] = op(*(arg.meta["val"] if isinstance(arg, fx.Node) else arg for arg in args))
    return node


LINEAR = torch.ops.slm_lightning.linear.default
