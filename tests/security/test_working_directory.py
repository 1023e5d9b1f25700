"""Files of the working directory that are called like packages: none of them is ever imported."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from slm_lightning import export
from slm_lightning.envs.gym_backend import make_single
from slm_lightning.envs.own import import_own
from slm_lightning.errors import SpecError
from slm_lightning.lab.result import Result
from slm_lightning.provenance import Source
from slm_lightning.spec.model import EnvParams
from slm_lightning.tracking import Record
from slm_lightning.tracking.ui import server
from tests.support import start_lab, tiny, write_spec

ASKED_FOR = {"tests", "slm_lightning"}
"""Packages of this repository."""
EXTRAS = {"ale_py", "envpool", "jax", "mujoco_playground", "psycopg", "ray", "sitecustomize"}
"""What may not be installed, so that nothing else of this name would be found."""


def importable() -> Iterator[str]:
    """Every top-level name of the standard library and of what is installed."""
    yield from sys.stdlib_module_names | EXTRAS
    for distribution in metadata.distributions():
        for file in distribution.files or ():
            if file.suffix == ".py" and len(file.parts) < 3:
                yield file.parts[0].removesuffix(".py")


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder with a module of each name, which leaves a file in ``canaries`` when it is imported."""
    (tmp_path / "canaries").mkdir()
    for name in {name for name in importable() if name.isidentifier()} - ASKED_FOR:
        canary = str(tmp_path / "canaries" / name)
        (tmp_path / f"{name}.py").write_text(f"open({canary!r}, 'x')\n")
    assert len(list(tmp_path.glob("*.py"))) > 300
    return tmp_path


def lab(*arguments: object, cwd: Path) -> None:
    process = start_lab(*arguments, cwd=cwd)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert list((cwd / "canaries").iterdir()) == []


def test_a_policy_from_elsewhere(hostile: Path, finished: Result, finished_record: Record) -> None:
    export(finished.run_id, hostile / "policy")
    lab("enjoy", "policy", "--episodes", 1, cwd=hostile)


def test_a_run_and_its_sessions(hostile: Path, record: Record) -> None:
    write_spec(hostile / "spec.json", tiny(env={"max_frame": 640}, meta={"max_session": 1}))
    lab("run", "spec.json", cwd=hostile)


def test_the_pages(hostile: Path, record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(hostile)
    with server(record):
        pass
    assert list((hostile / "canaries").iterdir()) == []


def test_code_that_is_asked_for_is_found_behind_all_that_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    for name in ("gymnasium", "wave", "asked_for"):
        (tmp_path / f"{name}.py").write_text("Mine = 1\n")
    with pytest.raises(SpecError, match='cannot import "wave:Mine"'):
        make_single(EnvParams(name="Mine-v0", entry_point="wave:Mine", max_frame=1))
    assert import_own("asked_for").Mine == 1
    assert sys.path[-1] == str(tmp_path)


def test_a_checkout_whose_git_would_start_programs(tmp_path: Path) -> None:
    """As a folder that somebody packed with its ``.git``."""
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@b.c", "-C", str(tmp_path)]
    (tmp_path / "code.py").write_text("gamma = 1\n")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *arguments], check=True)
    program = tmp_path / ".git" / "hooks" / "post-index-change"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\ntouch '{tmp_path}/canary'\n")
    program.chmod(0o755)
    subprocess.run([*git, "config", "core.fsmonitor", str(program)], check=True)
    (tmp_path / "code.py").write_text("gamma = 2\n")
    assert "+gamma = 2" in Source.read(tmp_path).diff
    assert not (tmp_path / "canary").exists()
    subprocess.run([*git, "status"], check=True, capture_output=True)
    assert (tmp_path / "canary").exists(), "git by itself starts it"
