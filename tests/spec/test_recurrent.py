"""A recurrent net in a spec: what goes with it, and what a user of SLM Lab is told."""

from __future__ import annotations

from typing import Any

import pytest

from slm_lightning.registry import REGISTRY
from slm_lightning.spec.load import load_spec
from slm_lightning.spec.notes import notes
from slm_lightning.spec.resolve import resolve
from tests.conftest import PRIORITIZED, make_spec
from tests.spec.conftest import PPO, problems_of, resolved, set_at

RNN = {"type": "RecurrentNet", "cell_type": "gru", "rnn_hidden_size": 64, "seq_len": 4}


def recurrent(name: str, memory: dict[str, Any] | None = None) -> dict[str, Any]:
    return set_at(make_spec(name, memory=memory).to_dict(), "agent.net", RNN)


@pytest.mark.parametrize("name", sorted(REGISTRY.algorithms))
def test_only_algorithms_that_learn_from_sequences_take_it(name):
    if REGISTRY.algorithms[name].recurrent:
        assert resolved(recurrent(name)).agent.net.state_size == 64
        return
    message = problems_of(recurrent(name))["agent.net.type"]
    assert message.startswith(f"{name} (agent.algorithm.name) does not learn from sequences, as Recurr")
    assert "; ActorCritic, DQN" in message


def test_returns_of_several_steps_are_refused():
    assert problems_of(recurrent("DQN", PRIORITIZED | {"num_step_returns": 3})) == {
        "agent.memory.num_step_returns": "expected 1 with RecurrentNet (agent.net.type)"
    }


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("cell_type", "MGU", 'expected "RNN" or "LSTM" or "GRU"'),
        ("bidirectional", True, "a policy cannot look into the future; write false"),
        ("rnn_hidden_size", 0, "expected a whole number from 1"),
        ("rnn_hidden_size", None, "expected a whole number from 1"),
        ("seq_len", 0, "expected a whole number from 1"),
    ],
)
def test_keys_out_of_range(key, value, message):
    data = set_at(PPO, "agent.net", RNN | {key: value})
    assert message in problems_of(data)[f"agent.net.{key}"]


def test_who_comes_from_slm_lab_is_told_that_it_remembers():
    raw = load_spec({"test": set_at(PPO, "agent.net", RNN)})
    (note,) = notes(raw, resolve(raw, REGISTRY))
    assert note.startswith("agent.net.type: RecurrentNet now remembers the whole episode;")
