"""The packages of a recorded run, laid over those that are installed."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from zipfile import ZipFile

import pytest

from slm_lightning.errors import MissingError
from slm_lightning.lab.changes import Change
from slm_lightning.lab.reproduce.packages import python_with

OTHER = "0.1.dev7"


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder from which alone pip installs, with another version of ``farama-notifications``."""
    info = f"farama_notifications-{OTHER}.dist-info"
    head = "Metadata-Version: 2.1\nName: farama-notifications\n"
    with ZipFile(tmp_path / f"farama_notifications-{OTHER}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("farama_notifications/__init__.py", "notifications = {}\n")
        wheel.writestr(f"{info}/METADATA", f"{head}Version: {OTHER}\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return tmp_path


def change(version: str) -> Change:
    return Change("farama-notifications", version, metadata.version("farama-notifications"))


def test_the_recorded_version_comes_before_the_installed_one(wheels: Path) -> None:
    """Everything else is as it is here."""
    python = python_with([change(OTHER)], wheels / "packages")
    program = "import sys, importlib.metadata as m; print(*map(m.version, sys.argv[1:]))"
    command = [python, "-P", "-c", program, "farama-notifications", "torch"]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert said.stdout.split() == [OTHER, metadata.version("torch")]


def test_a_version_that_pip_does_not_find(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error is told, and not the warning that comes before."""
    monkeypatch.setenv("PIP_FIND_LINKS", f"{wheels} {(wheels / 'not-there').as_uri()}")
    with pytest.raises(MissingError, match=r"cannot be installed: ERROR: .*farama-notifications"):
        python_with([change("0.1.dev8")], wheels / "packages")


def test_without_changes_it_is_this_python(tmp_path: Path) -> None:
    assert python_with([], tmp_path / "packages") == Path(sys.executable)
    assert not (tmp_path / "packages").exists()
