"""Notes: one for each thing that SLM Lab did otherwise, none where nothing changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from slm_lightning.registry import REGISTRY
from slm_lightning.spec.load import load_spec
from slm_lightning.spec.notes import notes
from slm_lightning.spec.resolve import resolve
from tests.spec.conftest import A2C_ALGORITHM, PPO, set_at

SPECS = Path(__file__).parents[2] / "specs"
A2C = set_at(set_at(PPO, "agent.algorithm", A2C_ALGORITHM), "env.num_envs", 1)


def notes_of(data, **kwargs) -> list[str]:
    raw = load_spec({"test": data}, **kwargs)
    return notes(raw, resolve(raw, REGISTRY))


def test_a_spec_that_means_the_same_in_both_labs_has_none():
    assert notes_of(PPO) == []


def schedule(name, start, end, end_step=1000):
    return {"name": name, "start_val": start, "end_val": end, "start_step": 0, "end_step": end_step}


ENTROPY = "agent.algorithm.entropy_coef_spec"
CASES = [
    ("agent.algorithm.clip_val_loss", True, "clip_val_loss is not read: write clip_vloss"),
    ("agent.algorithm.training_frequency", 1, "training_frequency is not read"),
    ("agent.net.normalize", True, "normalize is not read"),
    ("meta.num_gpus", 1, "num_gpus is not read"),
    ("meta.random_seed", 0, 'random_seed is not read: write "seed"'),
    ("meta.random_seed", 3, 'random_seed is not read: write "seed"'),
    ("curriculum", {"threshold": 0.8}, "curriculum is not read: a spec has no such key"),
    ("agent.algorithm.hurry", 3, "agent.algorithm.hurry is not read: PPO has no such key"),
    (
        "agent.algorithm.clip_eps_spec.unit",
        "s",
        "unit is not read: agent.algorithm.clip_eps_spec has no",
    ),
    ("env.max_t", 500, "end after 500 steps"),
    ("agent.net.actor_init_std", 0.01, "initialised with gain 0.01"),
    ("agent.net.critic_init_std", 1.0, "initialised with gain 1.0"),
    (ENTROPY, schedule("linear_decay", 0.01, 0), "now reaches 0 at frame 1000"),
    (ENTROPY, schedule("rate_decay", 0.01, 0), "now reaches 0 at frame 1000"),
    (ENTROPY, schedule("linear_decay", 0.01, 0.1), "now rises to 0.1"),
    (ENTROPY, schedule("periodic_decay", 0.1, 0.01), "now swings down to 0.01"),
    (ENTROPY, schedule("no_decay", 0.1, 0.01), "stays 0.1; SLM Lab took end_val, 0.01"),
    (ENTROPY, None, "did not learn at all"),
    ("agent.algorithm.time_horizon", 30, "time_horizon stays 30; SLM Lab rounded it up to 32"),
    ("agent.algorithm.minibatch_size", 6, "minibatch_size stays 6; SLM Lab rounded it up to 8"),
]


@pytest.mark.parametrize("path, value, text", CASES, ids=[text for *_, text in CASES])
def test_one_note_for_one_difference(path, value, text):
    (note,) = notes_of(set_at(PPO, path, value))
    assert text in note and note.startswith(path) and "\n" not in note


@pytest.mark.parametrize(
    "path, value",
    [
        ("agent.net.normalize", False),
        ("agent.algorithm.clip_val_loss", None),
        ("env.max_t", None),
        ("agent.net.log_std_init", 0.0),
        (ENTROPY, schedule("linear_decay", 0.1, 0.01)),
        (ENTROPY, schedule("linear_decay", 0.1, None)),
        (ENTROPY, schedule("rate_decay", 0.1, 0.01)),
        (ENTROPY, schedule("no_decay", 0.1, 0)),
        (ENTROPY, schedule("linear_decay", 0, 0)),
        ("agent.algorithm.minibatch_size", 1_000_000),
    ],
)
def test_no_note_without_a_difference(path, value):
    assert notes_of(set_at(PPO, path, value)) == []


def test_the_playground_horizon():
    data = set_at(set_at(PPO, "env.num_envs", 2048), "agent.algorithm.time_horizon", 100)
    data["agent"]["algorithm"]["minibatch_size"] = 4096
    (note,) = notes_of(data)
    assert "stays 100; SLM Lab rounded it up to 2048" in note


@pytest.mark.parametrize(
    "env, shared, text",
    [
        ("Pendulum-v1", False, "of one dimension"),
        ("InvertedDoublePendulum-v5", False, "of one dimension"),
        ("Humanoid-v5", True, "on a shared net"),
    ],
)
def test_log_std_where_slm_lab_did_not_use_it(env, shared, text):
    data = set_at(set_at(PPO, "env.name", env), "agent.net.shared", shared)
    (note,) = notes_of(set_at(data, "agent.net.log_std_init", 0.0))
    assert text in note


def test_an_atari_game_by_an_old_id():
    told = "VideoPinball-v0 is played as ALE/VideoPinball-v5 is"
    assert any(told in note for note in notes_of(set_at(PPO, "env.name", "VideoPinball-v0")))
    assert not any("played as" in note for note in notes_of(set_at(PPO, "env.name", "ALE/Pong-v5")))


def test_n_step_returns_of_episodes():
    assert notes_of(A2C) == []
    (note,) = notes_of(set_at(A2C, "agent.memory.name", "OnPolicyReplay"))
    assert note.startswith("agent.algorithm.num_step_returns") and "episodes" in note


def test_n_step_returns_beside_gae():
    data = set_at(A2C, "agent.algorithm.lam", 0.95)
    said = "agent.algorithm.num_step_returns is not read: agent.algorithm.lam asks for GAE"
    for spec in (data, set_at(data, "meta.seed", 1)):
        (note,) = notes_of(spec)
        assert note.startswith(said)
    assert notes_of(set_at(data, "agent.algorithm.num_step_returns", None)) == []


def test_td3_explores_by_its_noise_alone():
    raw = load_spec(SPECS / "td3" / "pendulum.json")
    resolved = resolve(raw, REGISTRY).to_dict()
    resolved["agent"]["algorithm"]["action_policy"] = "default"
    assert notes_of(resolved) == []
    resolved["agent"]["algorithm"]["action_policy"] = "random"
    (note,) = notes_of(resolved)
    assert note == "agent.algorithm.action_policy is not read: TD3 explores by explore_noise"


def test_a_spec_written_for_this_lab_is_told_only_what_is_not_read():
    data = set_at(set_at(PPO, "env.max_t", 500), "agent.net.normalize", True)
    assert len(notes_of(data)) == 2
    assert len(notes_of(data, overrides={"meta.seed": 1})) == 2
    (note,) = notes_of(set_at(data, "meta.seed", 1))
    assert "normalize is not read" in note
