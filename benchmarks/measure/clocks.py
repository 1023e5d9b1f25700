"""What work costs, with all the processes that it starts."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import psutil


class Cost(NamedTuple):
    """Seconds by the wall clock, and of processors."""

    wall: float
    cpu: float


def own_seconds() -> float:
    """CPU seconds of this process and of all that it has started, whether they have ended or not."""
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])  # its own and those of its children that have ended
    return total


def busy_seconds() -> float:
    """CPU seconds of everything on this machine."""
    times = psutil.cpu_times()
    return times.user + times.system


def cost_of(work: Callable[[], object]) -> Cost:
    """What ``work()`` costs in this process and those that it starts."""
    wall, cpu = time.perf_counter(), own_seconds()
    work()
    return Cost(time.perf_counter() - wall, own_seconds() - cpu)
