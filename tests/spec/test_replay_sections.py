"""What can be wrong with ``agent.memory`` of an algorithm that learns from a replay memory."""

from __future__ import annotations

from typing import Any

import pytest

from slm_lightning.errors import SpecError
from slm_lightning.registry import REGISTRY
from slm_lightning.spec.resolve import resolve_dict


def spec(**memory: Any) -> dict[str, Any]:
    algorithm = {"name": "DQN", "gamma": 0.99, "training_frequency": 4, "training_iter": 1}
    replay = {"name": "Replay", "batch_size": 32, "max_size": 1000}
    return {
        "x": {
            "agent": {
                "algorithm": algorithm,
                "memory": {k: v for k, v in (replay | memory).items() if v is not None},
                "net": {"type": "MLPNet", "hid_layers": [8]},
            },
            "env": {"name": "CartPole-v1", "max_frame": 1000},
            "meta": {"seed": 0},
        }
    }


@pytest.mark.parametrize(
    ("memory", "problem"),
    [
        ({"batch_size": -1}, "agent.memory.batch_size: expected a whole number from 1"),
        ({"batch_size": None}, "agent.memory.batch_size: missing"),
        ({"batch_size": 2000}, "agent.memory.batch_size: expected at most max_size, 1000, not 2000"),
        ({"bogus": 3}, "agent.memory.bogus: unknown key"),
        ({"name": "Replayy"}, 'agent.memory.name: unknown memory "Replayy", did you mean "Replay"?'),
        ({"name": "OnPolicyReplay"}, "agent.memory.name: DQN .* cannot learn from OnPolicyReplay"),
        ({"num_step_returns": 0}, "agent.memory.num_step_returns: expected a whole number from 1"),
        ({"name": "PrioritizedReplay"}, "agent.memory.alpha: missing"),
    ],
)
def test_one_clear_sentence(memory, problem):
    with pytest.raises(SpecError, match=problem):
        resolve_dict(spec(**memory), REGISTRY)


def test_what_is_right():
    assert resolve_dict(spec(use_cer=True), REGISTRY).agent.memory.name == "Replay"
