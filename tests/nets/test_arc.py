"""TorchArcNet: graphs of modules compute what the same modules called by hand do."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from slm_lightning.errors import SpecError
from slm_lightning.nets import arc_modules
from slm_lightning.nets.actor_critic import ActorCriticNet
from slm_lightning.nets.arc import TorchArcNet
from slm_lightning.nets.net import Net
from slm_lightning.nets.norms import BatchRenorm1d, WeightNormLinear
from tests.nets.test_actor_critic import env

TANH = [{"LazyLinear": {"out_features": 5}}, {"Tanh": None}, {"LazyLinear": {"out_features": 3}}]


def arc_of(body, **graph) -> dict:
    """One module ``body`` on the observation."""
    return {
        "modules": {"body": body},
        "graph": {"input": "x", "modules": {"body": ["x"]}, "output": "body"} | graph,
    }


def params(arc: dict | None = None, **keys) -> TorchArcNet.Params:
    return TorchArcNet.Params(**{"type": "TorchArcNet", "arc": arc} | keys)


def net_of(arc: dict, shape: tuple[int, ...] = (4,), **keys) -> TorchArcNet:
    return TorchArcNet(params(arc, **keys), shape)


def test_a_sequence_is_its_layers_one_after_the_other(rng):
    net = net_of(arc_of({"Sequential": TANH}))
    x = torch.randn(6, 4, generator=rng)
    first, last = net.nodes["body"][0], net.nodes["body"][2]
    assert_close(net(x), last(torch.tanh(first(x))))
    assert net.out_features == 3
    assert type(first) is nn.Linear


def test_compact_repeats_its_layers():
    body = {
        "compact": {
            "prelayer": [{"LayerNorm": {"normalized_shape": 4}}],
            "layer": {
                "type": "LazyLinear",
                "keys": ["out_features", "bias"],
                "args": [[4, False], [4, True]],
            },
            "postlayer": [{"ReLU": None}],
        }
    }
    layers = list(net_of(arc_of(body)).nodes["body"])
    assert [type(layer) for layer in layers] == [nn.LayerNorm, nn.Linear, nn.ReLU] * 2
    assert [layers[i].bias is None for i in (1, 4)] == [True, False]
    body["compact"] = {"layer": {"type": "LazyLinear", "keys": ["out_features"], "args": [7, 2]}}
    assert [layer.out_features for layer in net_of(arc_of(body)).nodes["body"]] == [7, 2]


def test_a_graph_forks_reuses_and_merges(rng):
    arc = {
        "modules": {
            "fork": {"ForkSplit": {"split_size_or_sections": [3, 3]}},
            "one": {"Get": {"key": 0}},
            "two": {"Get": {"key": 1}},
            "shared": {"Linear": {"in_features": 3, "out_features": 5}},
            "film": {"MergeFiLM": {"feature_dim": 5, "conditioner_dim": 3}},
            "sum": {"MergeSum": None},
        },
        "graph": {
            "input": ["x"],
            "modules": {  # in no particular order
                "sum": [["shared~left", "shared~right", "film"]],
                "film": {"conditioner": "two", "feature": "shared~left"},
                "shared~left": ["one"],
                "shared~right": ["two"],
                "one": ["fork"],
                "two": ["fork"],
                "fork": ["x"],
            },
            "output": ["sum", "film"],
        },
    }
    net, x = net_of(arc, (6,)), torch.randn(4, 6, generator=rng)
    shared, film = net.nodes["shared"], net.nodes["film"]
    left, right, z = shared(x[:, :3]), shared(x[:, 3:]), x[:, 3:]
    assert_close(net(x), left + right + film.gamma(z) * left + film.beta(z))


A, B = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 5.0]])
MERGES = [
    ("MergeConcat", {}, [A, B], [[1, 2, 3, 5]]),
    ("MergeStack", {}, [A, B], [[[1, 2], [3, 5]]]),
    ("MergeStack", {"dim": 2}, [A, B], [[[1, 3], [2, 5]]]),
    ("MergeSum", {}, [A, B], [[4, 7]]),
    ("MergeProd", {}, [A, B], [[3, 10]]),
    ("MergeMean", {}, [A, B], [[2, 3.5]]),
]


@pytest.mark.parametrize("name, keywords, tensors, expected", MERGES)
def test_merging_a_list(name, keywords, tensors, expected):
    assert arc_modules.MODULES[name](**keywords)(tensors).tolist() == expected


@pytest.mark.parametrize(
    ("name", "keywords", "expected"),
    [
        ("Reduce", {"name": "mean", "dim": 1}, [1.5]),
        ("Reduce", {"name": "sum", "dim": 1, "keepdim": True}, [[3]]),
        ("TorchFn", {"name": "clamp", "min": 1.5}, [[1.5, 2]]),
        ("Narrow", {"dim": 1, "start": 1, "length": 1}, [[2]]),
        ("IndexSelect", {"dim": 1, "index": [1, 0, 1]}, [[2, 1, 2]]),
    ],
)
def test_functions_of_one_tensor(name, keywords, expected):
    assert arc_modules.MODULES[name](**keywords)(A).tolist() == expected


def test_products_and_pieces():
    modules = arc_modules.MODULES
    assert modules["MergeDot"]()(A, B).tolist() == [13]
    assert modules["MergeBMM"]()(A.view(1, 1, 2), B.view(1, 2, 1)).tolist() == [[[13]]]
    assert [piece.tolist() for piece in modules["ForkChunk"](chunks=2)(A)] == [[[1]], [[2]]]
    assert modules["Get"](key="b")({"b": A}) is A


def test_film_modulates_every_pixel_of_a_channel():
    film = arc_modules.MergeFiLM(2, 1)
    film.gamma.weight.data, film.gamma.bias.data = torch.tensor([[2.0], [3.0]]), torch.zeros(2)
    film.beta.weight.data, film.beta.bias.data = torch.zeros(2, 1), torch.tensor([0.0, 1.0])
    image = torch.ones(1, 2, 1, 2)
    assert film(image, torch.ones(1, 1)).tolist() == [[[[2, 2]], [[4, 4]]]]


def test_no_name_reaches_outside_the_lists():
    assert not {"Module", "DataParallel", "Sequential", "MSELoss"} & arc_modules.MODULES.keys()
    assert all(issubclass(kind, nn.Module) for kind in arc_modules.MODULES.values())
    for name in ("load", "save", "compile", "from_file", "seed", "__import__", "relu_"):
        with pytest.raises(ValueError, match="unknown function"):
            arc_modules.TorchFn(name)


def test_an_image_arc_of_slm_lab(rng):
    layers = [
        *(
            {"LazyConv2d": {"out_channels": 8, "kernel_size": 4, "stride": 2, "padding": 0}},
            {"ReLU": {}},
        ),
        *({"Flatten": None}, {"LazyLinear": {"out_features": "16"}}, {"SiLU": None}),
    ]
    torch.manual_seed(0)
    raw = net_of(arc_of({"Sequential": layers}), (2, 12, 12))
    torch.manual_seed(0)
    normalised = net_of(arc_of({"Sequential": layers}), (2, 12, 12), normalize=True)
    x = torch.randint(0, 256, (3, 2, 12, 12), generator=rng, dtype=torch.uint8)
    assert raw.out_features == 16
    assert_close(normalised(x), raw(x.float() / 255))


def test_outputs_of_more_dimensions_are_flattened_and_of_several_the_first_counts():
    conv = {"Conv2d": {"in_channels": 1, "out_channels": 2, "kernel_size": 1}}
    assert net_of(arc_of(conv), (1, 3, 3)).out_features == 18
    assert (
        net_of(
            arc_of({"LSTM": {"input_size": 3, "hidden_size": 4, "batch_first": True}}), (2, 3)
        ).out_features
        == 8
    )
    assert (
        net_of(
            arc_of({"Linear": {"in_features": 4, "out_features": 2}}, output={"y": "body"})
        ).out_features
        == 2
    )


def test_lazy_layers_are_sized_initialised_and_in_train_mode():
    body = {
        "Sequential": [
            *({"LazyWeightNormLinear": {"out_features": 6}}, {"LazyBatchRenorm1d": {"eps": "1e-3"}}),
            *({"LazyLinear": {"out_features": 6}}, {"LazyBatchNorm1d": None}),
        ]
    }
    net = Net(params(arc_of(body), init_fn="orthogonal_", hid_layers_activation="tanh"), (4,), [2])
    weight_norm, renorm, linear, norm = net.body.nodes["body"]
    assert [type(layer) for layer in (weight_norm, renorm, linear, norm)] == [
        *(WeightNormLinear, BatchRenorm1d, nn.Linear, nn.BatchNorm1d)
    ]
    for layer in (weight_norm, linear):
        gain = layer.weight.T @ layer.weight if layer is weight_norm else layer.weight @ layer.weight.T
        assert_close(gain, torch.eye(len(gain)) * (5 / 3) ** 2, atol=1e-5, rtol=1e-5)
        assert not layer.bias.any()
    assert (renorm.eps, renorm.num_batches_tracked, norm.num_batches_tracked) == (1e-3, 0, 0)
    assert all(module.training for module in net.modules())


def test_it_can_be_copied_sent_and_restored(rng):
    arc = arc_of({"Sequential": [*TANH, {"TorchFn": {"name": "tanh"}}]})
    one, other, x = net_of(arc), net_of(arc), torch.randn(2, 4, generator=rng)
    assert not torch.equal(one(x), other(x))
    other.load_state_dict(one.state_dict())
    for net in (other, copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert torch.equal(one(x), net(x))
    assert "nodes.body.0.weight" in one.state_dict()


def test_actor_and_critic_may_have_arcs_of_their_own():
    wide, narrow = (arc_of({"LazyLinear": {"out_features": size}}) for size in (7, 2))
    net = ActorCriticNet(params(arc=None, actor_arc=wide, critic_arc=narrow), env())
    assert net.actor.net.heads[0].in_features == 7
    assert net.critic.heads[0].in_features == 2
    net = ActorCriticNet(params(wide, critic_arc=narrow), env())
    assert (net.actor.net.heads[0].in_features, net.critic.heads[0].in_features) == (7, 2)


@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_a_file_is_read_into_the_spec(tmp_path, suffix):
    arc, file = arc_of({"Sequential": TANH}), tmp_path / f"arc{suffix}"
    file.write_text(json.dumps(arc))
    loaded = TorchArcNet.Params(type="TorchArcNet", arc_file=str(file))
    assert loaded == params(arc)
    assert loaded.model_dump()["arc_file"] is None


def test_the_arc_that_cannot_read_an_observation_is_named():
    good, bad = (
        arc_of({"Sequential": TANH}),
        arc_of({"Sequential": [{"ReLU": None}, {"Linear": {"in_features": 9, "out_features": 2}}]}),
    )
    for keys, where in (
        ({"arc": bad}, "agent.net.arc"),
        ({"arc": good, "critic_arc": bad}, "agent.net.critic_arc"),
    ):
        with pytest.raises(SpecError) as caught:
            ActorCriticNet(params(**keys), env())
        ((path, message),) = caught.value.problems
        assert path == f"{where}.modules.body.Sequential.1.Linear"
        assert message.startswith("fails on a batch of 2 observations: ") and "9" in message
