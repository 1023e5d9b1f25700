"""The section ``agent.net`` of each kind of net: what it takes, refuses, and notes."""

from __future__ import annotations

import pytest

from slm_lightning.registry import REGISTRY
from slm_lightning.spec.load import load_spec
from slm_lightning.spec.notes import notes
from slm_lightning.spec.resolve import resolve, resolve_dict
from slm_lightning.spec.schema import json_schema
from tests.spec.conftest import PPO, problems_of, resolved, set_at
from tests.spec.test_schema import accepts

CONV = {"type": "ConvNet", "conv_hid_layers": [[32, 8, 4], [64, [4, 4], 2, 0, 1]], "batch_norm": False}
ARC = {
    "type": "TorchArcNet",
    "arc": {
        "modules": {"body": {"Sequential": [{"LazyLinear": {"out_features": 64}}, {"Tanh": None}]}},
        "graph": {"input": "x", "modules": {"body": ["x"]}, "output": "body"},
    },
}
MLP = {"type": "MLPNet", "hid_layers": [64]}
NETS = [CONV, ARC, MLP, {**CONV, "type": "DuelingConvNet"}, {**MLP, "type": "DuelingMLPNet"}]
every_net = pytest.mark.parametrize("net", NETS, ids=[net["type"] for net in NETS])


def with_net(net: dict, **keys) -> dict:
    return set_at(PPO, "agent.net", net | keys)


def sac_with(nets: dict[str, dict], batch_size: int) -> dict:
    """SAC on plain nets, but for ``nets``."""
    sac = set_at(PPO, "agent.algorithm", {"name": "SoftActorCritic", "gamma": 0.99})
    sac["agent"]["algorithm"]["training_frequency"] = 1
    sac["agent"]["memory"] = {"name": "Replay", "batch_size": batch_size, "max_size": 100}
    sac["agent"] |= {"net": MLP} | nets
    return set_at(sac, "meta.seed", 0)


def notes_of(data: dict) -> list[str]:
    raw = load_spec({"test": data})
    return notes(raw, resolve(raw, REGISTRY))


@every_net
def test_a_resolved_net_is_itself_again(net):
    spec = resolved(with_net(net))
    assert resolve_dict(spec.to_dict(), REGISTRY) == spec
    assert notes_of(with_net(net)) == []


@every_net
def test_the_schema_accepts_it(net):
    assert accepts(json_schema(REGISTRY), {"test": with_net(net)})


def test_every_key_of_a_convolution_is_filled_in():
    layers = resolved(with_net(CONV)).to_dict()["agent"]["net"]["conv_hid_layers"]
    assert layers == [[32, 8, 4, 0, 1], [64, [4, 4], 2, 0, 1]]


@pytest.mark.parametrize(
    "layers",
    [[[32]], [[32, 8, 4, 0, 1, 1]], [[32, 0]], [[0, 8]], [[32, [8]]], [32, 8], 3, [[32, "big"]]],
)
def test_what_is_no_convolution(layers):
    (message,) = problems_of(with_net(CONV, conv_hid_layers=layers)).values()
    expected = "each entry [out_channels, kernel, stride, padding, dilation], not "
    assert message.startswith("expected a list of at most 100, ") and expected in message


@pytest.mark.parametrize(
    ("keys", "path", "other"),
    [
        ({"batch_norm": True, "layer_norm": True}, "layer_norm", "batch_norm"),
        ({"batch_renorm": True, "layer_norm": True}, "layer_norm", "batch_renorm"),
        ({"batch_norm": True, "batch_renorm": True}, "batch_renorm", "batch_norm"),
    ],
)
def test_one_norm_excludes_the_others(keys, path, other):
    problems = problems_of(with_net(MLP, **keys))
    assert problems[f"agent.net.{path}"].startswith(f"excludes {other}")


@pytest.mark.parametrize(
    ("net", "key"), [(MLP, "batch_norm"), (MLP, "batch_renorm"), (CONV, "batch_norm")]
)
def test_an_on_policy_algorithm_refuses_statistics_of_the_batch(net, key):
    (problem,) = problems_of(with_net(net, **{key: True})).items()
    assert problem[0] == f"agent.net.{key}" and "PPO (agent.algorithm.name) cannot bear" in problem[1]


DROPOUT = {
    "type": "TorchArcNet",
    "arc": {
        "modules": {"body": {"Sequential": [{"Flatten": None}, {"Dropout": {"p": 0.5}}]}},
        "graph": {"input": "x", "modules": {"body": ["x"]}, "output": "body"},
    },
}


def test_an_on_policy_algorithm_refuses_dropout():
    (problem,) = problems_of(with_net(DROPOUT)).items()
    assert problem[0] == "agent.net.arc.modules.body.Sequential.1.Dropout"
    assert "PPO (agent.algorithm.name) never uses it" in problem[1]
    assert resolved(sac_with({"net": DROPOUT}, batch_size=2))
    assert resolved(set_at(with_net(DROPOUT), "agent.algorithm", {"name": "Random"}))


def test_an_entropy_that_falls_takes_some_frames():
    sac = set_at(sac_with({}, 2), "agent.algorithm.entropy_anneal", {"end_ratio": 0.1})
    expected = "expected more than 0 from start_ratio, 0.6, to end_ratio"
    assert problems_of(sac) == {"agent.algorithm.entropy_anneal.frames": expected}
    assert resolved(set_at(sac, "agent.algorithm.entropy_anneal.frames", 100))
    assert resolved(set_at(sac, "agent.algorithm.fixed_alpha", 0.1))


@pytest.mark.parametrize("start", [-5.1, 2.5])
def test_log_sigma_begins_where_it_can_be_learned(start):
    (problem,) = problems_of(with_net(MLP, log_std_init=start)).items()
    assert problem[0] == "agent.net.log_std_init"


@pytest.mark.parametrize("section", ["net", "critic_net"])
def test_a_batch_of_one_row_has_no_statistics(section):
    sac = sac_with({section: {**MLP, "batch_norm": True}}, batch_size=1)
    expected = f"expected at least 2, not 1, because agent.{section}.batch_norm normalises by the batch"
    assert problems_of(sac) == {"agent.memory.batch_size": expected}
    assert resolved(sac_with({section: {**MLP, "batch_norm": True}}, batch_size=2))


def test_an_agent_that_learns_nothing_may_have_any_net():
    random = with_net(MLP, batch_norm=True)
    random["agent"]["algorithm"] = {"name": "Random"}
    assert resolved(random)


def test_weight_norm_goes_with_layer_norm():
    assert resolved(with_net(MLP, weight_norm=True, layer_norm=True))


def test_absurd_fully_connected_layers():
    problems = problems_of(with_net(CONV, fc_hid_layers=[10**12]))
    assert "1e12 weights would need" in problems["agent.net.fc_hid_layers"]


def test_notes_on_what_slm_lab_did_otherwise():
    without = {key: value for key, value in CONV.items() if key != "batch_norm"}
    (note,) = notes_of(with_net(without))
    assert note.startswith("agent.net.batch_norm: left out, it is now false")
    (note,) = notes_of(with_net(ARC, hid_layers=[64, 64]))
    assert note == "agent.net.hid_layers is not read: the arc has its layers"
    assert notes_of(with_net(CONV, normalize=True)) == []
