"""Bodies, heads, initialisers, activations and losses, as the keys of ``agent.net`` describe them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from slm_lightning.errors import SpecError
from slm_lightning.nets.init import activation, gain_of, initialise
from slm_lightning.nets.mlp import MLPNet
from slm_lightning.nets.net import Net, regression_loss, spectral_norm
from slm_lightning.spec.model import LossSpec
from slm_lightning.spec.torch_names import ACTIVATIONS


def mlp(**keys) -> MLPNet.Params:
    return MLPNet.Params(**{"type": "MLPNet", "hid_layers": [8, 5]} | keys)


def test_an_mlp_is_its_layers_one_after_the_other(rng):
    net = Net(mlp(hid_layers_activation="tanh"), (4,), [3, 1])
    obs = torch.randn(6, 4, generator=rng)
    first, second = (layer for layer in net.body.layers if isinstance(layer, nn.Linear))
    hidden = torch.tanh(second(torch.tanh(first(obs))))
    logits, value = net(obs)
    assert_close(logits, hidden @ net.heads[0].weight.T + net.heads[0].bias)
    assert_close(value, hidden @ net.heads[1].weight.T + net.heads[1].bias)
    assert [head.weight.shape for head in net.heads] == [(3, 5), (1, 5)]


def test_observations_of_any_shape_and_type_are_flattened():
    net = Net(mlp(), (2, 3), [4])
    assert net(torch.zeros(7, 2, 3, dtype=torch.uint8))[0].shape == (7, 4)
    assert net(torch.zeros(7, 2, 3, dtype=torch.float64))[0].dtype == torch.float32


def test_without_hidden_layers_the_heads_read_the_observation():
    net = Net(mlp(hid_layers=[]), (4,), [3])
    assert net.heads[0].weight.shape == (3, 4)


@pytest.mark.parametrize(
    ("keys", "kinds"),
    [
        ({}, [nn.Linear, nn.ReLU] * 2),
        ({"layer_norm": True}, [nn.Linear, nn.LayerNorm, nn.ReLU] * 2),
        ({"batch_norm": True}, [nn.Linear, nn.BatchNorm1d, nn.ReLU] * 2),
    ],
)
def test_norms_stand_between_layer_and_activation(keys, kinds):
    assert [type(layer) for layer in MLPNet(mlp(**keys), (4,)).layers] == kinds


@pytest.mark.parametrize(
    ("name", "kind"),
    [("relu", nn.ReLU), ("leakyrelu", nn.LeakyReLU), ("SiLU", nn.SiLU), ("TANH", nn.Tanh)],
)
def test_an_activation_is_named_in_any_case(name, kind):
    assert isinstance(activation(name), kind)


@pytest.mark.parametrize(
    ("name", "gain"),
    [
        ("relu", math.sqrt(2)),
        ("tanh", 5 / 3),
        ("selu", 3 / 4),
        ("LeakyReLU", math.sqrt(2 / (1 + 0.01**2))),
        ("silu", 1.0),
    ],
)
def test_gain(name, gain):
    assert gain_of(name) == pytest.approx(gain)


def test_orthogonal_layers_have_the_gain_of_their_activation():
    net = Net(mlp(init_fn="orthogonal_", hid_layers_activation="tanh", init_std=0.01), (4,), [3])
    first, second = (layer for layer in net.body.layers if isinstance(layer, nn.Linear))
    hidden = (5 / 3) ** 2
    assert_close(first.weight.T @ first.weight, torch.eye(4) * hidden, atol=1e-5, rtol=1e-5)
    assert_close(second.weight @ second.weight.T, torch.eye(5) * hidden, atol=1e-5, rtol=1e-5)
    head = net.heads[0].weight
    assert_close(head @ head.T, torch.eye(3) * 0.01**2, atol=1e-9, rtol=1e-4)
    assert all((layer.bias == 0).all() for layer in (first, second, net.heads[0]))


def test_without_init_std_the_heads_have_the_hidden_gain():
    head = Net(mlp(init_fn="orthogonal_"), (4,), [3]).heads[0].weight
    assert_close(head @ head.T, torch.eye(3) * 2, atol=1e-5, rtol=1e-5)


def test_kaiming_takes_the_activation():
    torch.manual_seed(0)
    layer = nn.Linear(400, 400)
    initialise([layer], "kaiming_normal_", "relu")
    assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / 400), rel=0.02)


def test_without_init_fn_pytorch_initialises():
    torch.manual_seed(0)
    net = Net(mlp(), (4,), [3])
    torch.manual_seed(0)
    assert torch.equal(net.body.layers[0].weight, nn.Linear(4, 8).weight)


def test_output_activations_for_all_heads_or_each():
    obs = torch.ones(2, 4) * 100
    everywhere = Net(mlp(out_layer_activation="tanh"), (4,), [3, 1])
    assert all((head.abs() <= 1).all() for head in everywhere(obs))
    first_only = Net(mlp(out_layer_activation=["sigmoid", None]), (4,), [3, 1])
    assert [type(out) for out in first_only.out] == [nn.Sigmoid, nn.Identity]
    with pytest.raises(SpecError, match="names 1 heads, the net has 2"):
        Net(mlp(out_layer_activation=["tanh"]), (4,), [3, 1])


def test_a_loss_by_name_and_keywords():
    prediction, target = torch.tensor([0.0, 0.0]), torch.tensor([1.0, 4.0])
    assert regression_loss(LossSpec(name="mseloss"))(prediction, target).item() == 8.5
    # Huber with δ = 2: ½ · 1 and 2 · (4 - 1)
    huber = regression_loss(LossSpec(name="HuberLoss", delta=2.0))
    assert huber(prediction, target).item() == pytest.approx((0.5 + 6) / 2)


def test_each_part_reads_its_own_keys():
    params = mlp(
        optim_spec={"lr": 1e-3},
        clip_grad_val=1.0,
        actor_optim_spec={"lr": 2e-3},
        critic_optim_spec={"lr": 3e-3},
        critic_clip_grad_val=0.5,
        actor_init_std=0.01,
    )
    actor, critic = params.part("actor"), params.part("critic")
    assert (actor.optim_spec.lr, critic.optim_spec.lr) == (2e-3, 3e-3)
    assert (actor.clip_grad_val, critic.clip_grad_val) == (1.0, 0.5)
    assert (actor.init_std, critic.init_std) == (0.01, None)
    assert actor.hid_layers == critic.hid_layers == params.hid_layers


def test_with_use_same_optim_the_critic_reads_the_actors_keys():
    params = mlp(use_same_optim=True, actor_optim_spec={"lr": 2e-3}, critic_optim_spec={"lr": 3e-3})
    assert params.part("critic").optim_spec.lr == 2e-3


@pytest.mark.parametrize("key", ["batch_renorm", "weight_norm"])
def test_norms_of_this_lab_in_an_mlp(key, rng):
    net = Net(mlp(init_fn="orthogonal_", hid_layers_activation="tanh", **{key: True}), (4,), [3])
    kinds = [type(layer).__name__ for layer in net.body.layers]
    between = ["Linear", "BatchRenorm1d", "Tanh"]
    assert kinds == (between if key == "batch_renorm" else ["WeightNormLinear", "Tanh"]) * 2
    first = net.body.layers[0]
    assert_close(first.weight.T @ first.weight, torch.eye(4) * (5 / 3) ** 2, atol=1e-5, rtol=1e-5)
    assert net(torch.randn(2, 4, generator=rng))[0].shape == (2, 3)


def test_spectral_norm_bounds_the_last_hidden_layer_alone(rng):
    net = Net(mlp(), (4,), [1])
    with torch.no_grad():
        net.body.layers[2].weight.mul_(10)
    spectral_norm(net)
    obs = torch.randn(6, 4, generator=rng)
    for _ in range(50):
        net(obs)
    norms = [torch.linalg.matrix_norm(net.body.layers[i].weight, 2).item() for i in (0, 2)]
    assert norms[1] == pytest.approx(1, abs=1e-3) and norms[0] != pytest.approx(1, abs=1e-3)
    assert type(net.heads[0]) is nn.Linear
    net.eval()
    assert torch.equal(net(obs)[0], net(obs)[0])


def test_spectral_norm_needs_a_hidden_layer():
    with pytest.raises(
        SpecError, match=r"agent\.algorithm\.spectral_norm: needs a linear hidden layer"
    ):
        spectral_norm(Net(mlp(hid_layers=[]), (4,), [1]))


def test_spectral_norm_of_zeros_is_nothing_to_divide_by():
    with pytest.raises(SpecError, match=r"agent\.algorithm\.spectral_norm: .* all begin as 0"):
        spectral_norm(Net(mlp(init_fn="zeros_"), (4,), [1]))


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 2, 2)], ids=["rows", "images"])
@pytest.mark.filterwarnings("error")
def test_every_activation_works_on_rows_and_on_images(name, shape):
    out = activation(name)(torch.zeros(shape))
    assert out.shape == shape
    if "softm" in name and "log" not in name:
        assert_close(out.sum(1), torch.ones_like(out.sum(1)))
