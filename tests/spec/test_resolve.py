"""Resolving: what a valid spec becomes, and that it stays what it is."""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slm_lightning.errors import SpecError
from slm_lightning.registry import REGISTRY
from slm_lightning.spec.families import OLDEST, successor
from slm_lightning.spec.load import RawSpec, load_spec, read_specs, variables_in
from slm_lightning.spec.notes import notes
from slm_lightning.spec.resolve import resolve, resolve_dict
from tests.spec.conftest import A2C_ALGORITHM, PPO, drop_at, problems_of, resolved, set_at

SHIPPED = [
    (path, name)
    for path in sorted((Path(__file__).parents[2] / "specs").rglob("*.json"))
    for name in read_specs(path)
]

ENV_KEYWORDS = [
    "continuous",
    "life_loss_info",
    "repeat_action_probability",
    "gravity",
    "enable_wind",
    "wind_power",
    "map_name",
    "is_slippery",
    "g",
    "goal_velocity",
    "frame_skip",
    "frameskip",
    "mode",
    "difficulty",
    "obs_type",
    "full_action_space",
    "reset_noise_scale",
    "ctrl_cost_weight",
    "forward_reward_weight",
    "healthy_reward",
    "healthy_z_range",
    "terminate_when_unhealthy",
    "exclude_current_positions_from_observation",
    "contact_cost_weight",
    "domain_randomize",
    "lap_complete_percent",
    "sutton_barto_reward",
    "max_num_frames_per_episode",
    "sound_obs",
    "xml_file",
    "device",
    "desc",
    "hardcore",
    "main_body",
    "size",
]
"""Keywords of environments of Gymnasium and ale-py."""


def test_sections_are_typed_by_what_they_name(ppo):
    spec = resolved(ppo)
    assert spec.name == "test"
    assert type(spec.agent.algorithm) is REGISTRY.algorithms["PPO"].Params
    assert type(spec.agent.net) is REGISTRY.nets["MLPNet"].Params
    assert type(spec.agent.memory) is REGISTRY.memories["OnPolicyBatchReplay"]


def test_defaults_are_filled_in(ppo):
    data = resolved(ppo).to_dict()
    assert data["agent"]["algorithm"]["normalize_v_targets"] is False
    assert data["agent"]["net"]["optim_spec"] == {"name": "Adam", "lr": 3e-4}
    assert data["env"]["normalize_obs"] is False
    assert data["meta"]["seed"] == 0


@pytest.mark.parametrize("path, name", SHIPPED, ids=[name for _, name in SHIPPED])
def test_shipped_specs_resolve_and_stay_the_same(path, name):
    variables = {"env": "ALE/Pong-v5", "max_frame": "1e6"}
    said = {key: variables[key] for key in variables_in(path)}
    spec = resolve(load_spec(path, name, said), REGISTRY)
    assert resolve_dict(spec.to_dict(), REGISTRY) == spec


def test_a_stored_spec_runs_again_without_notes(ppo, write):
    data = set_at(set_at(ppo, "env.max_t", 500), "agent.algorithm.clip_val_loss", True)
    raw = load_spec({"test": data})
    spec = resolve(raw, REGISTRY)
    assert len(notes(raw, spec)) == 2
    again = load_spec(write(spec.to_dict(), "spec_resolved.json"))
    assert resolve(again, REGISTRY) == spec
    assert notes(again, spec) == []


def test_resolving_leaves_the_raw_spec_alone(ppo):
    raw = RawSpec("test", ppo)
    resolve(raw, REGISTRY)
    assert ppo == PPO


@pytest.mark.parametrize(
    "path, text, number",
    [
        ("agent.net.optim_spec.lr", "3e-4", 3e-4),
        ("env.max_frame", "1e7", 10_000_000),
        ("env.max_frame", 1e7, 10_000_000),
        ("agent.algorithm.clip_eps_spec.start_val", "0.1", 0.1),
        ("agent.net.lr_scheduler_spec.frame", "10e6", 10_000_000),
        ("agent.net.hid_layers", ["64", 32.0], [64, 32]),
        ("agent.net.optim_spec.eps", "1e-5", 1e-5),
        ("env.clip_reward", ["-1", 1], (-1, 1)),
        ("meta.seed", str(2**63 - 1), 2**63 - 1),
    ],
)
def test_numeric_text_is_a_number(ppo, path, text, number):
    value = resolved(set_at(ppo, path, text))
    for key in path.split("."):
        value = getattr(value, key)
    assert value == number
    assert type(value) is type(number)


