"""The packages of a recorded run, laid over those that are installed."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path

from slm_lightning.errors import MissingError
from slm_lightning.lab.changes import Change


def python_with(changes: Sequence[Change], folder: Path) -> Path:
    """A Python that sees the recorded versions of the changed packages, and else the packages of this
    one; made in ``folder``.

    Raises MissingError where pip does not find a version.
    """
    if not changes:
        return Path(sys.executable)
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = Path(_output(python, "import sysconfig; print(sysconfig.get_path('purelib'))"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site)]
    answer = subprocess.run(
        [*command, *(f"{change.name}=={change.then}" for change in changes)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if answer.returncode != 0:
        raise MissingError(
            f"the recorded packages cannot be installed: {_reason(answer.stderr)}",
            "add --here to compare with the packages that are installed",
        )
    (site / "installed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python


def _reason(said: str) -> str:
    """The first error among all that pip said."""
    lines = said.strip().splitlines() or ["pip says nothing"]
    return next((line for line in lines if line.startswith("ERROR")), lines[0])


def _output(python: Path, program: str) -> str:
    return subprocess.run(
        [python, "-c", program], capture_output=True, text=True, check=True
    ).stdout.strip()
