"""The section ``agent.critic_net``: read like ``agent.net``, by algorithms that have critics."""

from __future__ import annotations

from typing import Any

import pytest

from slm_lightning.lab.preflight import check
from slm_lightning.registry import REGISTRY
from slm_lightning.spec.load import load_spec
from slm_lightning.spec.notes import notes
from slm_lightning.spec.resolve import resolve, resolve_dict
from slm_lightning.spec.schema import json_schema
from tests.spec.conftest import PPO, problems_of, resolved, set_at
from tests.spec.test_schema import accepts

MLP: dict[str, Any] = {"type": "MLPNet", "hid_layers": [16]}
CRITIC: dict[str, Any] = {"type": "MLPNet", "hid_layers": [32], "batch_renorm": True}
CROSSQ: dict[str, Any] = {
    "agent": {
        "name": "CrossQ",
        "algorithm": {"name": "CrossQ", "gamma": 0.99, "training_frequency": 1},
        "memory": {"name": "Replay", "batch_size": 32, "max_size": 1000},
        "net": MLP,
        "critic_net": CRITIC,
    },
    "env": {"name": "CartPole-v1", "num_envs": 2, "max_frame": 4000},
    "meta": {},
}


def test_it_is_resolved_like_a_net_and_resolves_again():
    spec = resolved(CROSSQ)
    assert spec.agent.critic_net is not None
    assert dict(spec.agent.critic_net)["hid_layers"] == [32]
    assert spec.to_dict()["agent"]["critic_net"]["batch_renorm"] is True
    assert resolve_dict(spec.to_dict(), REGISTRY) == spec
    check(spec)


@pytest.mark.parametrize("name", ["SoftActorCritic", "TD3"])
def test_its_targets_follow_as_the_net_says(name):
    polyak = {"update_type": "polyak", "polyak_coef": 0.01}
    data = set_at(set_at(CROSSQ, "agent.algorithm.name", name), "agent.net", MLP | polyak)
    spec = resolved(set_at(data, "env.name", "Pendulum-v1"))
    agent = REGISTRY.algorithms[name].build(spec.agent, check(spec).info)
    assert [target.params.tau for target in agent.targets()] == [0.01] * len(agent.targets())


def test_without_it_the_critics_are_of_the_net():
    spec = resolved(set_at(CROSSQ, "agent.critic_net", None))
    assert spec.agent.critic_net is None
    assert resolve_dict(spec.to_dict(), REGISTRY) == spec
    agent = REGISTRY.algorithms["CrossQ"].build(spec.agent, check(spec).info)
    assert agent.critics.q1.net.params.hid_layers == [16]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("agent.critic_net.update_typ", "polyak", 'unknown key, did you mean "update_type"?'),
        ("agent.critic_net.type", "MLP", 'unknown critic_net "MLP", did you mean "MLPNet"?'),
        ("agent.critic_net.init_fn", "orthogonal", 'unknown initialiser "orthogonal"'),
        ("agent.critic_net.batch_norm", True, "excludes"),
        ("agent.critic_net.hid_layers", [10**6, 10**6], "weights would need about"),
        ("agent.critic_net", [CRITIC], "expected a section, not a list"),
    ],
)
def test_what_is_wrong_in_it_is_said_at_its_path(path, value, message):
    found = problems_of(set_at(CROSSQ, path, value))
    ((where, text),) = found.items()
    assert where.startswith("agent.critic_net")
    assert message in text


def test_an_algorithm_without_critics_of_its_own_has_no_use_for_it():
    data = set_at(PPO, "agent.critic_net", {"type": "MLPNet", "hid_layers": [8]})
    found = problems_of(set_at(data, "meta.seed", 0))
    assert found == {
        "agent.critic_net": "PPO (agent.algorithm.name) builds all it needs from agent.net"
    }


def test_keys_that_it_does_not_read_are_noted():
    raw = load_spec({"test": set_at(CROSSQ, "agent.critic_net.normalize", True)})
    found = notes(raw, resolve(raw, REGISTRY))
    assert "agent.critic_net.normalize is not read: only image nets divide by 255" in found


def test_the_schema_knows_it():
    schema = json_schema(REGISTRY)
    assert accepts(schema, {"test": CROSSQ})
    assert accepts(schema, {"test": set_at(CROSSQ, "agent.critic_net", None)})
    assert not accepts(schema, {"test": set_at(CROSSQ, "agent.critic_net.hid_layers", "wide")})
