"""A real disk that is too small; see ``small_disk.py``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import PATIENCE, REPOSITORY, can_mount


@pytest.mark.skipif(not can_mount(), reason="needs root and unshare: run as root on Linux")
@pytest.mark.parametrize("mib", [2, *(pytest.param(m, marks=pytest.mark.slow) for m in (3, 5, 9, 17))])
def test_a_small_disk(mib: int, tmp_path: Path) -> None:
    command = ["unshare", "-m", sys.executable, "-m", "tests.callbacks.small_disk", tmp_path, str(mib)]
    ended = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-2:] == [
        f"a disk of {mib} MiB that was full went on to the same end",
        "a small disk and a read-only one are refused before training",
    ]
