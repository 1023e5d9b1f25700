"""Whether what a search may draw can run: told before it starts, and never of what could."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from slm_lightning.registry import REGISTRY
from slm_lightning.spec.load import load_spec
from slm_lightning.spec.resolve import resolve
from slm_lightning.spec.search import searched
from slm_lightning.spec.search_values import MOST_FAULTS, MOST_SETTINGS, check_values
from tests.spec.conftest import PPO, set_at

TYPE, NET = "agent.net.type", "agent.net"
RECURRENT = f"__if__{TYPE}=RecurrentNet"
REPLAY: dict[str, Any] = set_at(
    set_at(PPO, "agent.memory", {"name": "Replay", "batch_size": 32, "max_size": 100}),
    "agent.algorithm",
    {
        "name": "DQN",
        "gamma": 0.99,
        "action_policy": "epsilon_greedy",
        "explore_var_spec": {"name": "no_decay", "start_val": 0.1},
        "training_frequency": 4,
        "training_iter": 1,
    },
)


def found(search: dict[str, Any], data: dict[str, Any] = PPO, native: bool = True) -> dict[str, str]:
    """What is wrong with the values of a search, by its keys."""
    data = set_at(data, "search", search)
    raw = load_spec({"test": set_at(data, "meta.seed", 0) if native else data})
    spec, _ = searched(raw, resolve(raw, REGISTRY))
    told: dict[str, str] = {}
    for path, message in check_values(raw, spec, REGISTRY):
        key = path.removeprefix("search.")
        told[key] = f"{told[key]}\n{message}" if key in told else message
    return told


@pytest.mark.parametrize("native", [True, False])
def test_values_that_run(native):
    search = {
        "agent": {"algorithm": {"gamma__uniform": [0, 1], "time_horizon__qrandint": [32, 512, 32]}},
        "agent.net.hid_layers__choice": [[64], [], ["64", 32]],
        "agent.net.optim_spec.lr__loguniform": ["1e-6", 1],
        "agent.net.lr_scheduler_spec__choice": [None, {"name": "LinearToZero", "frame": 10}],
        "agent.algorithm.training_epoch__quniform": [1, 10, 1],
        "env.some_keyword__choice": ["a", {"b": 1}],
        "meta.max_session__choice": [1, 2],
    }
    assert found(search, native=native) == {}


CASES: list[tuple[str, list[Any], str]] = [
    ("agent.algorithm.gamma__uniform", [0.9, 1.5], "at 1.5: expected a number from 0 to 1, not"),
    ("agent.algorithm.training_epoch__uniform", [1, 8], "at 3.67: expected a whole number from 1"),
    ("agent.algorithm.training_epoch__quniform", [1, 4, 0.5], "at 1.5: expected a whole number"),
    ("agent.net.optim_spec.lr__uniform", [0, 0.1], "at 0.0: expected a number above 0, not 0.0"),
    ("agent.net.hid_layers__choice", [[64], 64], "at 64: expected a list of at most 1000"),
    ("agent.net.shared__choice", [True, "both"], 'at "both": expected true or false, not "both"'),
    ("agent.net.hid_layers_activation__choice", ["relu", "relly"], 'at "relly": unknown activation'),
    (
        "agent.net.optim_spec__choice",
        [{"name": "Adam", "lr": -1}, {"name": "SGD"}],
        'at {"name": "Adam", "lr": -1}: agent.net.optim_spec.lr: expected a number above 0, not -1',
    ),
    ("agent.algorithm.lamm__uniform", [0.5, 0.9], 'unknown key, did you mean "lam"?'),
    (
        "agent.algorithm.num_step_returns__choice",
        [5, 11],
        "nothing reads it, so it makes no difference",
    ),
    ("meta.num_gpus__choice", [0, 1], "nothing reads it"),
    ("agent.nett.type__choice", ["MLPNet"], "agent.nett: unknown key"),
    ("agent.net.hid_layers.0__choice", [32, 64], "agent.net.hid_layers: is [64, 64], so there is no"),
    (
        "agent.memory.name__choice",
        ["OnPolicyBatchReplay", "Replay"],
        'at "Replay": PPO (agent.algorithm.name) cannot learn from Replay',
    ),
    (
        "env.name__choice",
        ["CartPole-v1", "LunarLander-v2"],
        'at "LunarLander-v2": LunarLander-v2 is gone',
    ),
]


SHARING = {"agent.net.optim_spec__choice", "agent.net.hid_layers.0__choice"} | {
    "agent.algorithm.training_epoch__quniform"
}
"""Cases that another one shares its path with."""


@pytest.mark.parametrize("key, arguments, message", CASES, ids=[key for key, *_ in CASES])
def test_a_value_that_cannot_run(key, arguments, message):
    problems = found({key: arguments, "agent.net.clip_grad_val__uniform": [0.1, 1]})
    assert list(problems) == [key] and problems[key].startswith(message)


def test_faults_of_several_dimensions_are_told_at_once():
    apart = {key: arguments for key, arguments, _ in CASES if key not in SHARING}
    assert set(found(apart)) == set(apart)


UNDER_CONDITIONS: dict[str, list[Any]] = {
    f"{TYPE}__choice": ["MLPNet", "RecurrentNet"],
    f"{NET}.cell_type__choice{RECURRENT}": ["GRU", "LSTM"],
    f"{NET}.rnn_hidden_size__qrandint{RECURRENT}": [16, 64, 16],
    f"{NET}.rnn_num_layers__choice__if__{NET}.cell_type=LSTM": [1, 2],
    f"{NET}.layer_norm__choice__if__{TYPE}=MLPNet": [True, False],
}


@pytest.mark.parametrize(
    "key, arguments, message",
    [
        (f"seq_lenn__choice{RECURRENT}", [8], 'unknown key, did you mean "seq_len"?'),
        (f"weight_norm__choice{RECURRENT}", [True], "nothing reads it"),
        (f"fc_hid_layers__choice__if__{NET}.cell_type=LSTM", [[8], "8"], 'at "8": expected a list'),
        (f"seq_len__uniform{RECURRENT}", [2, 8], "at 4.29: expected a whole number"),
    ],
)
def test_a_value_is_looked_at_under_its_condition(key, arguments, message):
    assert found(UNDER_CONDITIONS) == {}
    (told,) = found(UNDER_CONDITIONS | {f"{NET}.{key}": arguments}).items()
    assert told[0] == f"{NET}.{key}" and told[1].startswith(message)


def test_what_a_component_lacks_is_told_at_its_name():
    told = found({f"{TYPE}__choice": ["MLPNet", "RecurrentNet"]})
    assert [line.partition(": missing")[0] for line in told[f"{TYPE}__choice"].splitlines()] == [
        'at "RecurrentNet": agent.net.cell_type',
        'at "RecurrentNet": agent.net.rnn_hidden_size',
    ]


BATCH, SIZE = "agent.memory.batch_size", "agent.memory.max_size"


def test_values_that_run_with_some_other_value_are_let_pass():
    batches = {f"{BATCH}__choice": [32, 512]}
    assert found(batches, REPLAY) == {
        f"{BATCH}__choice": "at 512: expected at most max_size, 100, not 512"
    }
    assert found(batches | {f"{SIZE}__choice": [100, 1000]}, REPLAY) == {}
    assert found(batches | {f"{SIZE}__choice": [100, 200]}, REPLAY) != {}
    assert found(batches | {f"{SIZE}__qrandint__if__{BATCH}=512": [1000, 4000, 500]}, REPLAY) == {}


def test_a_problem_elsewhere_is_told_where_nothing_takes_it_away():
    sizes = {f"{SIZE}__choice": [10, 1000]}
    assert found(sizes, REPLAY) == {
        f"{SIZE}__choice": f"at 10: {BATCH}: expected at most max_size, 10, not 32"
    }
    assert found(sizes | {f"{BATCH}__choice": [8, 32]}, REPLAY) == {}


def test_algorithms_with_their_memories():
    dqn = {key: value for key, value in REPLAY["agent"]["algorithm"].items() if key != "name"}
    data = set_at(PPO, "agent.algorithm", {**dqn, **PPO["agent"]["algorithm"]})
    data = set_at(data, "agent.algorithm.action_policy", "default")
    name, memory = "agent.algorithm.name", "agent.memory.name"
    search = {
        f"{name}__choice": ["PPO", "DQN"],
        f"{memory}__choice__if__{name}=DQN": ["Replay"],
        f"agent.memory.batch_size__choice__if__{name}=DQN": [32, 64],
        f"agent.memory.max_size__choice__if__{name}=DQN": [1000],
    }
    assert found(search, data) == {}
    told = found({f"{name}__choice": ["PPO", "DQN"]}, data)[f"{name}__choice"]
    assert "agent.memory.name: DQN (agent.algorithm.name) cannot learn from" in told


def test_many_values_take_little_time():
    """A resolution takes a millisecond; this is a bound on how many there are."""
    resolutions = []

    class Counted(dict[str, Any]):
        def items(self) -> Any:
            resolutions.append(1)
            return super().items()

    registry = replace(REGISTRY, nets=Counted(REGISTRY.nets))
    search = {f"env.key{i}__choice": list(range(50)) for i in range(4)}
    data = set_at(set_at(PPO, "meta.seed", 0), "search", search)
    raw = load_spec({"test": data})
    spec = resolve(raw, REGISTRY)
    assert not check_values(raw, spec, registry) and len(resolutions) == 200
    faulty = load_spec(
        {"test": set_at(data, "search", search | {"env.num_envs__choice": [*range(-99, 1)]})}
    )
    resolutions.clear()
    assert len(check_values(faulty, resolve(faulty, REGISTRY), registry)) == MOST_FAULTS
    assert len(resolutions) < 200 + MOST_FAULTS * (MOST_SETTINGS + 3)
