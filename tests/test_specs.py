"""Every shipped spec is what its place says, and can run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slm_lightning.lab.preflight import check
from slm_lightning.lab.validation import check_paths
from slm_lightning.registry import REGISTRY
from slm_lightning.spec.load import load_spec, read_specs
from slm_lightning.spec.notes import notes
from slm_lightning.spec.resolve import resolve, resolve_dict

SPECS = Path(__file__).parents[1] / "specs"
FILES = sorted(SPECS.rglob("*.json"))
ALGORITHMS = {"ppo": "PPO", "a2c": "ActorCritic", "reinforce": "Reinforce"}
ENVIRONMENTS = {
    "cartpole": "CartPole-v1",
    "acrobot": "Acrobot-v1",
    "pendulum": "Pendulum-v1",
    "lunar": "LunarLander-v3",
    "lunar_continuous": "LunarLander-v3",
}


def test_every_algorithm_has_specs_for_every_environment():
    environments = {"cartpole", "acrobot", "pendulum", "lunar", "lunar_continuous"}
    found = {folder.name: {file.stem for file in folder.glob("*.json")} for folder in SPECS.iterdir()}
    assert found == dict.fromkeys(("a2c", "ppo", "reinforce"), environments)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(SPECS).as_posix())
def test_a_shipped_spec(file):
    (name,) = read_specs(file)
    assert name == f"{file.parent.name}_{file.stem}"
    raw = load_spec(file)
    spec = resolve(raw, REGISTRY)
    assert notes(raw, spec) == []
    assert spec.meta.max_session == 4
    assert spec.agent.algorithm.name == ALGORITHMS[file.parent.name]
    assert spec.env.name == ENVIRONMENTS[file.stem]
    assert spec.env.max_frame / spec.meta.log_frequency >= 100, "a curve, not a few points"
    assert resolve_dict(json.loads(json.dumps(spec.to_dict())), REGISTRY) == spec
    info = check(spec)
    assert (info.action.kind == "continuous") == (file.stem in ("pendulum", "lunar_continuous"))


def test_the_folder_is_valid_as_a_whole():
    findings = check_paths([SPECS], {})
    assert [str(finding) for finding in findings if not finding.runs] == []
    assert len(findings) == len(FILES)
