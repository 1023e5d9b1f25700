"""Files that are whole at every instant, whatever happens to the process or the machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Writes aside, flushes to disk and renames: the file at ``path`` is the old or the new one."""
    with replacing(path) as aside:
        write(aside)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to. What is there at the end of the block takes the place of the
    file at ``path``, in one step and down to the disk; an exception leaves the old one."""
    aside = path.with_name(f".{path.name}.tmp")
    try:
        yield aside
        flush(aside)
        os.replace(aside, path)
        flush(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


class Appended:
    """A file that only grows. What the disk does not take yet is kept and written with what comes
    next, so that nothing is torn; opening it cuts off what is behind its first ``size`` bytes."""

    def __init__(self, path: Path, size: int):
        self.file = path.open("ab", buffering=0)
        self.is_short = self.file.tell() < size
        """Whether there are less bytes than there should be."""
        if not self.is_short:
            self.file.truncate(size)
        self.size = size
        """Bytes written so far, those that are kept included."""
        self.kept = b""
        self.is_torn = False
        """Whether a write has failed, which may have left a part of it."""

    def append(self, data: bytes) -> None:
        """Writes ``data``; raises nothing where the disk is full."""
        self.kept += data
        self.size += len(data)
        with suppress(OSError):  # the next time, or ``flush`` tells
            self._write()

    def flush(self) -> None:
        """Waits until all is on disk. Raises OSError where the disk does not take it."""
        self._write()
        os.fsync(self.file.fileno())

    def close(self) -> None:
        self.file.close()

    def _write(self) -> None:
        if self.is_torn:
            self.file.truncate(self.size - len(self.kept))
        self.is_torn = True
        while self.kept:
            self.kept = self.kept[self.file.write(self.kept) :]
        self.is_torn = False
