"""Where a run comes from: code with its uncommitted changes, command, packages, machine.

Nothing here fails a run: what cannot be found out is recorded as ``none``.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from slm_lightning.redact import redact, redact_arguments

NONE = "none"
DIFF_LIMIT = 2**20
"""Largest diff kept, in bytes."""
_DECISIVE = {"avx", "avx2", "fma", "avx512f", "avx512_bf16", "amx_tile"}
"""Instructions by which PyTorch chooses how it adds up."""
PLAIN = ("--no-color", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/")
"""Makes a diff that applies everywhere, whatever the user's settings say."""
NO_HOOKS = ("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
GIT_TIMEOUT = 20
"""Seconds that one git command may take."""


@dataclass(frozen=True)
class Source:
    """A git checkout: commit, branch, where it was cloned from, and what is not committed."""

    commit: str = NONE
    branch: str = NONE
    remote: str = NONE
    dirty: bool = False
    diff: str = ""
    whole: bool = True
    """Whether ``diff`` is all of it: neither cut nor without some secrets."""

    @classmethod
    def read(cls, package: Path) -> Source:
        """The repository that tracks ``package``, else the one around the current directory."""
        folder = (
            package if _git(package, "ls-files", "--error-unmatch", ".") is not None else Path.cwd()
        )
        commit = _git(folder, "rev-parse", "--verify", "HEAD")
        if commit is None:
            return cls()
        diff = _diff(Path(_git(folder, "rev-parse", "--show-toplevel") or folder))
        kept = _kept(diff)
        return cls(
            commit=commit,
            branch=_git(folder, "symbolic-ref", "--short", "HEAD") or NONE,
            remote=redact(_git(folder, "remote", "get-url", "origin") or NONE),
            dirty=bool(_git(folder, "status", "--porcelain")),
            diff=kept,
            whole=kept == diff,
        )


@dataclass(frozen=True)
class Provenance:
    """Everything but the spec that one needs to know to repeat a run. Holds no secrets."""

    source: Source
    command: str
    version: str
    """Of slm-lightning."""
    requirements: str
    """Every installed distribution, one ``name==version`` a line."""
    machine: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def collect(cls, argv: Sequence[str] | None = None, package: Path | None = None) -> Provenance:
        """``argv``: the command line, default that of this process. ``package``: a folder inside the
        repository of the code, default this package's own."""
        installed = {dist.name: dist.version for dist in metadata.distributions() if dist.name}
        argv = sys.argv if argv is None else argv
        name = Path(argv[0]).name if argv else ""
        return cls(
            source=Source.read(package or Path(__file__).resolve().parent),
            command=shlex.join(redact_arguments([name, *argv[1:]])),
            version=installed.get("slm-lightning", NONE),
            requirements="".join(f"{k}=={installed[k]}\n" for k in sorted(installed, key=str.lower)),
            machine=machine(),
        )

    def tags(self) -> dict[str, str]:
        """Tags of an MLflow run; the ``mlflow.*`` ones are those MLflow's pages show."""
        tags = {
            "mlflow.source.name": self.command,
            "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": self.source.commit,
            "mlflow.source.git.branch": self.source.branch,
            "mlflow.source.git.repoURL": self.source.remote,
            "slm.git.dirty": str(self.source.dirty).lower(),
            "slm.version": self.version,
        }
        if self.source.diff:
            tags["slm.git.diff_whole"] = str(self.source.whole).lower()
            tags["slm.git.diff_sha256"] = hashlib.sha256(_encode(self.source.diff)).hexdigest()
        return tags

    def write(self, folder: Path) -> Path:
        """Writes ``provenance/`` into ``folder``: ``git.diff`` (where there is one),
        ``requirements.txt``, ``machine.json``, ``command.txt``. Returns its path."""
        target = folder / "provenance"
        target.mkdir(parents=True, exist_ok=True)
        if self.source.diff:
            (target / "git.diff").write_bytes(_encode(self.source.diff))
        (target / "requirements.txt").write_text(self.requirements, encoding="utf-8")
        (target / "machine.json").write_text(
            json.dumps(self.machine, indent=2) + "\n", encoding="utf-8"
        )
        (target / "command.txt").write_text(self.command + "\n", encoding="utf-8")
        return target


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str | None:
    """The output of ``command``, up to just over ``DIFF_LIMIT`` bytes; None where it fails."""
    with tempfile.TemporaryFile() as out:
        try:
            subprocess.run(
                command,
                cwd=cwd,
                env={**os.environ, "LC_ALL": "C", **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.DEVNULL,
                timeout=GIT_TIMEOUT,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        out.seek(0)
        return out.read(DIFF_LIMIT + 1).decode("utf-8", "surrogateescape")


def _git(folder: Path, *arguments: str, index: Path | None = None) -> str | None:
    """One git command in ``folder``, on a private index where one is given; it never waits for a
    password, takes the repository's locks or starts programs that the repository's hooks name."""
    env = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    if index:
        env["GIT_INDEX_FILE"] = str(index)
    out = _run("git", *NO_HOOKS, *arguments, cwd=folder, env=env)
    return None if out is None else out.rstrip("\n")


def _diff(top: Path) -> str:
    """Everything in the checkout that differs from HEAD, new files included, as a patch.

    New files get into it through a copy of the index, so that the user's own stays as it is. Its time
    stays too: by it git tells what may have changed within the second in which it was looked at.
    """
    index = _git(top, "rev-parse", "--git-path", "index")
    with tempfile.TemporaryDirectory() as scratch:
        private = Path(scratch, "index")
        if index and (top / index).is_file():
            shutil.copy2(top / index, private)
        _git(top, "add", "--intent-to-add", "--", ".", index=private)
        diff = _git(top, "diff", *PLAIN, "HEAD", index=private)
    return f"{diff}\n" if diff else ""


def _kept(diff: str) -> str:
    """What is recorded of a diff: no secrets, and no more than ``DIFF_LIMIT`` bytes."""
    if len(_encode(diff)) >= DIFF_LIMIT:
        diff = f"{diff[: DIFF_LIMIT - 100]}\n# cut here: the diff is larger than {DIFF_LIMIT} bytes\n"
    return redact(diff)


def machine() -> dict[str, Any]:
    """What this machine is: system, Python, C++ compiler, processor, memory, GPUs."""
    compiler = _run(os.environ.get("CXX", "g++"), "--version") or ""
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "compiler": compiler.partition("\n")[0],
        "cpu": _cpu("model name") or platform.processor() or platform.machine(),
        "instructions": " ".join(sorted(_DECISIVE.intersection(_cpu("flags").split()))),
        "cores": psutil.cpu_count(logical=False),
        "logical_cores": psutil.cpu_count(),
        "ram_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": _gpus(),
    }


def processor_digest() -> str:
    """Twelve characters that tell kinds of processors apart, by all that they can do."""
    known = [platform.machine(), _cpu("model name"), _cpu("flags")]
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:12]


def _cpu(field: str) -> str:
    """What Linux says of the first core; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    found = (line.split(":", 1)[1].strip() for line in lines if line.partition("\t")[0] == field)
    return next(found, "")


def _gpus() -> list[dict[str, str]]:
    """Name, memory and driver of each NVIDIA GPU. Asks the driver's own tool: asking torch would open
    a CUDA context in this process."""
    fields = ("name", "memory.total", "driver_version")
    out = _run("nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader")
    rows = (line.split(",") for line in (out or "").splitlines())
    return [
        dict(zip(fields, map(str.strip, row), strict=True)) for row in rows if len(row) == len(fields)
    ]
