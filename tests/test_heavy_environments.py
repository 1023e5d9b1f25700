"""Shipped specs train where observations are images and where actions are torques, for a few thousand
frames."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from slm_lightning.core import Keys
from slm_lightning.registry import REGISTRY
from slm_lightning.session import Session
from slm_lightning.spec.load import load_spec
from slm_lightning.spec.resolve import resolve
from tests.conftest import Run, train

SPECS = Path(__file__).parents[1] / "specs"


def trained(file: str, variables: dict[str, str], overrides: dict[str, Any]) -> Run:
    """A run of the spec whose rounds all had finite metrics and which changed every weight."""
    spec = resolve(load_spec(SPECS / file, variables=variables, overrides=overrides), REGISTRY)
    run = train(spec)
    untrained = Session.build(spec, run.data.env.info, Keys(spec.meta.seed))
    for (name, before), after in zip(
        untrained.agent.named_parameters(), run.session.agent.parameters(), strict=True
    ):
        assert after.isfinite().all(), name
        assert not torch.equal(before, after), name
    assert run.metrics and all(math.isfinite(v) for row in run.metrics for v in row.values())
    return run


def test_an_atari_game_from_a_replay_memory():
    """Every image is stored once: the memory's frames are images, not stacks."""
    overrides = {
        "env.max_frame": 4000,
        "env.num_envs": 8,
        "agent.algorithm.training_start_step": 3000,
        "agent.algorithm.training_iter": 1,
        "agent.memory.max_size": 3500,
        "agent.net.update_frequency": 500,
    }
    run = trained("dqn/atari.json", {"env": "ALE/Pong-v5"}, overrides)
    assert run.data.frame == 4000
    memory = run.data.memory
    assert memory is not None and memory.frames.frame_shape == (1, 84, 84)
    assert 3400 <= len(memory) <= 3504
    for episode in run.episodes:
        assert -21 <= episode.ret <= 21 and episode.length > 700, "whole games"


def test_a_mujoco_task_by_ppo():
    variables = {"env": "Hopper-v5", "max_frame": "8192"}
    run = trained("ppo/mujoco.json", variables, {"agent.algorithm.training_epoch": 2})
    assert run.data.frame == 8192
    assert len(run.episodes) > 0


def test_a_mujoco_task_by_sac():
    overrides = {
        "env.num_envs": 4,
        "agent.algorithm.training_start_step": 1500,
        "agent.algorithm.training_iter": 1,
        "agent.memory.max_size": 2000,
        "agent.memory.batch_size": 64,
    }
    run = trained("sac/mujoco.json", {"env": "HalfCheetah-v5", "max_frame": "2400"}, overrides)
    assert run.data.frame == 2400
