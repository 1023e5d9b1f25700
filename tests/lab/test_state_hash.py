"""The hash of a session's state: equal for equal sessions, another for the smallest difference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from slm_lightning.callbacks.checkpoints import refuse_broken
from slm_lightning.callbacks.state_hash import state_hash
from slm_lightning.errors import DivergedError
from tests.conftest import PRIORITIZED, Run, make_spec, train

SPEC = make_spec("PPO", {"name": "Pendulum-v1", "normalize_obs": True, "max_frame": 256})


def hash_of(run: Run, before: str = "") -> str:
    return state_hash(before, run.session, run.data)


def nudge(tensor: torch.Tensor) -> None:
    """The next larger number in the first place."""
    first = tensor.detach().flatten()[:1]
    first.copy_(torch.nextafter(first, torch.full_like(first, torch.inf)))


def optimizer_state(run: Run) -> torch.Tensor:
    (optim, *_) = run.session.optims.values()
    return next(iter(optim.state.values()))["exp_avg_sq"]


CHANGES: dict[str, Callable[[Run], Any]] = {
    "a weight": lambda run: nudge(next(run.session.agent.parameters())),
    "a running mean": lambda run: nudge(run.session.normalizers.obs.moments.mean),
    "an optimizer's moment": lambda run: nudge(optimizer_state(run)),
    "a counter": lambda run: setattr(run.session, "opt_step", run.session.opt_step + 1),
    "an observation": lambda run: nudge(run.data.collector.obs),
    "a running return": lambda run: nudge(run.data.collector.tracker.ret),
}


def test_equal_sessions_have_equal_hashes() -> None:
    assert hash_of(train(SPEC)) == hash_of(train(SPEC))


@pytest.mark.parametrize("part", CHANGES)
def test_the_smallest_change_of_any_part_is_another_hash(part: str) -> None:
    run = train(SPEC)
    before = hash_of(run)
    with torch.inference_mode():
        CHANGES[part](run)
    assert hash_of(run) != before


def test_the_hash_holds_all_that_came_before() -> None:
    run = train(make_spec("DoubleDQN", memory=PRIORITIZED))
    assert hash_of(run, "0" * 16) != hash_of(run, "1" * 16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.bool, torch.uint8])
def test_every_byte_of_a_tensor_counts_in_the_order_of_its_rows(dtype: torch.dtype) -> None:
    run = train(SPEC)
    collector: Any = run.data.collector
    rows = torch.arange(12).reshape(3, 4).to(dtype)
    collector.obs = rows.t().contiguous().t()
    hashed = hash_of(run)
    collector.obs = rows
    assert hash_of(run) == hashed
    collector.obs = rows.clone()
    collector.obs.view(torch.uint8)[0, 0] += 1
    assert hash_of(run) != hashed


def test_weights_that_are_not_finite_are_refused_and_huge_ones_are_not() -> None:
    session = train(SPEC).session
    name, weight = next(iter(session.tensors().items()))
    weight.fill_(3e38)
    assert not weight.sum().isfinite()
    refuse_broken(session, 256)
    for wrong in (torch.nan, torch.inf):
        weight.view(-1)[0] = wrong
        with pytest.raises(DivergedError, match=f"{name} is not finite after the update at frame 256"):
            refuse_broken(session, 256)
