"""Products of graphs that oneDNN computes: which ones, and that they are the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch._dynamo
from torch import Tensor, fx
from torch._inductor.custom_graph_pass import CustomGraphPass
from torch.fx.experimental.proxy_tensor import make_fx
from torch.testing import assert_close

from slm_lightning.updates import onednn
from slm_lightning.updates.compiling import prepare
from slm_lightning.updates.onednn import LINEAR
from slm_lightning.updates.passes import Passes, aten
from tests.support import needs_compiler

MATRICES = {
    "x": torch.randn(256, 256),
    "weight": torch.randn(256, 256),
    "first": torch.randn(256, 4),
    "head": torch.randn(2, 256),
    "small": torch.randn(64, 64),
    "wide": torch.randn(256, 512),
    "bias": torch.randn(256),
}


class Seen(CustomGraphPass):
    """Hands on to Passes, and keeps what it left of the graph."""

    def __init__(self) -> None:
        self.targets: list[object] = []

    def __call__(self, graph: fx.Graph) -> None:
        Passes()(graph)
        self.targets += [node.target for node in graph.nodes if node.op == "call_function"]

    def uuid(self) -> None:
        """Graphs are not kept: each is seen."""


@pytest.fixture(autouse=True)
def ahead(monkeypatch) -> Iterator[None]:
    """Whatever the machine has, oneDNN takes part."""
    needs_compiler()
    prepare()
    monkeypatch.setattr(onednn, "ahead", lambda: True)
    yield
    torch._dynamo.reset()


def products_of(x, weight, first, head, small, wide, bias) -> list[Tensor]:
    """Those of a pass forward and back, then those that are left alone."""
    hidden = (x @ weight.t() + 1).relu()
    return [
        torch.addmm(bias, x, weight.t()),  # forward
        x @ weight,  # to the input
        x.t() @ weight,  # to the weight, both transposed
        hidden @ weight,
        (weight @ hidden.t()) * 2,
        wide[:, :256] @ weight,  # neither order of the rows is end to end
        x @ wide[:, 256:].t(),
        x @ first,
        x.t() @ first,
        torch.addmm(weight, x, weight),  # what is added is no bias
        first @ first.t(),
        x @ head.t(),
        head @ weight,
        small @ small,
        (x.double() @ weight.double()).float(),
    ]


BY_ONEDNN, LEFT = 8, 3
"""One product more than the list has, for ``hidden``."""


def test_large_products_are_handed_over_and_stay_what_they_were():
    seen = Seen()
    options = {"cpp_wrapper": True, "post_grad_custom_post_pass": seen}
    compiled = torch.compile(products_of, fullgraph=True, dynamic=False, options=options)
    made = compiled(*MATRICES.values())
    exact = products_of(*(matrix.double() for matrix in MATRICES.values()))
    for ours, theirs in zip(made, exact):
        assert_close(ours, theirs.float(), atol=2e-2, rtol=1e-4)
        assert ours.is_contiguous() or ours.t().is_contiguous()
    assert seen.targets.count(LINEAR) == BY_ONEDNN
    assert sum(seen.targets.count(op) for op in (aten.mm.default, aten.addmm.default)) == LEFT


def test_a_machine_on_which_it_does_not_pay_is_left_alone(monkeypatch):
    monkeypatch.setattr(onednn, "ahead", lambda: False)
    graph = make_fx(torch.mm, tracing_mode="fake")(MATRICES["x"], MATRICES["weight"]).graph
    seen = Seen()
    seen(graph)
    assert seen.targets == [aten.mm.default]


def test_the_operator_is_the_linear_layer():
    x, weight, bias = MATRICES["x"], MATRICES["weight"], MATRICES["bias"]
    layer = torch.nn.functional.linear(x, weight, bias)
    assert_close(LINEAR(x, weight, bias), layer, atol=1e-3, rtol=1e-4)
    torch.library.opcheck(
        onednn.linear, (x, weight, bias), test_utils=("test_schema", "test_faketensor")
    )
