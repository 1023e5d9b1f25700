"""A disk that fails at a chosen call: every write, fsync, rename, link and deletion below a folder."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

CALLS = ("fsync", "replace", "link", "unlink")


class FaultyDisk:
    """Counts the calls that change files below ``folder``. At those in ``at`` the disk is full; with
    ``kill``, the process ends there, ``before`` or after the call was made. Half of a write is made."""

    def __init__(self, folder: Path, at: range = range(0), kill: bool = False, before: bool = True):
        self.folder, self.at, self.kill, self.before = str(folder), at, kill, before
        self.calls: list[str] = []

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FaultyDisk:
        for name in CALLS:
            monkeypatch.setattr(os, name, self._watched(name, getattr(os, name)))
        open_path = Path.open

        def watched_open(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            file = open_path(path, mode, *arguments, **options)
            ours = "r" not in mode and str(path).startswith(self.folder)
            return Writes(file, self) if ours else file

        monkeypatch.setattr(Path, "open", watched_open)
        return self

    def _watched(self, name: str, call: Any) -> Any:
        def watched(*arguments: Any, **options: Any) -> Any:
            target = arguments[0]
            path = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else str(target)
            if not path.startswith(self.folder):
                return call(*arguments, **options)
            return self.happen(name, lambda: call(*arguments, **options), lambda: None)

        return watched

    def happen(self, name: str, whole: Any, half: Any) -> Any:
        """Makes a call, or not."""
        self.calls.append(name)
        if len(self.calls) - 1 not in self.at:
            return whole()
        try:
            (half if self.before else whole)()
        finally:
            if self.kill:
                os._exit(9)
        raise OSError(errno.ENOSPC, "No space left on device")


class Writes:
    """An open file whose writes are watched."""

    def __init__(self, file: Any, disk: FaultyDisk):
        self.file, self.disk = file, disk

    def write(self, data: Any) -> int:
        data = bytes(data)

        def half() -> None:
            self.file.write(data[: len(data) // 2])
            self.file.flush()

        return self.disk.happen("write", lambda: self.file.write(data), half)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> Writes:
        return self

    def __exit__(self, *error: Any) -> None:
        self.file.close()
