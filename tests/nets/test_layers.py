"""Plain layers applied as functions compute what their modules do, and hooks still see them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from slm_lightning.nets.layers import PLAIN, Layers, Whole, look_for_hooks


def layers(kind: type[nn.Sequential]) -> nn.Sequential:
    torch.manual_seed(0)
    return kind(nn.Linear(4, 8), nn.Tanh(), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 3), nn.Identity())


def test_they_compute_what_a_sequential_does_gradients_included(rng):
    x = torch.randn(5, 4, generator=rng)
    one, other = layers(Layers), layers(nn.Sequential)
    assert torch.equal(one(x), other(x))
    gradients = [
        torch.autograd.grad(net(x).square().sum(), list(net.parameters())) for net in (one, other)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("place", range(6))
def test_a_hook_on_any_layer_is_called(place, rng):
    net, seen = layers(Layers), []
    net[place].register_forward_hook(lambda module, inputs, output: seen.append(output))
    net[place].register_full_backward_hook(lambda module, inputs, outputs: seen.append(outputs))
    net(torch.randn(2, 4, generator=rng, requires_grad=True)).sum().backward()
    assert len(seen) == 2


def test_so_is_one_that_comes_later_until_it_is_gone(rng):
    x, net, seen = torch.randn(2, 4, generator=rng), layers(Layers), []
    assert net.is_plain() and net(x) is not None
    for hook in (net[0].register_forward_hook, nn.modules.module.register_module_forward_hook):
        handle = hook(lambda module, inputs, output: seen.append(module))
        net(x)
        assert net[0] in seen and not net.is_plain()
        handle.remove()
        seen.clear()
        net(x)
        assert not seen


def test_so_is_one_that_comes_after_tracing(rng):
    x, net, calls = torch.randn(2, 4, generator=rng), layers(Layers).eval(), []
    traced = torch.compile(lambda x: net(x), backend="eager", fullgraph=True)
    assert torch.equal(traced(x), net(x))
    net[0].register_forward_hook(lambda module, inputs, output: calls.append(0))
    look_for_hooks(net)
    assert torch.equal(traced(x), net(x)) and len(calls) == 2


@pytest.mark.parametrize("place", range(6))
def test_so_is_a_hook_of_gradients_alone(place, rng):
    net, seen = layers(Layers), []
    net[place].register_full_backward_pre_hook(lambda module, outputs: seen.append(outputs))
    net(torch.randn(2, 4, generator=rng, requires_grad=True)).sum().backward()
    assert len(seen) == 1


def test_new_weights_and_copies_are_used_at_once(rng):
    x = torch.randn(2, 4, generator=rng)
    net = layers(Layers)
    before, other = net(x), copy.deepcopy(net)
    net.load_state_dict(
        {key: torch.zeros_like(value) for key, value in net.state_dict().items()}, assign=True
    )
    assert not net(x).any() and torch.equal(other(x), before)


def test_a_normed_layer_is_not_plain(rng):
    x = torch.randn(2, 4, generator=rng)
    net = layers(Layers)
    plain = net(x)
    nn.utils.parametrizations.spectral_norm(net[0])
    assert type(net[0]) not in PLAIN
    assert not torch.allclose(net(x), plain)


def test_parts_that_are_found_quickly_are_parts_like_any_other(rng):
    class Pair(Whole):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(x))

    x, pair = torch.randn(2, 4, generator=rng), Pair()
    assert [name for name, _ in pair.named_parameters()] == [
        *("first.weight", "first.bias", "second.weight", "second.bias")
    ]
    before, other = pair(x), copy.deepcopy(pair)
    assert other.first is other._modules["first"] is not pair.first
    pair.second = nn.Linear(4, 3)
    assert pair(x).shape == (2, 3) and torch.equal(other(x), before)
    other.load_state_dict({key: torch.zeros_like(value) for key, value in other.state_dict().items()})
    assert not other(x).any()
