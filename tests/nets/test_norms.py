"""Batch renormalisation and weight normalisation against their formulas."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from slm_lightning.nets.layers import MODELESS, Layers
from slm_lightning.nets.linear import Linear
from slm_lightning.nets.mlp import MLPNet
from slm_lightning.nets.norms import (
    BatchRenorm1d,
    LazyBatchRenorm1d,
    LazyWeightNormLinear,
    WeightNormLinear,
    batch_statistics,
)

X = torch.tensor([[2.0], [6.0]])  # μ_B = 4, σ_B² = 4


def renorm(step: int = 0, **keys) -> BatchRenorm1d:
    layer = BatchRenorm1d(1, **{"eps": 0.0, "momentum": 0.1, "warmup_steps": 10} | keys)
    layer.num_batches_tracked += step
    return layer


def test_before_the_warm_up_it_is_batch_normalisation():
    """r = 1 and d = 0, so (2 - 4) / 2 and (6 - 4) / 2; the running 0 and 1 move a tenth to 4 and 4."""
    layer = renorm()
    assert layer(X).flatten().tolist() == [-1, 1]
    assert layer.running_mean.item() == pytest.approx(0.4)
    assert layer.running_var.item() == pytest.approx(1.3)
    assert layer.num_batches_tracked.item() == 1


@pytest.mark.parametrize(
    ("step", "keys", "expected"),
    [
        # σ = 1, μ = 0: σ_B / σ = 2 and (μ_B - μ) / σ = 4 are within 3 and 5, so x̂ = (x - μ) / σ.
        (10, {}, [2, 6]),
        (10**6, {}, [2, 6]),
        (0, {"warmup_steps": 0}, [2, 6]),
        # r at most 1.5, d at most 3: ± 1 · 1.5 + 3.
        (10, {"r_max": 1.5, "d_max": 3.0}, [1.5, 4.5]),
        # A quarter of the way r is at most 1 + 2 · ¼ and d at most 5 · ¼.
        (5, {"warmup_steps": 20}, [-1.5 + 1.25, 1.5 + 1.25]),
    ],
)
def test_corrections_open_with_the_warm_up_and_are_clipped(step, keys, expected):
    assert renorm(step, **keys)(X).flatten().tolist() == pytest.approx(expected)


def test_corrections_are_clipped_below_too():
    """σ_B / σ = 2 / 8 becomes 1 / 3 and (4 - 100) / 8 becomes -5."""
    layer = renorm(10)
    layer.running_mean.fill_(100)
    layer.running_var.fill_(64)
    assert layer(X).flatten().tolist() == pytest.approx([-1 / 3 - 5, 1 / 3 - 5])


def test_no_gradient_flows_through_the_corrections():
    """With μ and σ of the batch as running statistics r = 1 and d = 0 in value, and y is batch norm's
    with its gradient, not that of (x - μ) / σ."""
    layer, plain = renorm(10, eps=1e-3), nn.BatchNorm1d(1, eps=1e-3)
    rows = torch.tensor([[1.0], [2.0], [5.0], [9.0]])
    layer.running_mean.copy_(rows.mean(0))
    layer.running_var.copy_(rows.var(0, correction=0))
    one, other = rows.clone().requires_grad_(), rows.clone().requires_grad_()
    layer(one).pow(3).sum().backward()
    plain(other).pow(3).sum().backward()
    assert_close(one.grad, other.grad)


def test_in_eval_mode_the_running_statistics_normalise_and_stay():
    layer = renorm().eval()
    layer.running_mean.fill_(1)
    layer.running_var.fill_(4)
    layer.weight.data.fill_(3)
    layer.bias.data.fill_(0.5)
    before = copy.deepcopy(layer.state_dict())
    assert layer(X).flatten().tolist() == [3 * 0.5 + 0.5, 3 * 2.5 + 0.5]
    assert all(torch.equal(layer.state_dict()[key], value) for key, value in before.items())


def test_channels_are_dimension_one(rng):
    x = torch.randn(4, 3, 5, generator=rng)
    layer, plain = BatchRenorm1d(3), nn.BatchNorm1d(3)
    assert_close(layer(x), plain(x))
    rows = x.transpose(1, 2).reshape(-1, 3)
    assert_close(layer.running_mean, 0.01 * rows.mean(0))
    assert_close(layer.running_var, 0.99 + 0.01 * rows.var(0, correction=0))


def test_a_state_dict_brings_back_warm_up_and_statistics(rng):
    one, other = BatchRenorm1d(3, warmup_steps=4), BatchRenorm1d(3, warmup_steps=4)
    for _ in range(3):
        one(torch.randn(8, 3, generator=rng) * 5)
    other.load_state_dict(one.state_dict())
    x = torch.randn(8, 3, generator=rng)
    assert torch.equal(one(x), other(x))


def test_lazy_batch_renorm_takes_its_width_from_its_input():
    lazy = LazyBatchRenorm1d(eps=1e-3, warmup_steps=7)
    assert lazy.eval()(torch.ones(2, 5)).shape == (2, 5)
    assert type(lazy) is BatchRenorm1d
    assert (lazy.num_features, lazy.eps, lazy.warmup_steps) == (5, 1e-3, 7)
    fresh = BatchRenorm1d(5).state_dict()
    assert all(torch.equal(lazy.state_dict()[key], value) for key, value in fresh.items())


def test_weight_norm_is_direction_times_length(rng):
    layer = WeightNormLinear(3, 2)
    assert_close(layer.weight, layer.weight_v)
    layer.weight_g.data = torch.tensor([[2.0], [3.0]])
    layer.weight_v.data = torch.tensor([[0.0, 3.0, 4.0], [1.0, 0.0, 0.0]])
    assert_close(layer.weight, torch.tensor([[0, 1.2, 1.6], [3, 0, 0]]))
    x = torch.randn(5, 3, generator=rng)
    assert_close(layer(x), x @ layer.weight.T + layer.bias)


def test_setting_the_weight_sets_its_parts():
    layer, weight = WeightNormLinear(2, 1), torch.tensor([[3.0, 4.0]])
    layer.weight = weight
    assert_close(layer.weight, weight)
    assert layer.weight_g.item() == 5
    assert set(dict(layer.named_parameters())) == {"weight_v", "weight_g", "bias"}


def test_lazy_weight_norm_begins_as_the_plain_one():
    lazy = LazyWeightNormLinear(4)
    torch.manual_seed(0)
    lazy(torch.ones(2, 3))
    torch.manual_seed(0)
    plain = WeightNormLinear(3, 4)
    assert type(lazy) is WeightNormLinear
    assert torch.equal(lazy.weight, plain.weight) and torch.equal(lazy.bias, plain.bias)
    assert plain.weight.abs().max() <= 3**-0.5


@pytest.mark.parametrize("key", ["batch_norm", "batch_renorm", "layer_norm", "weight_norm"])
def test_mlps_with_norms_can_be_copied_sent_and_learned(key, rng):
    net = MLPNet(MLPNet.Params(type="MLPNet", hid_layers=[8, 8], **{key: True}), (4,))
    x = torch.randn(6, 4, generator=rng)
    assert torch.equal(pickle.loads(pickle.dumps(net))(x), copy.deepcopy(net)(x))
    net(x).square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_an_mlps_batch_renorm_is_crossqs():
    net = MLPNet(MLPNet.Params(type="MLPNet", hid_layers=[8], batch_renorm=True), (4,))
    (norm,) = (layer for layer in net.layers if isinstance(layer, BatchRenorm1d))
    settings = (norm.momentum, norm.eps, norm.r_max, norm.d_max, norm.warmup_steps)
    assert settings == (0.01, 1e-3, 3, 5, 100_000)


def test_only_what_knows_two_modes_is_told_of_them():
    net = nn.Sequential(
        nn.Linear(2, 3), nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(), nn.Tanh())
    ).eval()
    for _ in range(2):
        with batch_statistics(net):
            assert [module.training for module in net[1]] == [True, True, False]
        assert not any(module.training for module in net.modules())
    remembered = weakref.ref(net)
    del net
    gc.collect()
    assert remembered() is None


def test_a_net_knows_what_to_tell_from_when_it_was_told_itself():
    net = Layers(nn.Linear(2, 3), Layers(nn.BatchNorm1d(3), nn.Dropout(), nn.Tanh())).eval()
    assert net.modal == [net[1][0], net[1][1]] and copy.deepcopy(net).modal != net.modal
    with batch_statistics(net):
        assert [module.training for module in net.modules()] == [False] * 3 + [True, True, False]
    net[1].append(nn.Dropout())
    with batch_statistics(net.eval()):
        assert net[1][3].training


@pytest.mark.parametrize("kind", sorted(MODELESS, key=lambda kind: kind.__name__))
def test_the_others_compute_the_same_in_both(kind):
    sizes = {nn.Linear: (4, 2), Linear: (4, 2), nn.Conv2d: (3, 2, 1), nn.LayerNorm: (4,)}
    module, x = kind(*sizes.get(kind, ())), torch.randn(2, 3, 4, 4)
    if kind is not nn.ModuleList:  # which computes nothing
        assert torch.equal(module.train()(x), module.eval()(x))
