"""Narrow products as sums: they are the product, and no call of a library is left."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx
from torch.testing import assert_close

from slm_lightning.updates.narrow import FEW, sums
from slm_lightning.updates.passes import Passes, aten

ROUGH = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float64: 1e-12}
SHAPES = [(16, 3, 32), (16, 32, 1), (1, 32, 16), (2, 32, 4), (32, FEW, 16), (16, 32, FEW), (FEW, 32, 9)]


@pytest.mark.parametrize("dtype", ROUGH, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sums_are_the_product_in_its_type(shape, dtype):
    m, k, n = shape
    a, b = torch.randn(m, k).to(dtype), torch.randn(n, k).to(dtype).t()
    for bias in (None, torch.randn(n).to(dtype), torch.randn(m, n).to(dtype)):
        exact = a.double() @ b.double() + (0 if bias is None else bias.double())
        made = sums(a, b, bias)
        assert made.dtype == dtype
        assert_close(made.double(), exact, atol=ROUGH[dtype] * k, rtol=ROUGH[dtype])


def layers(x: Tensor, first: Tensor, head: Tensor, bias: Tensor) -> list[Tensor]:
    """Products of a net with few inputs and few outputs, forward and back."""
    hidden = torch.addmm(bias, x, first.t()).relu()
    out = hidden @ head.t()
    back = (out @ head) * (hidden > 0)
    return [out, back.t() @ x, back @ first, out.t() @ hidden, bias @ bias.view(-1, 1)]


def passed(function: Callable, *arguments: Tensor) -> fx.GraphModule:
    """The graph of ``function``, as it is compiled."""
    graph = make_fx(function, tracing_mode="fake")(*arguments).graph
    Passes()(graph)
    return fx.GraphModule({}, graph)


def targets(module: fx.GraphModule) -> set[object]:
    return {node.target for node in module.graph.nodes}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_graph_has_sums_in_their_place(dtype):
    torch.manual_seed(0)
    shapes = {"x": (64, 4), "first": (48, 4), "head": (2, 48), "bias": (48,)}
    arguments = [torch.randn(shape).to(dtype) for shape in shapes.values()]
    module = passed(layers, *arguments)
    assert aten.sum.dim_IntList in targets(module)
    assert not {aten.mm.default, aten.addmm.default} & targets(module)
    for ours, theirs in zip(module(*arguments), layers(*arguments), strict=True):
        assert ours.dtype == dtype
        assert_close(ours, theirs, atol=theirs.abs().max().item() * ROUGH[dtype], rtol=0)


def test_other_products_stay_as_they_are():
    wide, whole = torch.randn(FEW + 1, FEW + 1), torch.ones(16, 4, dtype=torch.int64)
    for a in (wide, whole):
        assert aten.mm.default in targets(passed(torch.mm, a, a.t()))
