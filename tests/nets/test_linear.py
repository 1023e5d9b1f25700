"""A linear layer by oneDNN: which products are its, and that they are the same."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from slm_lightning.nets import linear
from slm_lightning.nets.linear import Linear


@pytest.fixture
def asked(monkeypatch) -> list[torch.Size]:
    """Whatever the machine has, oneDNN takes part. Shapes of the inputs it was given."""
    asked: list[torch.Size] = []
    multiply = linear.product

    def product(x, weight, bias=None):
        asked.append(x.shape)
        return multiply(x, weight, bias)

    monkeypatch.setattr(linear, "ahead", lambda: True)
    monkeypatch.setattr(linear, "product", product)
    return asked


def pair(inputs: int, outputs: int) -> tuple[Linear, nn.Linear]:
    """One layer twice: ours, and PyTorch's in double precision."""
    ours, theirs = Linear(inputs, outputs), nn.Linear(inputs, outputs, dtype=torch.float64)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def test_values_and_gradients_are_those_of_the_layer_of_pytorch(rng, asked):
    ours, theirs = pair(300, 200)
    x = torch.randn(64, 300, generator=rng, requires_grad=True)
    y = x.detach().double().requires_grad_()
    found = torch.autograd.grad(ours(x).square().mean(), [x, *ours.parameters()])
    exact = torch.autograd.grad(theirs(y).square().mean(), [y, *theirs.parameters()])
    assert len(asked) == 3
    assert_close(ours(x), theirs(y).float())
    for gradient, expected in zip(found, exact):
        assert_close(gradient, expected.float(), rtol=1e-4, atol=1e-6)


def test_gradients_that_nobody_wants_are_not_computed(rng, asked):
    ours, _ = pair(300, 200)
    loss = ours(torch.randn(64, 300, generator=rng)).sum()
    torch.autograd.grad(loss, [*ours.parameters()])
    assert asked == [(64, 300), (200, 64)]


@pytest.mark.parametrize(
    ("rows", "dtype"), [(2, torch.float32), (64, torch.float64), (64, torch.bfloat16)]
)
def test_small_products_and_other_numbers_are_pytorchs(rows, dtype, asked):
    ours = Linear(300, 200).to(dtype)
    x = torch.ones(rows, 300, dtype=dtype)
    assert_close(ours(x), nn.functional.linear(x, ours.weight, ours.bias), rtol=0, atol=0)
    assert asked == []


def test_mixed_precision_is_left_alone(asked):
    with torch.autocast("cpu", torch.bfloat16):
        assert Linear(300, 200)(torch.ones(64, 300)).dtype == torch.bfloat16
    assert asked == []


def test_a_compiled_graph_has_the_layer_of_pytorch(asked):
    seen = []

    def keep(graph, inputs):
        seen.extend(node.target for node in graph.graph.nodes if node.op == "call_function")
        return graph.forward

    torch.compile(Linear(300, 200), fullgraph=True, backend=keep)(torch.ones(64, 300))
    assert seen == [nn.functional.linear] and asked == []
