"""Rollouts: what is written to a row is in the batch, from environments of either kind."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from slm_lightning.core import ActionSpec, EnvInfo, Step
from slm_lightning.data.rollout import Rollout

INFO = EnvInfo("Two-v0", 2, (3,), torch.float32, ActionSpec("discrete", (4,)))
CPU = torch.device("cpu")


def fill(rollout: Rollout, steps: range, as_tensors: bool) -> None:
    """Each row holds its own number."""
    for t in steps:
        obs, flags = np.full((2, 3), t + 0.5), np.array([t % 2 == 0, t % 3 == 0])
        step = Step(obs + 1, np.array([t, -t], dtype=np.float64), flags, ~flags, obs, flags)
        if as_tensors:
            step = Step(*(torch.from_numpy(part) for part in step))
        rollout.write(t, torch.tensor([t, t + 1]), step)
        rollout.next_obs[t], rollout.obs[t + 1] = step.next_obs, step.obs


@pytest.mark.parametrize("as_tensors", [False, True])
def test_what_is_written_is_in_the_batch(as_tensors):
    rollout = Rollout(INFO, torch.float32, 0, 7, CPU, on_host=not as_tensors)
    fill(rollout, range(7), as_tensors)
    batch, t = rollout.first(5), torch.arange(5.0)
    assert torch.equal(batch.obs[1:, 1, 2], t[:4] + 0.5)
    assert torch.equal(batch.next_obs[:, 1, 2], t + 1.5)
    assert torch.equal(rollout.seen[5], torch.full((2, 3), 4.5))
    assert torch.equal(batch.reward, torch.stack([t, -t], 1))
    assert torch.equal(batch.action, torch.stack([t, t + 1], 1).long())
    assert torch.equal(batch.terminated, torch.stack([t % 2 == 0, t % 3 == 0], 1))
    assert torch.equal(batch.truncated, ~batch.terminated)
    assert torch.equal(batch.ended, batch.terminated)
    assert batch.hidden is None


def test_a_longer_one_takes_over_the_rows_of_a_shorter():
    short, long = (Rollout(INFO, torch.float32, 4, steps, CPU, on_host=True) for steps in (3, 6))
    fill(short, range(3), as_tensors=False)
    assert short.hidden is not None
    short.hidden.fill_(7)
    writes = long.seen._version
    long.take(short)
    assert long.seen._version == writes + 1, "each row is copied once"
    fill(long, range(3, 6), as_tensors=False)
    whole = Rollout(INFO, torch.float32, 4, 6, CPU, on_host=True)
    fill(whole, range(6), as_tensors=False)
    for one, other in zip(long.first(6)[1:6], whole.first(6)[1:6]):
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(other))
    assert torch.equal(long.seen[1:], whole.seen[1:])
    assert (long.first(3).hidden == 7).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_rows_of_the_host_move_at_once():
    """The second rollout does not reach into the first batch."""
    cuda = torch.device("cuda")
    rollout = Rollout(INFO, torch.float32, 0, 4, cuda, on_host=True)
    assert rollout.whole.reward.is_pinned()
    for t in range(4):
        rollout.reward[t] = t
    batch = rollout.first(4)
    rollout.reward[:] = -1
    assert batch.reward.is_cuda
    assert batch.reward[:, 0].tolist() == [0, 1, 2, 3]
