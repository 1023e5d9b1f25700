"""The code of a recorded run: its commit in a worktree of its own, with what was not committed."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slm_lightning.errors import IntegrityError, MissingError, UsageError
from slm_lightning.provenance import NO_HOOKS

SOURCE = re.compile(r"[\w./-]+\.py")
PACKAGE = Path(__file__).resolve().parents[2]


@contextmanager
def checkout(commit: str, diff: Path | None, folder: Path) -> Iterator[Path]:
    """``folder`` with the files of ``commit``, changed by ``diff``; a worktree until the end.

    Raises UsageError where no repository here has the commit, MissingError where there is no git, and
    IntegrityError where the diff does not apply.
    """
    repository = repository_of(commit)
    _git(repository, "worktree", "add", "--detach", "--force", str(folder), commit)
    try:
        if diff is not None:
            _apply(folder, diff)
        yield folder
    finally:
        _git(repository, "worktree", "remove", "--force", str(folder))


def repository_of(commit: str) -> Path:
    """The repository around the package or the current directory that has ``commit``."""
    for place in (PACKAGE, Path.cwd()):
        if _try(place, "cat-file", "-e", f"{commit}^{{commit}}").returncode == 0:
            return place
    raise UsageError(
        f"commit {commit[:12]} is in no repository here",
        "call it in a clone that has it (git fetch brings what is missing), or add --here",
    )


def full_name(commit: str) -> str:
    """The full name of ``commit``, which may be a branch, a tag or the beginning of one."""
    return _git(repository_of(commit), "rev-parse", f"{commit}^{{commit}}").strip()


def changed_files(commit: str, diff: Path | None) -> list[str]:
    """Files of the package that are not as in ``commit``, or that ``diff`` had changed; as far as
    that can be found out."""
    changed = _try(PACKAGE, "diff", "--name-only", "--relative", commit, "--", ".").stdout.split("\n")
    touched = diff.read_text("utf-8", "replace").split("\n") if diff else []
    changed += [line.removeprefix("+++ b/") for line in touched if line.startswith("+++ b/")]
    return sorted({name.removeprefix(f"{PACKAGE.name}/") for name in changed if SOURCE.fullmatch(name)})


def _apply(folder: Path, diff: Path) -> None:
    answer = _try(folder, "apply", "--whitespace=nowarn", str(diff.resolve()))
    if answer.returncode != 0:
        raise IntegrityError(f"the recorded diff does not apply: {_last_line(answer.stderr)}")


def _git(folder: Path, *arguments: str) -> str:
    answer = _try(folder, *arguments)
    if answer.returncode != 0:
        raise UsageError(f"git {arguments[0]} failed: {_last_line(answer.stderr)}")
    return answer.stdout


def _try(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        return subprocess.run(
            ("git", *NO_HOOKS, *arguments),
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
    except FileNotFoundError as error:
        raise MissingError("there is no git here", "install git, or add --here") from error


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it says nothing"])[-1]
