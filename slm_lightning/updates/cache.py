"""Where compiled graphs are kept, for every later session on this kind of processor."""

from __future__ import annotations

import os
import struct
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

from slm_lightning.provenance import processor_digest

CACHE = "TORCHINDUCTOR_CACHE_DIR"
ELF_HEADER = struct.Struct("=4s36xQ10xHH")
"""Magic number; where the section headers begin, how long each is, how many there are."""


def folder() -> Path:
    """A folder of the user's own, unless the environment names one: what lies in PyTorch's default,
    below /tmp, is executed, and another user may have put it there. Graphs are for one kind of
    processor; a home may be seen by several."""
    if asked := os.environ.get(CACHE):
        from torch._inductor.runtime.cache_dir_utils import default_cache_dir

        if asked != default_cache_dir():  # which Dynamo sets when it is imported
            return Path(asked)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "slm-lightning" / "graphs" / processor_digest()


def writable(place: Path) -> bool:
    """Whether files can be made in ``place``, which is made where it is not there."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            return True
    except OSError:
        return False


def discard_torn(place: Path) -> None:
    """Removes the files in ``place`` that are not whole, as after a power loss: PyTorch would load them
    again and again, and a torn library ends the process. One that is being made is locked."""
    for path in place.glob("*/c*"):
        if path.suffix in {".py", ".cpp", ".so"} and torn(path):
            lock = place / "locks" / f"{path.name.partition('.')[0]}.lock"
            lock.parent.mkdir(exist_ok=True)
            try:
                with FileLock(lock, timeout=0):
                    path.unlink(missing_ok=True)
            except Timeout:
                continue


def torn(path: Path) -> bool:
    """Whether a file is empty, or a library shorter than its header says."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(ELF_HEADER.size)
    except FileNotFoundError:
        return False
    if path.suffix != ".so" or not head:
        return not head
    if len(head) < ELF_HEADER.size:
        return True
    magic, start, length, count = ELF_HEADER.unpack(head)
    return magic == b"\x7fELF" and size < start + length * count
