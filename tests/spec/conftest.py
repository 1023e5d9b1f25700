"""A spec that spells out every kind of key, and the registry it is resolved against."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slm_lightning.errors import SpecError
from slm_lightning.registry import REGISTRY
from slm_lightning.spec.load import load_spec
from slm_lightning.spec.model import Spec
from slm_lightning.spec.registry import Registry
from slm_lightning.spec.resolve import resolve

PPO: dict[str, Any] = {
    "agent": {
        "name": "PPO",
        "algorithm": {
            "name": "PPO",
            "action_pdtype": "default",
            "action_policy": "default",
            "explore_var_spec": None,
            "gamma": 0.99,
            "lam": 0.95,
            "clip_eps_spec": {"name": "no_decay", "start_val": 0.2, "end_val": 0.2},
            "entropy_coef_spec": {
                "name": "linear_decay",
                "start_val": 0.01,
                "end_val": 0.001,
                "start_step": 0,
                "end_step": 100_000,
            },
            "val_loss_coef": 0.5,
            "time_horizon": 128,
            "minibatch_size": 64,
            "training_epoch": 4,
        },
        "memory": {"name": "OnPolicyBatchReplay"},
        "net": {
            "type": "MLPNet",
            "shared": False,
            "hid_layers": [64, 64],
            "hid_layers_activation": "tanh",
            "init_fn": "orthogonal_",
            "clip_grad_val": 0.5,
            "use_same_optim": True,
            "loss_spec": {"name": "MSELoss"},
            "optim_spec": {"name": "Adam", "lr": 3e-4},
            "lr_scheduler_spec": {"name": "LinearToZero", "frame": 200_000},
            "gpu": "auto",
        },
    },
    "env": {"name": "CartPole-v1", "num_envs": 4, "max_t": None, "max_frame": 200_000},
    "meta": {"distributed": False, "log_frequency": 500, "max_session": 4, "max_trial": 1},
}
"""A valid spec in SLM Lab's format."""

A2C_ALGORITHM: dict[str, Any] = {
    "name": "ActorCritic",
    "gamma": 0.99,
    "lam": None,
    "num_step_returns": 5,
    "training_frequency": 8,
}


@pytest.fixture
def registry() -> Registry:
    return REGISTRY


@pytest.fixture
def ppo() -> dict[str, Any]:
    return copy.deepcopy(PPO)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes text, bytes or a dict to a spec file and returns its path."""

    def write_file(content: Any, name: str = "spec.json") -> Path:
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write_file


def resolved(data: dict[str, Any], registry: Registry = REGISTRY) -> Spec:
    """``data`` as the spec called ``test``."""
    return resolve(load_spec({"test": data}), registry)


def problems_of(data: dict[str, Any], registry: Registry = REGISTRY) -> dict[str, str]:
    """What is wrong with ``data``, by path; it has to be refused."""
    with pytest.raises(SpecError) as caught:
        resolved(data, registry)
    assert str(caught.value).splitlines() == [str(problem) for problem in caught.value.problems]
    return dict(caught.value.problems)


def set_at(data: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of ``data`` with ``value`` at a dotted path."""
    data = copy.deepcopy(data)
    *parents, last = path.split(".")
    section = data
    for key in parents:
        section = section[key]
    section[last] = value
    return data


def drop_at(data: dict[str, Any], path: str) -> dict[str, Any]:
    """A copy of ``data`` without the key at a dotted path."""
    data = copy.deepcopy(data)
    *parents, last = path.split(".")
    section = data
    for key in parents:
        section = section[key]
    del section[last]
    return data
