"""What compiling needs of a machine."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path
from typing import NamedTuple

from slm_lightning.updates.cache import folder, writable

INSTALL = "apt-get install g++ python3-dev brings it"
ELSEWHERE = "XDG_CACHE_HOME=FOLDER names another"
WITHOUT = "a run begun with --set meta.compile=false does without"
"""``resume`` takes no ``--set``: what began compiled goes on so."""


def compiler() -> str:
    """The C++ compiler by its name, as PyTorch looks for it."""
    return os.environ.get("CXX", "g++")


class Lack(NamedTuple):
    """Something that this machine does not have, and how it comes by it."""

    what: str
    remedy: str

    @property
    def ways(self) -> str:
        """What to do about it."""
        return f"{self.remedy}; {WITHOUT}"


def lacking() -> Lack | None:
    """What compiling needs and this machine does not have."""
    if not shutil.which(compiler()):
        return Lack("C++ compiler", INSTALL)
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return Lack("Python.h", INSTALL)
    if not writable(folder()):
        return Lack(f"folder for graphs that can be written ({folder()})", ELSEWHERE)
    return None