@pytest.mark.parametrize(
    "path, value",
    [
        ("agent.net.hid_layers_activation", "LeakyReLU"),
        ("agent.net.out_layer_activation", [None, "tanh"]),
        ("agent.net.init_fn", None),
        ("agent.net.loss_spec", {"name": "smoothl1loss", "beta": 0.5}),
        ("agent.net.optim_spec", {"name": "RMSprop", "lr": 1e-3, "alpha": 0.99, "eps": "1e-5"}),
        ("agent.net.optim_spec", {"name": "GlobalAdam", "lr": 1e-3, "betas": [0.9, 0.99]}),
        ("agent.net.lr_scheduler_spec", {"name": "StepLR", "step_size": 100, "gamma": 0.5}),
        ("agent.net.lr_scheduler_spec", {"name": "LinearToMin", "frame": 1e6, "min_factor": 0.1}),
        ("agent.net.lr_scheduler_spec", None),
        ("agent.net.gpu", False),
        ("env.clip_reward", 5),
        ("env.entry_point", "my_package.envs:Grid"),
        ("env.backend", "gymnasium"),
        ("agent.algorithm.training_frequency", 8),
        ("agent.algorithm.entropy_coef_spec", None),
        ("meta.num_gpus", 1),
        (
            "search",
            {"agent.algorithm.gamma__uniform": [0.9, 0.99], "env": {"num_envs__choice": [4, 8]}},
        ),
        ("search", {}),
    ],
)
def test_what_a_spec_may_say(ppo, path, value):
    spec = resolved(set_at(ppo, path, value))
    assert resolve_dict(spec.to_dict(), REGISTRY) == spec


@pytest.mark.parametrize(
    "algorithm", [A2C_ALGORITHM, {"name": "Reinforce", "gamma": 1, "training_frequency": 4}]
)
@pytest.mark.parametrize("memory, num_envs", [("OnPolicyReplay", 1), ("OnPolicyBatchReplay", 8)])
def test_memories_that_fit(ppo, algorithm, memory, num_envs):
    data = set_at(set_at(ppo, "agent.algorithm", algorithm), "agent.memory.name", memory)
    assert resolved(set_at(data, "env.num_envs", num_envs)).agent.memory.name == memory


@pytest.mark.parametrize("keyword", ENV_KEYWORDS)
def test_environments_keep_their_own_keywords(ppo, keyword):
    assert resolved(set_at(ppo, f"env.{keyword}", 1)).env.model_extra == {keyword: 1}


@pytest.mark.parametrize(
    "misspelt, key",
    [
        ("num_env", "num_envs"),
        ("max_frames", "max_frame"),
        ("normalise_obs", "normalize_obs"),
        ("normalize_rewards", "normalize_reward"),
        ("clip_rewards", "clip_reward"),
        ("maxt", "max_t"),
        ("entrypoint", "entry_point"),
        ("vectorisation_mode", "vectorization_mode"),
        ("backed", "backend"),
    ],
)
def test_but_a_misspelt_key_is_none_of_them(ppo, misspelt, key):
    problems = problems_of(set_at(ppo, f"env.{misspelt}", 1))
    assert problems == {f"env.{misspelt}": f'unknown key, did you mean "{key}"?'}


def test_every_problem_is_told_at_once(ppo):
    ppo["agnet"] = {}
    ppo["agent"]["algorithm"] |= {"gama": 1, "lam": 1.7}
    del ppo["agent"]["algorithm"]["gamma"]
    ppo["agent"]["net"]["optim_spec"]["lr"] = -1
    ppo["agent"]["memory"]["name"] = "OnPolicyReplay"
    ppo["env"]["max_frame"] = "many"
    ppo["meta"] |= {"max_session": True, "seed": 0}
    assert problems_of(ppo) == {
        "agnet": 'unknown key, did you mean "agent"?',
        "agent.algorithm.gama": 'unknown key, did you mean "gamma"?',
        "agent.algorithm.lam": "expected a number from 0 to 1, not 1.7",
        "agent.net.optim_spec.lr": "expected a number above 0, not -1 (default 0.001)",
        "env.max_frame": 'expected a whole number from 1 to 1e15, not "many"',
        "meta.max_session": "expected a whole number from 1 to 1000, not true (default 1)",
    }


def test_problems_of_combinations_come_with_the_others(ppo):
    ppo["agent"]["memory"]["name"] = "OnPolicyReplay"
    ppo["meta"] |= {"log_frequency": 0, "seed": 0}
    assert problems_of(ppo).keys() == {"meta.log_frequency", "env.num_envs"}


def test_a_memory_that_does_not_fit_is_told_before_its_own_keys(ppo):
    ppo["agent"]["memory"] = {"name": "Replay"}
    ppo["meta"]["seed"] = 0
    (problem,) = problems_of(ppo).values()
    assert problem.startswith("PPO (agent.algorithm.name) cannot learn from Replay; choose OnPolicy")


def test_keys_of_other_components_are_not_read(ppo):
    ppo["agent"]["algorithm"] |= {"training_start_step": "soon", "alpha_lr": 1}
    ppo["agent"]["memory"] |= {"alpha": None, "cross_entropy": 0.5}
    ppo["agent"]["net"] |= {"seq_len": 4, "conv_hid_layers": []}
    assert resolved(ppo) == resolved(PPO)


