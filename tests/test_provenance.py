"""Where a run comes from, for checkouts in every state."""

from __future__ import annotations

import json
import os
import subprocess
from importlib import metadata
from pathlib import Path

import psutil
import pytest

from slm_lightning import provenance
from slm_lightning.provenance import DIFF_LIMIT, Provenance, Source


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main")
    return subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with one commit, which holds package ``lab``."""
    repo = tmp_path / "repo"
    (repo / "lab").mkdir(parents=True)
    (repo / "lab" / "code.py").write_text("gamma = 0.99\n")
    (repo / ".gitignore").write_text("ignored/\n")
    git(repo, "init")
    git(repo, "add", ".")
    git(repo, "commit", "-m", "one")
    return repo


def test_a_clean_checkout_is_its_commit(repo: Path) -> None:
    git(repo, "remote", "add", "origin", "https://me:hunter2@host/lab.git")
    source = Source.read(repo / "lab")
    assert source.commit == git(repo, "rev-parse", "HEAD")
    assert (source.branch, source.dirty, source.diff) == ("main", False, "")
    assert source.remote == "https://[redacted]@host/lab.git"


def test_changes_and_new_files_are_in_the_diff_which_applies(repo: Path, tmp_path: Path) -> None:
    (repo / "lab" / "code.py").write_text("gamma = 0.5\n")
    (repo / "lab" / "new ö.py").write_bytes("print('Grüße')\n".encode() + b"# \xff\n")
    (repo / "ignored").mkdir()
    (repo / "ignored" / "big").write_text("no")
    before = git(repo, "status", "--porcelain")
    origin = Provenance.collect(package=repo / "lab")
    assert origin.source.dirty
    assert "+gamma = 0.5" in origin.source.diff
    assert "ignored" not in origin.source.diff
    assert git(repo, "status", "--porcelain") == before, "the user's own index is as it was"

    written = origin.write(tmp_path / "run") / "git.diff"
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(repo), str(clone))
    git(clone, "apply", str(written))
    for file in ("code.py", "new ö.py"):
        assert (clone / "lab" / file).read_bytes() == (repo / "lab" / file).read_bytes()


def test_what_changed_within_a_second_of_the_commit_is_in_the_diff(repo: Path) -> None:
    """Where neither size nor time tell git that a file has changed, only that the index is as old."""
    code, index = repo / "lab" / "code.py", repo / ".git" / "index"
    for path in (code, index):
        os.utime(path, (1e9, 1e9))
    git(repo, "update-index", "--refresh")
    os.utime(index, (1e9, 1e9))
    code.write_text("gamma = 0.98\n")
    os.utime(code, (1e9, 1e9))
    assert "+gamma = 0.98" in Source.read(repo / "lab").diff


def test_a_diff_holds_no_secrets(repo: Path) -> None:
    (repo / "lab" / "code.py").write_text("login('hf_abcdefghijklmnopqrstuv')\nAPI_KEY = 'q1w2e3'\n")
    diff = Source.read(repo / "lab").diff
    assert "login('[redacted]')" in diff
    assert "q1w2e3" not in diff


def test_a_large_diff_is_cut(repo: Path) -> None:
    (repo / "lab" / "data.txt").write_text("all work and no play\n" * 100_000)
    source = Source.read(repo / "lab")
    assert source.dirty
    assert DIFF_LIMIT - 200 < len(source.diff) <= DIFF_LIMIT
    assert source.diff.endswith(f"the diff is larger than {DIFF_LIMIT} bytes\n")
    assert not source.whole


def test_a_detached_head_has_no_branch(repo: Path) -> None:
    git(repo, "checkout", "-q", "--detach")
    source = Source.read(repo / "lab")
    assert source.branch == "none"
    assert source.commit == git(repo, "rev-parse", "HEAD")


def test_an_installed_package_is_traced_to_the_current_repository(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = repo / "ignored" / "site-packages"
    installed.mkdir(parents=True)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "spec.json").write_text("{}")
    git(mine, "init")
    git(mine, "add", ".")
    git(mine, "commit", "-m", "mine")
    monkeypatch.chdir(mine)
    assert Source.read(installed).commit == git(mine, "rev-parse", "HEAD")


def test_without_a_repository_or_a_commit_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert Source.read(tmp_path) == Source()
    git(tmp_path, "init")
    assert Source.read(tmp_path) == Source()
    assert Provenance.collect(package=tmp_path).tags()["mlflow.source.git.commit"] == "none"


def test_without_git_there_is_none(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert Source.read(repo / "lab") == Source()


def test_a_git_that_hangs_is_given_up(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "git").write_text("#!/bin/sh\nexec sleep 600\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(provenance, "GIT_TIMEOUT", 0.1)
    assert Source.read(repo / "lab") == Source()


def test_tags_and_files_tell_everything(repo: Path, tmp_path: Path) -> None:
    (repo / "lab" / "code.py").write_text("gamma = 0.5\n")
    argv = ["/home/me/.venv/bin/slm-lightning", "run", "a b.json", "--token", "hunter2"]
    origin = Provenance.collect(argv, repo / "lab")
    command = "slm-lightning run 'a b.json' --token '[redacted]'"
    tags = origin.tags()
    assert len(tags.pop("slm.git.diff_sha256")) == 64
    assert tags == {
        "mlflow.source.name": command,
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": git(repo, "rev-parse", "HEAD"),
        "mlflow.source.git.branch": "main",
        "mlflow.source.git.repoURL": "none",
        "slm.git.dirty": "true",
        "slm.git.diff_whole": "true",
        "slm.version": metadata.version("slm-lightning"),
    }
    folder = origin.write(tmp_path / "run")
    assert folder == tmp_path / "run" / "provenance"
    assert sorted(file.name for file in folder.iterdir()) == [
        "command.txt",
        "git.diff",
        "machine.json",
        "requirements.txt",
    ]
    assert (folder / "command.txt").read_text() == command + "\n"
    packages = (folder / "requirements.txt").read_text().splitlines()
    assert f"torch=={metadata.version('torch')}" in packages
    assert packages == sorted(packages, key=lambda line: line.split("==")[0].lower())
    machine = json.loads((folder / "machine.json").read_text())
    assert machine["logical_cores"] == psutil.cpu_count()
    assert machine["ram_gib"] > 0
    assert machine["cpu"]


def test_gpus_are_those_of_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the form of ``nvidia-smi --format=csv,noheader``."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H200, 143771 MiB, 570.86.15'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    machine = Provenance.collect([]).machine
    gpu = {"name": "NVIDIA H200", "memory.total": "143771 MiB", "driver_version": "570.86.15"}
    assert machine["gpus"] == [gpu]


@pytest.mark.parametrize(
    "config",
    [
        "[diff]\n\texternal = false\n\tnoprefix = true\n",
        "[core]\n\tfsmonitor = false\n\tquotepath = off\n\tpager = false\n",
        "[color]\n\tui = always\n[diff]\n\tmnemonicPrefix = true\n\tsubmodule = log\n",
        "[status]\n\tshort = true\n\tbranch = true\n[alias]\n\tdiff = !false\n",
    ],
)
def test_settings_of_git_change_nothing(repo: Path, config: str) -> None:
    (repo / "lab" / "code.py").write_text("gamma = 0.5\n")
    plain = Source.read(repo / "lab")
    with (repo / ".git" / "config").open("a") as file:
        file.write(config)
    assert Source.read(repo / "lab") == plain


def test_settings_that_git_cannot_read_fail_no_run(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repo)
    (repo / ".git" / "config").write_text("[broken")
    assert Source.read(repo / "lab") == Source()


def test_a_submodule_is_traced_to_its_own_commit(repo: Path, tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init")
    git(outer, "-c", "protocol.file.allow=always", "submodule", "add", str(repo), "inner")
    git(outer, "commit", "-m", "outer")
    source = Source.read(outer / "inner" / "lab")
    assert source.commit == git(repo, "rev-parse", "HEAD")
    (outer / "inner" / "lab" / "code.py").write_text("gamma = 0.5\n")
    assert "+gamma = 0.5" in Source.read(outer / "inner" / "lab").diff
