"""What a session would hold in memory, against what there is; told before anything is allocated."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

from slm_lightning.core import EnvInfo
from slm_lightning.errors import Problem, SpecError
from slm_lightning.lab.running.admission import TRANSITION_BYTES
from slm_lightning.spec.checks import GIB
from slm_lightning.spec.model import Spec
from slm_lightning.spec.wording import short

CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Files that tell how much of the machine's memory a container may use, if they tell a number."""


def check_sizes(spec: Spec, env: EnvInfo, device: str = "cpu") -> None:
    """Raises SpecError for experience that could never fit where training happens, ``device``: in the
    memory of this machine, or of its GPU."""
    limit = memory_of(device)
    whose = "this machine" if device == "cpu" else device
    problems = [
        Problem(path, f"{what} would need about {_gib(size)} GiB of memory; {whose} has {_gib(limit)}")
        for path, what, size in held(spec, env)
        if size > limit
    ]
    if problems:
        raise SpecError(problems)


def held(spec: Spec, env: EnvInfo) -> Iterator[tuple[str, str, int]]:
    """What the workers of a session hold of experience: the key that says how much, the words for it,
    and bytes. Of a replay memory no more than the session ever fills."""
    memory, workers = spec.agent.memory, spec.meta.workers
    observation = math.prod(env.obs_shape) * env.obs_dtype.itemsize
    kept = min(getattr(memory, "max_size", 0) * workers, spec.env.max_frame)
    if kept:
        once = env.frame_stack if env.obs_dtype == torch.uint8 else 1
        each = observation // once + TRANSITION_BYTES + 4 * spec.agent.net.state_size
        yield "agent.memory.max_size", f"{short(kept)} transitions", kept * each
    if not memory.replay and not memory.whole_episodes:
        steps, num_envs = spec.agent.algorithm.horizon, spec.env.num_envs
        size = steps * num_envs * workers * (2 * observation + TRANSITION_BYTES)
        yield "agent.algorithm", f"a rollout of {short(steps)} steps in {num_envs} environments", size


def memory_of(device: str) -> int:
    """Bytes of the memory of ``cpu``, as far as this process may use it, or of a GPU."""
    if device != "cpu":
        return torch.cuda.get_device_properties(device).total_memory
    limits = [psutil.virtual_memory().total]
    for file in map(Path, CGROUP_LIMITS):
        told = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
        limits += [int(told)] if told.isdecimal() else []
    return min(limits)


def _gib(size: int) -> str:
    return short(round(size / GIB, 1))
