"""ConvNet and the dueling nets: the layers of the spec, one after the other, on images."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from slm_lightning.errors import SpecError
from slm_lightning.nets.conv import ConvNet
from slm_lightning.nets.dueling import DuelingHead
from slm_lightning.nets.net import BODIES, Net
from tests.conftest import make_spec, train
from tests.envs.probes import probe

NATURE = [[32, 8, 4, 0, 1], [64, 4, 2, 0, 1], [64, 3, 1, 0, 1]]
RELU = {"hid_layers_activation": "relu"}


def conv(**keys) -> ConvNet.Params:
    return ConvNet.Params(**{"type": "ConvNet", "conv_hid_layers": [[4, 3], [6, 2]]} | RELU | keys)


def images(rng: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=rng, dtype=torch.uint8)


def test_the_stack_of_the_nature_paper(rng):
    net = ConvNet(conv(conv_hid_layers=NATURE, fc_hid_layers=[512]), (4, 84, 84))
    plain = nn.Sequential(
        *(nn.Conv2d(4, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU()),
        *(nn.Conv2d(64, 64, 3, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 7 * 7, 512), nn.ReLU()),
    )
    plain.load_state_dict(net.layers.state_dict())
    x = images(rng, 3, 4, 84, 84)
    assert net.out_features == 512
    assert_close(net(x), plain(x.float()), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "layer", [[5, 3], [5, [3, 2], [2, 1]], [5, 3, 1, 1], [5, 3, 2, [2, 0], 2], ["5", "3", "2"]]
)
def test_numbers_left_out_are_those_of_pytorch_and_lists_are_height_and_width(layer, rng):
    net = ConvNet(conv(conv_hid_layers=[layer]), (2, 9, 8))
    plain = nn.Conv2d(2, *(tuple(n) if isinstance(n, list) else int(n) for n in layer))
    plain.load_state_dict(net.layers[0].state_dict())
    x = images(rng, 2, 2, 9, 8)
    expected = plain(x.float()).relu().flatten(1)
    assert_close(net(x), expected, rtol=1e-4, atol=1e-3)
    assert net.out_features == expected.shape[1]


def test_normalize_divides_by_255(rng):
    torch.manual_seed(0)
    raw = ConvNet(conv(), (2, 6, 6))
    torch.manual_seed(0)
    normalised = ConvNet(conv(normalize=True), (2, 6, 6))
    x = images(rng, 3, 2, 6, 6)
    assert_close(normalised(x), raw(x.float() / 255))


def test_images_are_left_as_they_are_given(rng):
    net = ConvNet(conv(normalize=True), (2, 6, 6))
    x = torch.rand(3, 2, 6, 6, generator=rng).to(memory_format=torch.channels_last)
    before = x.clone()
    net(x)
    assert_close(x, before, rtol=0, atol=0)


def test_batch_norm_follows_every_activation_but_the_first():
    kinds = [type(layer) for layer in ConvNet(conv(batch_norm=True), (2, 6, 6)).layers]
    assert kinds == [nn.Conv2d, nn.ReLU, nn.Conv2d, nn.ReLU, nn.BatchNorm2d, nn.Flatten]
    assert nn.BatchNorm2d not in [type(layer) for layer in ConvNet(conv(), (2, 6, 6)).layers]


@pytest.mark.parametrize("fc", [None, []])
def test_without_fully_connected_layers_the_features_are_the_last_image(fc):
    assert ConvNet(conv(fc_hid_layers=fc), (2, 6, 6)).out_features == 6 * 3 * 3


def test_orthogonal_convolutions():
    net = Net(conv(init_fn="orthogonal_"), (2, 6, 6), [3])
    rows = net.body.layers[2].weight.flatten(1)
    assert_close(rows @ rows.T, 2 * torch.eye(6), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(4,), (6, 6), (2, 3, 6, 6)])
def test_only_images_are_read(shape):
    with pytest.raises(SpecError, match=r"agent\.net\.type: ConvNet reads images, channels first"):
        Net(conv(), shape, [3])


def test_an_image_too_small_for_the_stack_is_told_at_the_layer():
    message = r"agent\.net\.conv_hid_layers\.1: the image that reaches this layer, 1 x 2, is smaller"
    with pytest.raises(SpecError, match=message):
        Net(conv(), (2, 3, 4), [3])


def test_a_net_that_no_machine_holds_is_refused_before_it_is_made():
    params = conv(conv_hid_layers=[[60_000, 1]], fc_hid_layers=[10**6])
    with pytest.raises(SpecError, match=r"agent\.net: 2\.16e12 weights would need about"):
        Net(params, (1, 6, 6), [3])


def test_a_dueling_head_centres_the_advantages():
    """V = 2 · 1 + 1 = 3; A = 1, 2, 6 of mean 3: Q = 3 + A - 3."""
    head = DuelingHead(1, 3)
    head.value.weight.data, head.value.bias.data = torch.tensor([[2.0]]), torch.tensor([1.0])
    head.advantage.weight.data = torch.tensor([[1.0], [0.0], [4.0]])
    head.advantage.bias.data = torch.tensor([0.0, 2.0, 2.0])
    assert head(torch.ones(1, 1)).tolist() == [[1, 2, 6]]


@pytest.mark.parametrize(
    ("kind", "keys", "shape"),
    [
        ("DuelingMLPNet", {"hid_layers": [8], "layer_norm": True}, (4,)),
        ("DuelingConvNet", {"conv_hid_layers": [[4, 3]], "fc_hid_layers": [8]}, (2, 6, 6)),
    ],
)
def test_a_dueling_net_gives_one_value_for_each_action(kind, keys, shape, rng):
    params = BODIES[kind].Params(type=kind, init_fn="orthogonal_", **keys, **RELU)
    net = Net(params, shape, [3])
    obs = torch.randn(5, *shape, generator=rng)
    (q,) = net(obs)
    features, head = net.body(obs), net.heads[0]
    advantage = head.advantage(features)
    assert q.shape == (5, 3)
    assert_close(q.mean(1, keepdim=True), head.value(features))
    assert_close(q.diff(dim=1), advantage.diff(dim=1))
    assert head.value.weight.norm().item() == pytest.approx(2**0.5, rel=1e-4)
    assert not head.value.bias.any()


@pytest.mark.parametrize("shared", [False, True])
def test_ppo_learns_to_see(shared):
    net = {
        "type": "ConvNet",
        "conv_hid_layers": [[8, 3, 3]],
        "fc_hid_layers": [32],
        "hid_layers_activation": "tanh",
        "normalize": True,
        "shared": shared,
        "optim_spec": {"name": "Adam", "lr": 0.01},
    }
    algorithm = {"name": "PPO", "time_horizon": 8, "minibatch_size": 32, "training_epoch": 4}
    run = train(make_spec(algorithm, probe("BrightHalf") | {"num_envs": 8, "max_frame": 1500}, net))
    left, right = torch.zeros(2, 1, 1, 6, 6, dtype=torch.uint8)
    left[..., :3], right[..., 3:] = 255, 255
    assert run.session.agent.act(torch.cat([left, right]), explore=False).tolist() == [0, 1]
