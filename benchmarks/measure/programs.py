"""Whole programs as a user starts them, and what they cost."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measure.clocks import Cost

ROOT = Path(__file__).parents[2]
PR_SET_CHILD_SUBREAPER = 36
ORPHANS_MAY_TAKE = 60.0
"""Seconds that processes may go on for after the program that started them has ended."""
CACHE = "TORCHINDUCTOR_CACHE_DIR"
"""The variable that says where compiled code is kept."""


class Ended(NamedTuple):
    """A program that has ended with exit code 0."""

    cost: Cost
    begun: float
    """``time.time()`` when it was started."""
    out: str

    @property
    def answer(self) -> dict[str, Any]:
        """The last line it printed, which is JSON."""
        return json.loads(self.out.strip().splitlines()[-1])


def run_python(arguments: Sequence[str], variables: Mapping[str, str] | None = None) -> Ended:
    """Runs ``python ARGUMENTS`` from the root of the repository to its end, with one thread for each
    library that asks. Raises RuntimeError with what it said when it fails.

    A record that it keeps is never on a server. Its CPU seconds are those of all processes that come
    from it, also of those that outlive it: on Linux they become children of this one.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | dict(variables or {})
    environment.pop("MLFLOW_TRACKING_URI", None)
    begun, start, before = (
        time.time(),
        time.perf_counter(),
        resource.getrusage(resource.RUSAGE_CHILDREN),
    )
    ended = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    wall = time.perf_counter() - start
    _wait_for_orphans()
    if ended.returncode != 0:
        raise RuntimeError(f"python {' '.join(arguments)} failed:\n{ended.stderr.strip()[-4000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return Ended(Cost(wall, cpu), begun, ended.stdout)


def run_spec(path: Path, record: Path | str, cache: str, *options: str) -> Ended:
    """``slm-lightning run`` of a spec, recorded in the folder ``record``, with the compile caches in
    ``cache``."""
    places = {"SLM_MLRUNS": str(record), CACHE: cache}
    return run_python(["-m", "slm_lightning", "run", str(path), *options], places)


def _wait_for_orphans() -> None:
    deadline = time.monotonic() + ORPHANS_MAY_TAKE
    while time.monotonic() < deadline:
        try:
            reaped, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if reaped == 0:
            time.sleep(0.02)
