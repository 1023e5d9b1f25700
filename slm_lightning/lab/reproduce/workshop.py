"""Where a recorded run is made again: the code and the packages of then, or those of here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from slm_lightning.errors import IntegrityError, RefusedError
from slm_lightning.lab.changes import OURS, Change
from slm_lightning.lab.reproduce.checkout import PACKAGE, checkout
from slm_lightning.lab.reproduce.original import Original
from slm_lightning.lab.reproduce.packages import python_with


@dataclass(frozen=True)
class Workshop:
    """A Python, and code that comes before all that is installed for it."""

    python: Path
    code: Path | None = None

    def lab(self, *arguments: str, root: Path | None = None) -> int:
        """Runs ``slm-lightning`` with these arguments and its record in ``root`` (default: where that
        of this process is), and returns its exit code. Its result is not printed."""
        environment = {**os.environ, "SLM_HUB_REPO": ""}  # a repetition is nothing to publish
        if root is not None:
            environment |= {"SLM_MLRUNS": str(root), "SLM_STORAGE": "", "MLFLOW_TRACKING_URI": ""}
        if self.code is not None:
            path = [str(self.code), environment.get("PYTHONPATH", "")]
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
        # -P: the current directory must not come before the code
        return subprocess.run(
            [str(self.python), "-P", "-m", PACKAGE.name, *arguments],
            cwd=None if self.code is None or (self.code / PACKAGE.name).is_dir() else self.code,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        ).returncode


HERE = Workshop(Path(sys.executable))


@contextmanager
def code_of(commit: str, folder: Path) -> Iterator[Workshop]:
    """The code of ``commit`` with the packages that are here."""
    with checkout(commit, None, folder / "code") as code:
        yield Workshop(Path(sys.executable), code)


@contextmanager
def workshop(original: Original, packages: Sequence[Change], folder: Path) -> Iterator[Workshop]:
    """The code of ``original`` and its versions of the changed ``packages``, made in ``folder``.

    The recorded commit is that of this package where git tracks it, else that of the user's own
    project; this package then is one of the packages, if its version was recorded. Raises
    IntegrityError where its uncommitted changes were not recorded, RefusedError where they are those
    of somebody else.
    """
    if original.origin and original.diff:
        raise RefusedError(
            f"{original.name} had uncommitted changes, which are code of {original.origin}",
            f"read them in {original.diff}, apply them in a clone of your own, and add --here",
        )
    if not original.whole:
        raise IntegrityError(
            f"{original.name} had uncommitted changes that were too many to record, or held secrets",
            "commit before such a run; --here compares with the code of this folder",
        )
    with checkout(original.commit, original.diff, folder / "code") as code:
        here, then = metadata.version(OURS), original.recorded.packages.get(OURS, "")
        if not (code / PACKAGE.name).is_dir() and then not in ("", here):
            packages = [*packages, Change(OURS, then, here)]
        yield Workshop(python_with(packages, folder / "packages"), code)
