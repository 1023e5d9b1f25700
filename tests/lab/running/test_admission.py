"""How much a machine carries at once, and what a session takes of it."""

from __future__ import annotations

import os

import psutil
import pytest
import torch

from slm_lightning.core import ActionSpec, EnvInfo
from slm_lightning.lab.running.admission import (
    PROCESS_BYTES,
    TRANSITION_BYTES,
    Machine,
    needs_of,
    usable_cores,
)
from slm_lightning.lab.running.job import Job, Needs
from slm_lightning.spec.model import Spec
from tests.conftest import REPLAY, make_spec

GIB = 2**30
PIXELS = EnvInfo("atari", 4, (4, 84, 84), torch.uint8, ActionSpec("discrete", (6,)), frame_stack=4)
VECTOR = EnvInfo("vector", 4, (4,), torch.float32, ActionSpec("discrete", (2,)))


def job(*devices: str, cpus: float = 1.0, gpus: float = 0.0, memory: int = 0) -> Job:
    return Job({}, 0, 0, "", devices or ("cpu",), Needs(cpus, gpus, memory))


def replaying(size: int) -> Spec:
    """DQN with a memory of ``size`` transitions."""
    return make_spec("DQN", memory={**REPLAY, "max_size": size})


class TestCarries:
    @pytest.mark.parametrize(("cpus", "count"), [(1.0, 4), (0.5, 8), (1.5, 2), (3.0, 1)])
    def test_as_many_sessions_as_there_are_cores(self, cpus: float, count: int) -> None:
        machine = Machine(cores=4, memory=GIB)
        assert machine.carries([job(cpus=cpus)] * count)
        assert not machine.carries([job(cpus=cpus)] * (count + 1))

    def test_each_worker_of_a_session_takes_its_cores(self) -> None:
        machine = Machine(cores=4, memory=GIB)
        assert machine.carries([job("cpu", "cpu", "cpu"), job()])
        assert not machine.carries([job("cpu", "cpu", "cpu"), job(), job()])

    def test_memory_is_counted_together(self) -> None:
        machine = Machine(cores=64, memory=8 * GIB)
        assert machine.carries([job(memory=3 * GIB), job(memory=5 * GIB)])
        assert not machine.carries([job(memory=3 * GIB), job(memory=5 * GIB + 1)])

    @pytest.mark.parametrize("sessions", [1, 2, 3, 10])
    def test_shares_of_a_gpu_add_up_to_one(self, sessions: int) -> None:
        machine = Machine(cores=64, memory=GIB)
        share = job("cuda:0", gpus=1 / sessions)
        assert machine.carries([share] * sessions)
        assert not machine.carries([share] * (sessions + 1))

    def test_each_gpu_is_counted_by_itself(self) -> None:
        machine = Machine(cores=64, memory=GIB)
        first, second = job("cuda:0", gpus=0.6), job("cuda:1", gpus=0.6)
        assert machine.carries([first, second])
        assert not machine.carries([first, second, second])
        assert not machine.carries([first, job("cuda:0", "cuda:1", gpus=0.6)])

    def test_a_share_counts_only_where_a_session_has_a_gpu(self) -> None:
        machine = Machine(cores=64, memory=GIB)
        assert machine.carries([job("cpu", gpus=1.0)] * 5)


class TestNeeds:
    def test_what_the_spec_says_is_taken(self) -> None:
        spec = make_spec(meta={"search_resources": {"cpu": 2, "gpu": 0.25, "memory": 1.5}})
        assert needs_of(spec, VECTOR) == Needs(2, 0.25, 3 * GIB // 2)

    def test_a_session_without_a_replay_memory_is_a_process(self) -> None:
        assert needs_of(make_spec(), VECTOR) == Needs(1, 0, PROCESS_BYTES)

    def test_a_stacked_image_is_kept_once(self) -> None:
        image = 84 * 84
        expected = PROCESS_BYTES + 100_000 * (image + TRANSITION_BYTES)
        assert needs_of(replaying(100_000), PIXELS).memory == expected

    def test_a_vector_is_kept_in_its_own_precision(self) -> None:
        expected = PROCESS_BYTES + 1000 * (4 * 4 + TRANSITION_BYTES)
        assert needs_of(replaying(1000), VECTOR).memory == expected

    def test_each_worker_has_a_memory_of_its_own(self) -> None:
        alone, together = make_spec(), make_spec(meta={"distributed": "synced", "max_session": 3})
        assert together.meta.workers == 3
        assert needs_of(together, VECTOR).memory == 3 * needs_of(alone, VECTOR).memory


class TestHere:
    def test_the_cores_that_this_process_may_use(self) -> None:
        count = os.cpu_count()
        assert count is not None
        assert Machine.here().cores == usable_cores() <= count
        assert Machine.here(1.5).cores == 1.5

    @pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes are not bound here")
    def test_a_process_bound_to_one_core_uses_one(self) -> None:
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(before)})
        try:
            assert usable_cores() == 1
        finally:
            os.sched_setaffinity(0, before)

    def test_some_memory_is_left_to_others(self) -> None:
        assert 0 < Machine.here().memory < 0.95 * psutil.virtual_memory().total
