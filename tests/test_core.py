"""Keyed randomness, and the shapes that everything else relies on."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from slm_lightning.core import ActionSpec, Keys, Sample, Stream
from tests.algorithms.support import make_batch


def test_a_seed_is_a_function_of_what_it_is_for():
    assert Keys(3, 2).seed_for(Stream.ENV, 4, 5) == Keys(3, 2).seed_for(Stream.ENV, 4, 5)


def test_seeds_of_different_uses_differ():
    keys = [Keys(seed, session) for seed in (0, 1) for session in (0, 1)]
    seeds = [key.seed_for(stream) for key in keys for stream in Stream]
    seeds += [key.seed_for(stream, i) for key in keys for stream in Stream for i in range(3)]
    seeds += [key.seed_for(Stream.ENV, i, e) for key in keys for i in range(4) for e in range(20)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_seeds_are_the_same_on_every_machine():
    """Written down once: a change of these numbers changes every recorded run."""
    assert Keys(0).seed_for(Stream.INIT) == 1_839_233_791
    assert Keys(7, 2).seed_for(Stream.ENV, 3, 4) == 1_908_694_480


@pytest.mark.parametrize("seed", [0, 5, 2**32 - 1, 2**32, 2**63 - 1])
@pytest.mark.parametrize("index", [(), (3,), (2**32 - 1, 0), (1, 2**40)])
@pytest.mark.parametrize("worker", [0, 2])
def test_seeds_are_those_of_numpy_for_the_same_key(seed, index, worker):
    key = (0, 4, int(Stream.BLOCK), *index, *([worker] if worker else []))
    expected = np.random.SeedSequence(seed, spawn_key=key).generate_state(1)[0] >> 1
    assert Keys(seed, 4, worker).seed_for(Stream.BLOCK, *index) == expected


def test_seed_generators_restarts_all_of_them():
    def draw() -> tuple[float, float, float]:
        return random.random(), np.random.rand(), torch.rand(()).item()

    Keys(5).seed_generators(Stream.BLOCK, 9)
    first = draw()
    assert draw() != first
    Keys(5).seed_generators(Stream.BLOCK, 9)
    assert draw() == first
    Keys(5).seed_generators(Stream.BLOCK, 10)
    assert all(one != other for one, other in zip(draw(), first))


@pytest.mark.parametrize(
    ("action", "shape", "dtype"),
    [
        (ActionSpec("discrete", (4,)), (), torch.int64),
        (ActionSpec("continuous", (4,)), (4,), torch.float32),
        (ActionSpec("multi_discrete", (4, 2)), (2,), torch.int64),
        (ActionSpec("multi_binary", (4,)), (4,), torch.int64),
    ],
)
def test_shapes_of_actions(action, shape, dtype):
    assert (action.shape, action.dtype) == (shape, dtype)


def test_a_batch_flattens_time_and_sub_environments_together():
    batch = make_batch(steps=6, num_envs=2)
    rows = batch.flatten()
    assert rows.obs.shape == (12, 4)
    assert rows.reward.shape == (12,)
    assert torch.equal(rows.obs[2 * 3 + 1], batch.obs[3, 1])
    assert rows.version == batch.version


def test_done_is_either_end():
    batch = make_batch()
    assert torch.equal(batch.done, batch.terminated | batch.truncated)
    assert batch.done.sum() == batch.terminated.sum() + batch.truncated.sum() == 2


def test_the_target_is_the_reward_alone_where_the_next_state_is_terminal():
    row = dict.fromkeys(Sample._fields, torch.zeros(3))
    row |= {"reward": torch.tensor([1.0, 2.0, 3.0]), "discount": torch.tensor([0.9, 0.9, 0.5])}
    sample = Sample(**row | {"terminated": torch.tensor([False, True, False])})
    value = torch.tensor([10.0, float("inf"), 4.0])
    assert_close(sample.target(value), torch.tensor([10.0, 2.0, 5.0]))
    several = sample.target(torch.stack([value, 2 * value], 1))
    assert_close(several, torch.tensor([[10.0, 19.0], [2.0, 2.0], [5.0, 7.0]]))
