"""Random: uniform actions, and a whole run without anything to learn."""

from __future__ import annotations

import json

import pytest
import torch

from slm_lightning import run
from slm_lightning.core import EnvInfo, Keys
from slm_lightning.errors import SpecError
from slm_lightning.registry import REGISTRY
from slm_lightning.session import Session
from slm_lightning.spec.load import load_spec
from slm_lightning.spec.notes import notes
from slm_lightning.spec.resolve import resolve, resolve_dict
from slm_lightning.tracking import Record
from tests.algorithms.support import ACTIONS, OBS, make_agent
from tests.conftest import PRIORITIZED, make_spec, train
from tests.support import Lab, tiny


def random_spec(**sections) -> dict:
    spec = tiny(**sections)
    spec["tiny"]["agent"] |= {"algorithm": {"name": "Random"}, "net": {}}
    return spec


@pytest.mark.parametrize("explore", [True, False])
def test_actions_are_uniform(explore):
    agent = make_agent("Random")
    torch.manual_seed(0)
    share = agent.act(torch.zeros(30_000, OBS), explore).bincount(minlength=3) / 30_000
    assert share.tolist() == pytest.approx([1 / 3] * 3, abs=0.015)
    actions = make_agent("Random", "continuous").act(torch.zeros(30_000, OBS), explore)
    assert actions.mean(0).abs().max() < 0.02 and actions.var(0).tolist() == pytest.approx(
        [1 / 3] * 2, abs=0.01
    )
    assert actions.abs().max() <= 1


def test_it_keeps_to_the_actions_that_are_allowed():
    env = EnvInfo("x", 2, (OBS + 3,), torch.float32, ACTIONS["discrete"], mask_size=3)
    agent = Session.build(make_spec("Random"), env, Keys(0)).agent
    obs = torch.zeros(200, OBS + 3)
    obs[:, -3:] = torch.tensor([1.0, 0.0, 1.0])
    assert set(agent.act(obs).tolist()) == {0, 2}


@pytest.mark.parametrize(
    ("memory", "num_envs"),
    [
        ("OnPolicyBatchReplay", 3),
        ("OnPolicyReplay", 3),
        ({"name": "OnPolicyCrossEntropy", "cross_entropy": 0.5}, 1),
        ("OnPolicyCrossEntropy", 3),
        ({"name": "Replay", "batch_size": 8, "max_size": 100}, 3),
        (PRIORITIZED, 3),
    ],
)
def test_any_memory_will_do(memory, num_envs):
    memory = {"name": memory} if isinstance(memory, str) else memory
    data = random_spec(env={"num_envs": num_envs, "max_frame": 600})
    data["tiny"]["agent"]["memory"] = memory
    raw = load_spec(data)
    spec = resolve(raw, REGISTRY)
    assert notes(raw, spec) == []
    assert resolve_dict(spec.to_dict(), REGISTRY) == spec
    done = train(spec)
    assert done.session.opt_step == 0 and not list(done.session.agent.parameters())
    assert len(done.episodes) > 5
    assert all(metrics == {} for metrics in done.metrics)


def test_several_environments_give_whole_episodes_only_to_who_learns_nothing():
    data = tiny(algorithm={"training_frequency": 1}, env={"num_envs": 2})
    data["tiny"]["agent"]["memory"] = {"name": "OnPolicyReplay"}
    with pytest.raises(SpecError, match=r"env\.num_envs: OnPolicyReplay .* expected 1"):
        resolve(load_spec(data), REGISTRY)


def test_who_learns_needs_a_net():
    data = tiny()
    data["tiny"]["agent"]["net"] = {}
    with pytest.raises(SpecError, match=r"agent\.net\.type: missing"):
        resolve(load_spec(data), REGISTRY)
    data = random_spec()
    data["tiny"]["agent"]["net"] = {"hid_layer": [4]}
    with pytest.raises(SpecError, match=r"agent\.net\.hid_layer: unknown key"):
        resolve(load_spec(data), REGISTRY)
    data["tiny"]["agent"]["net"] = tiny()["tiny"]["agent"]["net"]
    assert resolve(load_spec(data), REGISTRY).agent.net.type == "MLPNet"


def test_it_runs_through_the_whole_lab(lab: Lab, record: Record, no_pictures, tmp_path):
    result = run(random_spec(env={"max_frame": 800}, meta={"max_session": 1}), say=lambda text: None)
    (session,) = result.sessions
    assert list(session.metrics.frame) == [200, 400, 600, 800]
    assert "loss" not in session.metrics and (session.metrics.opt_step == 0).all()
    (row,) = json.loads(lab("list", "--json").out)
    assert row["status"] == "done" and 15 < row["score"] < 35
    for options in ([], ["--explore", "--checkpoint", "last"]):
        shown = lab("enjoy", row["run_id"], "--episodes", 2, *options)
        assert (shown.code, shown.err) == (0, "")
