"""What a session would hold in memory, and what is refused because of it."""

from __future__ import annotations

from typing import Any

import psutil
import pytest
import torch

from slm_lightning.core import ActionSpec, EnvInfo
from slm_lightning.data.replay import COLUMNS, make_memory
from slm_lightning.errors import SpecError
from slm_lightning.lab import sizes
from slm_lightning.lab.preflight import check
from slm_lightning.lab.sizes import check_sizes, held, memory_of
from slm_lightning.spec.checks import GIB
from slm_lightning.spec.model import Spec
from tests.conftest import REPLAY, make_spec

IMAGES = EnvInfo("x", 1, (4, 84, 84), torch.uint8, ActionSpec("discrete", (4,)), frame_stack=4)
VECTORS = EnvInfo("x", 1, (4,), torch.float32, ActionSpec("discrete", (2,)))
FRAMES = {"name": "CartPole-v1", "max_frame": 10**7, "num_envs": 1}


def bytes_of(spec: Spec, env: EnvInfo) -> int:
    ((_, _, size),) = held(spec, env)
    return size


def dqn(max_size: int, **meta: Any) -> Spec:
    return make_spec("DQN", FRAMES, memory={**REPLAY, "max_size": max_size}, meta=meta)


def test_a_replay_memory_is_estimated_by_what_it_allocates():
    """Within a third of the truth, both for images, each kept once, and for small vectors."""
    for env in (IMAGES, VECTORS):
        spec = dqn(20_000)
        memory: Any = make_memory(spec.agent.memory, env, env.obs_dtype, 0.99, torch.device("cpu"))
        tensors = [memory.frames.frames, *(getattr(memory, name) for name in COLUMNS)]
        real = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        assert 0.67 < bytes_of(spec, env) / real < 1.5


def test_a_memory_counts_no_further_than_the_session_fills_it():
    assert bytes_of(dqn(10**12), VECTORS) == bytes_of(dqn(10**7), VECTORS)
    workers = dqn(1000, max_session=3, distributed="synced")
    assert bytes_of(workers, VECTORS) == 3 * bytes_of(dqn(1000), VECTORS)


def test_a_rollout_is_counted():
    spec = make_spec({"name": "PPO", "time_horizon": 1000}, {"name": "CartPole-v1", "num_envs": 50})
    assert bytes_of(spec, IMAGES) > 2 * 1000 * 50 * 4 * 84 * 84


def test_what_cannot_fit_is_told_with_the_estimate_and_the_limit(monkeypatch):
    monkeypatch.setattr(sizes, "memory_of", lambda device: 8 * GIB)
    check_sizes(dqn(10**6), IMAGES)
    with pytest.raises(SpecError) as caught:
        check_sizes(dqn(2 * 10**6), IMAGES)
    ((path, message),) = caught.value.problems
    assert path == "agent.memory.max_size"
    assert message == "2e6 transitions would need about 13.3 GiB of memory; this machine has 8"
    with pytest.raises(SpecError, match=r"; cuda:0 has 8$"):
        check_sizes(dqn(2 * 10**6), IMAGES, "cuda:0")


def test_it_is_part_of_every_check(monkeypatch):
    monkeypatch.setattr(sizes, "memory_of", lambda device: 1000)
    with pytest.raises(SpecError, match=r"agent\.memory\.max_size: 500 transitions would need about"):
        check(make_spec("DQN", {"name": "CartPole-v1", "max_frame": 10**4}))


def test_a_container_may_have_less_than_its_machine(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(sizes, "CGROUP_LIMITS", (str(limit), str(tmp_path / "none")))
    total = psutil.virtual_memory().total
    assert memory_of("cpu") == total
    for told, expected in (("max\n", total), (f"{GIB}\n", GIB), (f"{2**63}\n", total)):
        limit.write_text(told)
        assert memory_of("cpu") == expected
