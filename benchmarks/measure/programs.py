"""Whole programs as a user starts them, and what they cost."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

import psutil

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
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | dict(variables or {})
    environment.pop("MLFLOW_TRACKING_URI", None)
    others, before, begun = _children(), _seconds_of_children(), time.time()
    with _adopting(), TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        start = time.perf_counter()
        command = [sys.executable, *arguments]
        code = subprocess.run(command, cwd=ROOT, env=environment, stdout=out, stderr=err).returncode
        wall = time.perf_counter() - start
        _wait_for_orphans(others)
        out.seek(0)
        err.seek(0)
        if code != 0:
            raise RuntimeError(f"python {' '.join(arguments)} failed:\n{err.read().strip()[-4000:]}")
        return Ended(Cost(wall, _seconds_of_children() - before), begun, out.read())


def run_spec(path: Path, record: Path | str, cache: str, *options: str) -> Ended:
    """``slm-lightning run`` of a spec, recorded in the folder ``record``, with the compile caches in
    ``cache``."""
    places = {"SLM_MLRUNS": str(record), CACHE: cache}
    return run_python(["-m", "slm_lightning", "run", str(path), *options], places)


@contextmanager
def _adopting() -> Iterator[None]:
    """Within its block processes whose parents end become children of this one, where it is Linux."""
    ask = ctypes.CDLL(None).prctl if sys.platform == "linux" else lambda *_: None
    ask(PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        ask(PR_SET_CHILD_SUBREAPER, 0)


def _seconds_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _children() -> set[int]:
    return {process.pid for process in psutil.Process().children()}


def _wait_for_orphans(others: set[int]) -> None:
    """Until no children are left but ``others``: the CPU seconds of those that ended count then."""
    deadline = time.monotonic() + ORPHANS_MAY_TAKE
    while (orphans := _children() - others) and time.monotonic() < deadline:
        for pid in orphans:
            os.waitpid(pid, os.WNOHANG)
        time.sleep(0.02)
