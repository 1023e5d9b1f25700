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
ALGORITHMS = {
    "a2c": "ActorCritic",
    "a3c": "ActorCritic",
    "crossq": "CrossQ",
    "ddqn_per": "DoubleDQN",
    "dppo": "PPO",
    "dqn": "DQN",
    "ppo": "PPO",
    "pposil": "PPOSIL",
    "qrdqn": "QRDQN",
    "random": "Random",
    "reinforce": "Reinforce",
    "sac": "SoftActorCritic",
    "sarsa": "SARSA",
    "sil": "SIL",
    "td3": "TD3",
    "vanilla_dqn": "VanillaDQN",
}
ENVIRONMENTS = {
    "acrobot": "Acrobot-v1",
    "atari": "ALE/Pong-v5",
    "bipedal": "BipedalWalker-v3",
    "cartpole": "CartPole-v1",
    "cartpole_cross_entropy": "CartPole-v1",
    "cartpole_search": "CartPole-v1",
    "lunar": "LunarLander-v3",
    "lunar_continuous": "LunarLander-v3",
    "mountaincar": "MountainCar-v0",
    "mujoco": "HalfCheetah-v5",
    "pendulum": "Pendulum-v1",
}
VARIABLES = {"atari": {"env": "ALE/Pong-v5"}, "mujoco": {"env": "HalfCheetah-v5", "max_frame": "4e6"}}
CONTINUOUS = {"bipedal", "lunar_continuous", "mujoco", "pendulum"}
CLASSIC = {"acrobot", "cartpole", "lunar", "lunar_continuous", "pendulum"}


def folder(name: str) -> set[str]:
    return {file.stem for file in (SPECS / name).glob("*.json")}


def test_every_algorithm_has_a_folder():
    assert {path.name for path in SPECS.iterdir()} == set(ALGORITHMS)
    assert set(ALGORITHMS.values()) == set(REGISTRY.algorithms)


def test_every_kind_of_algorithm_is_there_for_its_environments():
    assert folder("ppo") >= CLASSIC | {"atari", "bipedal", "mountaincar", "mujoco"}
    for name in ("a2c", "sac"):
        assert folder(name) >= CLASSIC | {"atari", "bipedal", "mujoco"}
    assert folder("crossq") >= CLASSIC | {"bipedal", "mujoco"}
    assert folder("reinforce") >= CLASSIC
    assert folder("td3") >= CONTINUOUS
    for name in ("dqn", "ddqn_per"):
        assert folder(name) >= {"acrobot", "atari", "cartpole", "lunar", "mountaincar"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(SPECS).as_posix())
def test_a_shipped_spec(file):
    (name,) = read_specs(file)
    assert name == f"{file.parent.name}_{file.stem}"
    raw = load_spec(file, variables=VARIABLES.get(file.stem, {}))
    spec = resolve(raw, REGISTRY)
    assert notes(raw, spec) == []
    assert spec.meta.max_session == (2 if file.stem.endswith("_search") else 4)
    assert spec.agent.algorithm.name == ALGORITHMS[file.parent.name]
    assert spec.env.name == ENVIRONMENTS[file.stem]
    assert spec.env.max_frame / spec.meta.log_frequency >= 100, "a curve, not a few points"
    assert resolve_dict(json.loads(json.dumps(spec.to_dict())), REGISTRY) == spec
    info = check(spec).info
    assert (info.action.kind == "continuous") == (file.stem in CONTINUOUS)


def test_the_folder_is_valid_as_a_whole():
    findings = check_paths([SPECS], {})
    assert [str(finding) for finding in findings if finding.faulty] == []
    assert len(findings) == len(FILES)