UNREAD = {
    "curriculum": {"threshold": 0.8},
    "agent.notes": "fast",
    "agent.algorithm.horizon_in_days": 3,
    "agent.algorithm.clip_eps_spec.unit": "frame",
    "agent.net.lr": 0.1,
    "meta.num_envs": 4,
}
"""Keys that nothing has, or other sections."""


def test_keys_of_no_component_are_let_pass_in_a_spec_of_slm_lab(ppo):
    for path, value in UNREAD.items():
        ppo = set_at(ppo, path, value)
    assert resolved(ppo) == resolved(PPO)
    assert problems_of(set_at(ppo, "meta.seed", 0)).keys() == UNREAD.keys()


@pytest.mark.parametrize(
    "path, misspelt",
    [
        ("agent.algorithm.time_horizon", "horizon"),  # which is required
        ("agent.algorithm.val_loss_coef", "val_loss_coeff"),
        ("agent.algorithm.clip_eps_spec.start_val", "start"),
        ("agent.net.hid_layers_activation", "hidden_layers_activation"),
        ("meta", "metta"),
    ],
)
def test_but_not_misspellings_of_what_is_left_out(ppo, path, misspelt):
    section, _, key = path.rpartition(".")
    wrong = f"{section}.{misspelt}" if section else misspelt
    data = set_at(drop_at(ppo, path), wrong, 1)
    assert problems_of(data)[wrong] == f'unknown key, did you mean "{key}"?'


@pytest.mark.parametrize("name", ["LunarLander-v2", "Pendulum-v0", "BipedalWalker-v2", "Hopper-v3"])
def test_a_version_that_is_no_longer_made_names_the_new_one(ppo, name):
    newest = problems_of(set_at(ppo, "env.name", name))["env.name"].removeprefix(
        f"{name} is gone; write "
    )
    assert gymnasium.spec(newest).id == newest
    assert newest.partition("-")[0] == name.partition("-")[0]


def test_what_gymnasium_makes_is_not_gone():
    made = [name for name, found in gymnasium.registry.items() if isinstance(found.entry_point, str)]
    assert {name: successor(name) for name in made if successor(name)} == {}
    assert all(f"{name}-v{newest}" in made for name, (_, newest) in OLDEST.items())


def test_names_of_slm_lab_that_exist_no_more(ppo):
    problems = problems_of(set_at(ppo, "agent.algorithm.name", "HydraDQN"))
    assert problems == {"agent.algorithm.name": "HydraDQN no longer exists, in SLM Lab neither"}
    problems = problems_of(set_at(ppo, "env.name", "AntBulletEnv-v0"))
    assert problems["env.name"].startswith("AntBulletEnv-v0 no longer exists: PyBullet's")


def test_an_unknown_name_gets_the_nearest_and_the_list(ppo):
    problems = problems_of(set_at(ppo, "agent.algorithm.name", "PP0"))
    assert problems["agent.algorithm.name"].startswith('unknown algorithm "PP0", did you mean "PPO"?')


def test_a_spec_of_slm_lab_4_is_recognised(ppo):
    assert "SLM Lab 4" in problems_of(set_at(ppo, "env", [ppo["env"]]))["env"]


def test_a_key_in_the_wrong_section_is_sent_home(ppo):
    ppo["agent"]["gamma"] = ppo["agent"]["algorithm"].pop("gamma")
    ppo["agent"]["algorithm"]["lr"] = 0.1
    ppo["meta"] |= {"num_envs": 4, "seed": 0}
    assert problems_of(ppo) == {
        "agent.gamma": "unknown key here; it belongs in agent.algorithm",
        "agent.algorithm.lr": "unknown key here; it belongs in agent.net.optim_spec",
        "agent.algorithm.gamma": "missing; expected a number from 0 to 1",
        "meta.num_envs": "unknown key here; it belongs in env",
    }


@pytest.mark.parametrize(
    "path", ["agent", "agent.algorithm", "agent.memory", "agent.net", "env", "meta"]
)
def test_a_missing_section_is_named(ppo, path):
    assert problems_of(drop_at(ppo, path))[path].startswith("missing")


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers())
def test_numbers_are_kept_or_refused(fraction, count):
    data = set_at(set_at(PPO, "agent.algorithm.lam", fraction), "meta.log_frequency", count)
    if 0 <= fraction <= 1 and 1 <= count <= 10**15:
        spec = resolved(data)
        assert (spec.agent.algorithm.lam, spec.meta.log_frequency) == (fraction, count)
        assert resolve_dict(json.loads(json.dumps(spec.to_dict())), REGISTRY) == spec
    else:
        problems_of(data)


def test_what_is_not_plain_is_refused_in_a_raw_spec_too(ppo):
    with pytest.raises(SpecError, match=r"agent\.algorithm\.gamma: is not a finite number"):
        resolve(RawSpec("test", set_at(ppo, "agent.algorithm.gamma", float("nan"))), REGISTRY)
