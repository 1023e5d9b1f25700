"""The state of a session as sixteen characters, by which two runs are compared bit for bit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import torch

from slm_lightning.data.rollout_data import RolloutData
from slm_lightning.session import Session


def state_hash(before: str, session: Session, data: RolloutData) -> str:
    """A hash of all that the next round depends on, and of the hash ``before`` it: equal hashes mean
    that everything up to here was equal.

    It covers weights and statistics, the state of optimizers and schedules, counters, observations and
    running returns. What lies in a replay memory shows in the weights that learn from it.
    """
    collector = data.collector
    assert collector is not None
    state = {
        "before": before,
        "modules": session.tensors(),
        "optimizers": {name: optim.state_dict()["state"] for name, optim in session.optims.items()},
        "schedules": [schedule.state_dict() for schedule in session.lr_schedules],
        "counters": [session.version, session.opt_step, data.rounds, data.frame],
        "collector": [collector.obs, collector.raw, collector.tracker.ret, collector.tracker.length],
    }
    digest = hashlib.blake2b(digest_size=8)
    for piece in _bytes(state):
        digest.update(piece)
    return digest.hexdigest()


def _bytes(value: Any) -> Iterator[Any]:
    """A nested state in order, each leaf behind its kind and shape, so that none runs into the next."""
    if isinstance(value, torch.Tensor):
        yield f"{value.dtype}{tuple(value.shape)}".encode()
        known = value.view(torch.int16) if value.dtype == torch.bfloat16 else value
        yield known.numpy(force=True).reshape(-1)
    elif isinstance(value, dict):
        yield f"dict{len(value)}".encode()
        for key, item in value.items():
            yield f"{key!r}:".encode()
            yield from _bytes(item)
    elif isinstance(value, list | tuple):
        yield f"list{len(value)}".encode()
        for item in value:
            yield from _bytes(item)
    else:
        yield f"{type(value).__name__}{value!r};".encode()
