"""Whether the disk takes what sessions are going to write, before any of them is created."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from pathlib import Path

from slm_lightning.core import EnvInfo
from slm_lightning.errors import StorageError
from slm_lightning.lab.preflight import look_at
from slm_lightning.lab.running.admission import TRANSITION_BYTES
from slm_lightning.lab.wording import count
from slm_lightning.registry import REGISTRY
from slm_lightning.spec.model import Spec

SPARE = 1.5
"""How many times the estimate must be free."""
KEPT = 3
"""Checkpoints of a worker at once: the last, the one before, and the next one on its way."""
STATE_COPIES = 3
"""Numbers in a checkpoint for each weight: itself and the two moments of its optimizer."""
ELSEWHERE = "make room, or name another folder for the record by SLM_MLRUNS"


def check_disk(spec: Spec, root: Path) -> None:
    """Raises StorageError where ``root``, which is made if it is not there, cannot be written or has
    less room than the sessions of one trial of ``spec`` need."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        there = next(path for path in (root, *root.parents) if path.exists())
        raise StorageError(
            f"{there} cannot be written by user {os.geteuid()}: {error.strerror}; "
            f"it belongs to user {there.stat().st_uid}",
            ELSEWHERE,
        ) from error
    sessions = spec.meta.sessions
    needed = sessions * session_bytes(spec, look_at(spec.env).info)
    free = shutil.disk_usage(root).free
    if SPARE * needed > free:
        raise StorageError(
            f"the checkpoints and replay memories of {count(sessions, 'session')} come to about"
            f" {_size(needed)}, and {root} has {_size(free)} free; it should have {SPARE} times that",
            f"{ELSEWHERE}, or lower agent.memory.max_size",
        )


def session_bytes(spec: Spec, env: EnvInfo) -> int:
    """What a session of ``spec`` has on disk at most, about."""
    agent = REGISTRY.algorithms[spec.agent.algorithm.name].build(spec.agent, env)
    weights = sum(tensor.numel() * tensor.element_size() for tensor in agent.state_dict().values())
    observation = math.prod(env.obs_shape) * env.obs_dtype.itemsize // env.frame_stack
    memory = getattr(spec.agent.memory, "max_size", 0) * (observation + TRANSITION_BYTES)
    each = KEPT * STATE_COPIES * weights + memory
    return spec.meta.workers * each + 2 * weights


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
