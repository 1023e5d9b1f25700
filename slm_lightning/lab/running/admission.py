"""How much a machine carries at once, by cores, GPU shares and memory."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from slm_lightning.lab.running.job import Job, Needs

if TYPE_CHECKING:
    from slm_lightning.core import EnvInfo
    from slm_lightning.spec.model import Spec

PROCESS_BYTES = 400 * 2**20
"""Of a session's process: PyTorch, Lightning, and nets and rollouts of usual size."""
TRANSITION_BYTES = 64
"""Of a stored transition beside its observation."""
KEPT_FREE = 0.1
"""Share of the memory that is left to others."""


@dataclass(frozen=True)
class Machine:
    """What may be taken: cores, and bytes of memory. Of each GPU there is one whole."""

    cores: float
    memory: int

    @classmethod
    def here(cls, cores: float | None = None) -> Machine:
        """This machine as it is now; ``cores`` instead of those that this process may use."""
        free = psutil.virtual_memory().available
        return cls(cores or usable_cores(), int(free * (1 - KEPT_FREE)))

    def carries(self, jobs: Sequence[Job]) -> bool:
        """Whether all of ``jobs`` fit at once."""
        shares: dict[str, float] = defaultdict(float)
        for job in jobs:
            for device in job.devices:
                shares[device] += job.needs.gpus if device != "cpu" else 0.0
        cores = sum(job.needs.cpus * len(job.devices) for job in jobs)
        memory = sum(job.needs.memory for job in jobs)
        return cores <= self.cores and memory <= self.memory and max(shares.values()) <= 1 + 1e-9


def needs_of(spec: Spec, env: EnvInfo) -> Needs:
    """What a session of ``spec`` takes: what ``meta.search_resources`` says, its memory estimated
    where that does not say it."""
    told = spec.meta.search_resources
    memory = round(told.memory * 2**30) if told.memory else estimated_memory(spec, env)
    return Needs(told.cpu, told.gpu, memory)


def estimated_memory(spec: Spec, env: EnvInfo) -> int:
    """Bytes of a session: its processes, and the replay memory of each, which is most of it where
    observations are large."""
    observation = math.prod(env.obs_shape) * env.obs_dtype.itemsize // env.frame_stack
    kept = getattr(spec.agent.memory, "max_size", 0)
    return spec.meta.workers * (PROCESS_BYTES + kept * (observation + TRANSITION_BYTES))


def usable_cores() -> int:
    """Cores that this process may use."""
    limited = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if limited else os.cpu_count() or 1
