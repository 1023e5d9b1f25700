"""What brings episodes back, and the digest that says whether it did."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from slm_lightning.core import Keys, Step
from slm_lightning.envs import digest as digest_module
from slm_lightning.envs import make_env
from slm_lightning.envs.digest import Digest
from slm_lightning.errors import IntegrityError
from slm_lightning.rl.exploration import random_action
from slm_lightning.spec.model import EnvParams
from tests.envs.misbehaving import Hidden, misbehaving

KEYS = Keys(1)


def shown(dtype: Any = np.float32, shape: tuple[int, ...] = (3,)) -> Step:
    """A vector step of two sub-environments."""
    rng = np.random.default_rng(0)
    obs = (100 * rng.random((2, *shape))).astype(dtype)
    return Step(obs, rng.random(2), np.zeros(2, bool), np.zeros(2, bool), obs)


def digest_of(steps: list[Step], frame_stack: int = 1) -> list[int]:
    digest = Digest(2, frame_stack)
    for step in steps:
        digest.add(step)
    return digest.value.tolist()


@pytest.mark.parametrize(
    ("dtype", "shape"), [(np.float32, (3,)), (np.float64, (2,)), (np.uint8, (5,)), (np.uint8, (2, 4))]
)
def test_every_bit_counts(dtype, shape):
    """Any bit of one sub-environment, in an early step, changes its digest and no other."""
    first, later = shown(dtype, shape), shown(dtype, shape)
    whole = digest_of([first, later])
    seen = {whole[1]}
    for byte in range(first.next_obs[1].nbytes):
        for bit in range(8):
            obs = first.next_obs.copy()
            obs[1].reshape(-1).view(np.uint8)[byte] ^= 1 << bit
            one, other = digest_of([first._replace(next_obs=obs), later])
            assert one == whole[0]
            seen.add(other)
    assert len(seen) == 1 + 8 * first.next_obs[1].nbytes


def test_rewards_and_ends_count():
    first, later = shown(), shown()
    end = np.array([False, True])
    variants = [
        first,
        first._replace(reward=-first.reward),
        first._replace(reward=np.nextafter(first.reward, 2)),
        first._replace(terminated=end),
        first._replace(truncated=end),
        first._replace(next_obs=-first.next_obs),
    ]
    assert len({digest_of([variant, later])[1] for variant in variants}) == len(variants)
    assert digest_of([first, later]) != digest_of([later._replace(reward=first.reward * 2), first])


def test_of_frames_shown_together_the_newest_counts():
    step = shown(np.uint8, (4, 6, 6))
    newest = step._replace(next_obs=step.next_obs[:, -1:])
    assert digest_of([step], frame_stack=4) == digest_of([newest])
    assert digest_of([step]) != digest_of([newest])


def open_hidden(mode: str = "sync"):
    params = EnvParams(**misbehaving("none", "Hidden"), num_envs=4, max_frame=1)
    del params.model_extra["fault"]
    return make_env(params.model_copy(update={"vectorization_mode": mode}), KEYS)


def test_a_hidden_state_that_differs_is_found(monkeypatch):
    """All that can be seen at the end is the same; one of the rewards on the way was not."""
    env = open_hidden()
    env.reset()
    for _ in range(5):
        env.step(torch.zeros(4, dtype=torch.int64))
    state = env.state_dict()
    assert np.array_equal(open_hidden().load_state_dict(state), np.zeros((4, 1)))
    odd = [i for i in range(4) if KEYS.seed_for(2, i, 0) % 2]
    assert 0 < len(odd) < 4
    monkeypatch.setattr(Hidden, "state", 1e-9)
    with pytest.raises(IntegrityError) as caught:
        open_hidden().load_state_dict(state)
    assert str(caught.value).startswith(f"sub-environment {odd[0]} did not repeat itself")
    assert caught.value.exit_code == 7


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "BipedalWalker-v3"])
def test_a_step_takes_less_than_100_bytes(name):
    env = make_env(EnvParams(name=name, num_envs=2, max_frame=1, max_t=600), KEYS)
    sizes, steps = [], (100, 500)
    for count in steps:
        env.reset()
        env.log.clear()
        for _ in range(count):
            env.step(random_action(env.info.action, 2, "cpu"))
            env.log.begin[:] = 0  # as in episodes that go on
        sizes.append(sum(part.nbytes for part in env.state_dict()["log"].values()))
    assert (sizes[1] - sizes[0]) / (steps[1] - steps[0]) / 2 < 100
    env.close()


@pytest.mark.parametrize("block", [1, 3, 256])
def test_the_blocks_in_which_it_is_taken_make_no_difference(block, monkeypatch):
    """Nor does reading it on the way; what is restarted in the midst of a block begins there."""
    rng = np.random.default_rng(1)
    steps = [shown()._replace(next_obs=rng.random((2, 3)).astype(np.float32)) for _ in range(8)]
    monkeypatch.setattr(digest_module, "BLOCK_STEPS", block)
    digest = Digest(2)
    for t, step in enumerate(steps):
        digest.add(step)
        if t == 4:
            digest.restart(np.array([False, True]))
        if t % 3 == 0:
            assert digest.value.any()
    monkeypatch.undo()
    assert digest.value.tolist() == [digest_of(steps)[0], digest_of(steps[5:])[1]]
