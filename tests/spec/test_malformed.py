"""A spec that cannot run is refused, whatever is wrong with it, by a sentence about it."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slm_lightning.errors import SpecError
from slm_lightning.registry import REGISTRY
from slm_lightning.spec.load import load_spec
from slm_lightning.spec.resolve import resolve, resolve_dict
from tests.spec.conftest import A2C_ALGORITHM, PPO, drop_at, problems_of, resolved, set_at

JARGON = ("pydantic", "Input should", "Extra inputs", "Field required", "Traceback", "ValidationError")

FAULTS: list[tuple[str, Any, str]] = [
    # wrong types
    ("agent", None, "expected a section, not null"),
    ("agent", "PPO", 'expected a section, not "PPO"'),
    ("agent", [], "not a list"),
    ("agent.name", 3, "expected text, not 3"),
    ("agent.name", None, "expected text, not null"),
    ("agent.algorithm", "PPO", "expected a section"),
    ("agent.algorithm", [{"name": "PPO"}], "not a list"),
    ("agent.algorithm.name", None, "expected text, not null (available: ActorCritic"),
    ("agent.algorithm.name", ["PPO"], 'expected text, not ["PPO"]'),
    ("agent.algorithm.gamma", None, "expected a number from 0 to 1, not null"),
    ("agent.algorithm.gamma", "high", 'expected a number from 0 to 1, not "high"'),
    ("agent.algorithm.gamma", True, "expected a number from 0 to 1, not true"),
    ("agent.algorithm.gamma", [0.99], "not [0.99]"),
    ("agent.algorithm.gamma", {}, "not {}"),
    ("agent.algorithm.gamma", "nan", 'not "nan"'),
    ("agent.algorithm.gamma", "inf", 'not "inf"'),
    ("agent.algorithm.gamma", "", 'not ""'),
    ("agent.algorithm.action_policy", "greedy", 'expected "default" or "random" or "epsilon_greedy"'),
    ("agent.algorithm.action_pdtype", 1, "expected text"),
    ("agent.algorithm.explore_var_spec", 0.1, "expected a section or null, not 0.1"),
    ("agent.algorithm.clip_eps_spec", None, "expected a section, not null"),
    ("agent.algorithm.clip_eps_spec", 0.2, "expected a section, not 0.2"),
    ("agent.algorithm.clip_eps_spec.name", "linear", 'expected "no_decay" or "linear_decay"'),
    ("agent.algorithm.clip_eps_spec.start_val", None, "expected a number, not null"),
    ("agent.algorithm.clip_eps_spec.end_step", 1.5, "expected a whole number from 0 to 1e15, not 1.5"),
    ("agent.algorithm.time_horizon", 12.5, "expected a whole number"),
    ("agent.algorithm.time_horizon", "128 steps", 'not "128 steps"'),
    ("agent.algorithm.normalize_v_targets", "maybe", "expected true or false"),
    ("agent.algorithm.symlog", None, "expected true or false, not null (default false)"),
    ("agent.algorithm.normalize_advantages", True, 'expected "standardize" or "percentile"'),
    ("agent.memory", None, "expected a section"),
    ("agent.memory.name", 1, "expected text, not 1 (available: OnPolicy"),
    ("agent.net.type", {}, "expected text, not {}"),
    ("agent.net.hid_layers", 64, "each entry a whole number from 1 to 1e15, not 64"),
    ("agent.net.hid_layers", [64, None], "not [64, null]"),
    ("agent.net.hid_layers", "64,64", 'not "64,64"'),
    ("agent.net.hid_layers_activation", None, "expected text, not null"),
    ("agent.net.out_layer_activation", [3], "expected text, or a list, each entry text or null"),
    ("agent.net.shared", 2, "expected true or false, not 2"),
    ("agent.net.loss_spec", "MSELoss", "expected a section"),
    ("agent.net.loss_spec.name", 1, "expected text"),
    ("agent.net.optim_spec", [], "expected a section"),
    ("agent.net.optim_spec.lr", "fast", "expected a number above 0"),
    ("agent.net.optim_spec.lr", None, "expected a number above 0, not null"),
    ("agent.net.lr_scheduler_spec", "LinearToZero", "expected a section or null"),
    ("agent.net.gpu", [0], "true or false"),
    ("agent.net.gpu", 0, 'or "auto" or "true" or "false" or null, not 0 (default "auto")'),
    ("env", None, "expected a section"),
    ("env", "CartPole-v1", "expected a section"),
    ("env.name", 1, "expected text"),
    ("env.name", None, "expected text, not null"),
    ("env.num_envs", "four", "expected a whole number from 1 to 1e6"),
    ("env.num_envs", False, "not false (default 1)"),
    ("env.max_t", "none", "expected a whole number from 1 to 1e15 or null"),
    ("env.clip_reward", [1], "a list of 2, each entry a number"),
    ("env.clip_reward", [0, 1, 2], "a list of 2, each entry a number"),
    ("env.clip_reward", ["a", "b"], "a list of 2, each entry a number"),
    ("env.vectorization_mode", "threads", 'expected "sync" or "async" or null'),
    ("env.entry_point", 1, "expected text or null"),
    ("meta", [], "not a list"),
    ("meta.compile", 1, 'expected "auto" or true or false, not 1 (default "auto")'),
    ("meta.compile", 0.0, 'expected "auto" or true or false, not 0.0'),
    ("meta.compile", "1", 'expected "auto" or true or false, not "1"'),
    ("meta.distributed", True, 'expected false or "synced" or "shared", not true'),
    ("meta.max_session", None, "expected a whole number from 1 to 1000, not null"),
    ("meta.search_resources", 1, "expected a section, not 1"),
    ("meta.search_scheduler", 1, "expected a section or null, not 1"),
    ("search", [], "not a list"),
    ("search", "random", "expected a section"),
    # out of range
    ("agent.algorithm.gamma", 1.0001, "expected a number from 0 to 1, not 1.0001"),
    ("agent.algorithm.gamma", -0.1, "not -0.1"),
    ("agent.algorithm.lam", 2, "expected a number from 0 to 1, not 2"),
    ("agent.algorithm.val_loss_coef", -1, "expected a number at least 0, not -1 (default 1.0)"),
    ("agent.algorithm.time_horizon", 0, "expected a whole number from 1"),
    ("agent.algorithm.minibatch_size", -4, "not -4 (default 4)"),
    ("agent.algorithm.training_epoch", 0, "not 0"),
    ("agent.algorithm.clip_eps_spec.start_step", -1, "expected a whole number from 0 to 1e15, not -1"),
    ("agent.net.hid_layers", [64, 0], "not [64, 0]"),
    ("agent.net.clip_grad_val", 0, "expected a number above 0 or null, not 0"),
    ("agent.net.optim_spec.lr", 0, "expected a number above 0, not 0 (default 0.001)"),
    ("agent.net.optim_spec.lr", -3e-4, "not -0.0003"),
    ("agent.net.polyak_coef", 1.5, "expected a number from 0 to 1"),
    ("agent.net.lr_scheduler_spec.frame", 0, "expected a whole number from 1 to 1e15 or null"),
    ("env.num_envs", 0, "expected a whole number from 1 to 1e6, not 0 (default 1)"),
    ("env.max_frame", 0, "not 0"),
    ("env.max_frame", -1, "not -1"),
    ("env.clip_obs", 0, "expected a number above 0 or null"),
    ("env.clip_reward", [1, -1], "expected [low, high], not [1.0, -1.0]"),
    ("meta.max_session", 0, "from 1 to 1000, not 0"),
    ("meta.max_session", 1001, "from 1 to 1000, not 1001"),
    ("meta.seed", -1, "at least 0 and below 9.22e18, not -1 (default 0)"),
    ("meta.seed", 2**63, "at least 0 and below 9.22e18"),
    ("meta.rigorous_eval", -1, "from 0 to 1000"),
    # more than a machine holds
    ("env.num_envs", 10**6, "1e6 environments would need about 96 GiB"),
    ("env.num_envs", 10**12, "expected a whole number from 1 to 1e6, not 1000000000000"),
    ("env.max_frame", 10**300, "expected a whole number from 1 to 1e15"),
    ("env.max_frame", 1e300, "expected a whole number from 1 to 1e15"),
    ("env.max_frame", "1" * 5000, "expected a whole number from 1 to 1e15"),
    ("agent.net.hid_layers", [10**6, 10**6], "1e12 weights would need"),
    ("agent.net.hid_layers", [10**11], "1e11 weights would need"),
    ("agent.net.hid_layers", [1] * 100_000, "a list of at most 1000"),
    ("agent.algorithm.entropy_coef_spec.end_step", 10**20, "from 0 to 1e15"),
    # names
    ("agent.algorithm.name", "HydraDQN", "HydraDQN no longer exists, in SLM Lab neither"),
    ("agent.algorithm.name", "ppo", 'unknown algorithm "ppo", did you mean "PPO"?'),
    ("agent.algorithm.name", "A2C", 'unknown algorithm "A2C"'),
    ("agent.algorithm.name", "SoftActrCritic", 'did you mean "SoftActorCritic"?'),
    ("agent.memory.name", "OnPolicyBatchReply", 'did you mean "OnPolicyBatchReplay"?'),
    ("agent.net.type", "HydraMLPNet", "HydraMLPNet no longer exists, in SLM Lab neither"),
    ("agent.net.type", "MlpNet", 'unknown net "MlpNet", did you mean "MLPNet"?'),
    ("agent.net.hid_layers_activation", "rleu", 'unknown activation "rleu", did you mean "relu"?'),
    ("agent.net.out_layer_activation", ["tahn"], 'unknown activation "tahn", did you mean "tanh"?'),
    (
        "agent.net.init_fn",
        "orthogonal",
        'unknown initialiser "orthogonal", did you mean "orthogonal_"?',
    ),
    ("agent.net.loss_spec.name", "MSE", 'unknown loss "MSE", did you mean "MSELoss"?'),
    ("agent.net.loss_spec.name", "BCELoss", "unknown loss"),
    ("agent.net.optim_spec.name", "Adan", 'unknown optimizer "Adan", did you mean "Adam"?'),
    ("agent.net.optim_spec.name", "LBFGS", 'unknown optimizer "LBFGS"'),
    ("agent.net.optim_spec.name", "Muon", 'unknown optimizer "Muon"'),
    ("agent.net.lr_scheduler_spec.name", "LinearZero", 'did you mean "LinearToZero"?'),
    ("env.backend", "gymnasum", 'unknown backend "gymnasum", did you mean "gymnasium"?'),
    ("env.entry_point", "Grid", 'expected module:Class, not "Grid"'),
    ("env.entry_point", "../grid.py:Grid", "expected module:Class"),
    ("env.entry_point", "os:system('x')", "expected module:Class"),
    ("agent.net.actor_optim_spec", {"name": "Adam", "epsilon": 1}, None),
    (
        "agent.net.critic_optim_spec",
        {"name": "Adam", "betas": [2, 0.9]},
        "Adam cannot be made so: Invalid",
    ),
    ("agent.net.loss_spec", {"name": "SmoothL1Loss", "beta": -1}, "SmoothL1Loss cannot be made so"),
    ("agent.net.loss_spec", {"name": "MSELoss", "reduction": "none"}, "MSELoss cannot be made so"),
    ("agent.net.lr_scheduler_spec", {"name": "StepLR"}, "StepLR cannot be made so"),
    # contradictions
    ("agent.algorithm.entropy_coef_spec.end_step", 0, "expected more than start_step, 0, not 0"),
    ("agent.algorithm.entropy_coef_spec", {"name": "linear_decay", "start_val": 1, "end_val": 0}, None),
    ("agent.net.lr_scheduler_spec.frame", None, "missing; LinearToZero falls over this many frames"),
    # search
    ("search", {"agent.algorithm.gamma": [0.9]}, None),
    ("search", {"agent": {"algorithm": {"gamma__unifrom": [0, 1]}}}, None),
    ("search", {"env.num_envs__grid": [1, 2]}, "unknown distribution"),
    ("search", {"env.num_envs__log_uniform": [1, 2]}, 'did you mean "loguniform"?'),
    ("search", {"env.num_envs__choice": 4}, None),
    ("search", {"env.num_envs__choice": []}, None),
]


@pytest.mark.parametrize("path, value, text", FAULTS, ids=[f"{p}={str(v)[:40]}" for p, v, _ in FAULTS])
def test_a_fault_is_told_at_its_path(path, value, text):
    problems = problems_of(set_at(PPO, path, value))
    where = [where for where in problems if where.startswith(path)]
    assert where, problems
    assert text is None or any(text in problems[found] for found in where), problems
    assert not any(word in message for message in problems.values() for word in JARGON)


REQUIRED = [
    "agent.algorithm.name",
    "agent.algorithm.gamma",
    "agent.algorithm.lam",
    "agent.algorithm.clip_eps_spec",
    "agent.algorithm.clip_eps_spec.start_val",
    "agent.algorithm.time_horizon",
    "agent.algorithm.training_epoch",
    "agent.memory.name",
    "agent.net.type",
    "agent.net.hid_layers",
    "env.name",
    "env.max_frame",
]


@pytest.mark.parametrize("path", REQUIRED)
def test_a_missing_key_is_named(path):
    assert problems_of(drop_at(PPO, path))[path].startswith("missing")


def test_whole_episodes_need_a_single_environment():
    data = set_at(set_at(PPO, "agent.algorithm", A2C_ALGORITHM), "agent.memory.name", "OnPolicyReplay")
    assert "expected 1, not 4" in problems_of(set_at(data, "meta.seed", 0))["env.num_envs"]


def test_exploration_needs_its_schedule():
    data = set_at(PPO, "agent.algorithm.action_policy", "epsilon_greedy")
    assert "epsilon_greedy" in problems_of(data)["agent.algorithm.explore_var_spec"]


@pytest.mark.parametrize("policy", ["random", "epsilon_greedy"])
def test_actions_that_a_distribution_never_takes(policy):
    data = set_at(PPO, "agent.algorithm.action_pdtype", "LogNormal")
    data = set_at(data, "agent.algorithm.explore_var_spec", {"start_val": 0.1})
    assert resolved(data)
    problems = problems_of(set_at(data, "agent.algorithm.action_policy", policy))
    assert (
        "LogNormal (agent.algorithm.action_pdtype) never" in problems["agent.algorithm.action_policy"]
    )


@pytest.mark.parametrize("word", ["sed", "sede", "ssed", "Seed", "esed", "sd", "sedee", "eeds"])
def test_a_misspelt_seed_does_not_make_it_a_spec_of_slm_lab(word):
    data = set_at(PPO, f"meta.{word}", 0)
    assert problems_of(data) == {f"meta.{word}": 'unknown key, did you mean "seed"?'}


@pytest.mark.parametrize("section", ["", "agent.", "agent.algorithm.", "agent.net."])
def test_a_seed_in_another_place_does_neither(section):
    path = f"{section}seed"
    assert problems_of(set_at(PPO, path, 3)) == {path: "unknown key here; it belongs in meta"}


def test_a_misspelt_name_among_keywords_of_another_library():
    data = set_at(PPO, "agent.net.lr_scheduler_spec", {"nmae": "LinearToZero", "frame": 100})
    path = "agent.net.lr_scheduler_spec.nmae"
    assert problems_of(data) == {path: 'unknown key, did you mean "name"?'}


def test_keys_that_something_has_are_not_taken_for_misspelt_ones():
    data = set_at(PPO, "agent.net", {"cell_type": "GRU", "rnn_hidden_size": 8})
    assert list(problems_of(data)) == ["agent.net.type"]
    data = drop_at(set_at(PPO, "env.map_name", "4x4"), "env.max_frame")
    assert list(problems_of(data)) == ["env.max_frame"]


def test_a_rollout_that_no_machine_holds():
    data = set_at(set_at(PPO, "env.num_envs", 10_000), "agent.algorithm.time_horizon", 10**7)
    assert "1e7 steps in 10000 environments (env.num_envs)" in problems_of(data)["agent.algorithm"]


def test_processes_that_no_machine_holds():
    data = set_at(set_at(PPO, "env.num_envs", 10_000), "env.vectorization_mode", "async")
    assert "10000 environments would need" in problems_of(data)["env.num_envs"]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from(["nan", "1e999", "-1", "${x}", "PPO", 10**400, -(10**18), 1e308, "9" * 5000]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def paths(section: dict[str, Any]) -> list[tuple[str, ...]]:
    """Every key of a spec, by its path."""
    found = []
    for key, value in section.items():
        found.append((key,))
        if isinstance(value, dict):
            found += [(key, *rest) for rest in paths(value)]
    return found


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """A valid spec with one to four keys dropped, misspelt, replaced, buried or added."""
    data = copy.deepcopy(PPO)
    for _ in range(draw(st.integers(1, 4))):
        *parents, key = draw(st.sampled_from(paths(PPO)))
        section: Any = data
        for parent in parents:
            section = section.get(parent) if isinstance(section, dict) else None
        if not isinstance(section, dict):
            continue
        value = section.pop(key, None)
        match draw(st.sampled_from(["drop", "misspell", "replace", "bury", "add"])):
            case "misspell":
                section[key + draw(st.text(min_size=1, max_size=2))] = value
            case "replace":
                section[key] = draw(JSON)
            case "bury":
                in_lists = draw(st.booleans())
                for _ in range(draw(st.sampled_from([1, 3, 70, 2000]))):
                    value = [value] if in_lists else {key: value}
                section[key] = value
            case "add":
                section[key] = value
                section[draw(st.text(max_size=8))] = draw(JSON)
    return data


def assert_refused_or_sound(source: Any) -> None:
    """Either it resolves and stays the same when stored, or it ends in a SpecError with one line for
    each problem."""
    try:
        spec = resolve(load_spec(source), REGISTRY)
    except SpecError as error:
        lines = str(error).splitlines()
        assert lines and len(lines) == len(error.problems) and all(map(str.strip, lines))
        assert len(str(error)) < 20_000
        assert not any(word in str(error) for word in JARGON)
        str(error).encode()
    else:
        assert resolve_dict(json.loads(json.dumps(spec.to_dict())), REGISTRY) == spec


@settings(max_examples=500)
@given(mutated())
def test_mutated_specs_end_in_a_sentence(data):
    assert_refused_or_sound({"test": data})


@settings(max_examples=100)
@given(JSON)
def test_anything_at_all_ends_in_a_sentence(data):
    assert_refused_or_sound({"test": data})
    if isinstance(data, dict):
        assert_refused_or_sound(data)


@settings(max_examples=200)
@given(st.data())
def test_damaged_files_end_in_a_sentence(tmp_path_factory, data):
    text = json.dumps({"test": PPO}, indent=data.draw(st.sampled_from([None, 1])))
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 5)))
    damage = data.draw(st.binary(max_size=4) | st.text("{}[],:\"'0-9eE.&*!#%@`|>\n\t ").map(str.encode))
    suffix = data.draw(st.sampled_from([".json", ".yaml"]))
    path = tmp_path_factory.getbasetemp() / f"damaged{suffix}"
    path.write_bytes(text[:start].encode() + damage + text[end:].encode())
    assert_refused_or_sound(path)
