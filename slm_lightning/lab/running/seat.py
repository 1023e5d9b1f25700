"""A place for sessions on another machine: files come in, a session runs, files go out.

Whoever drives the session may share no disk with this machine, and may lose it at any moment. So the
driver sends the folder of the session, asks again and again for news, and takes with them what has been
written since. It then has a folder to go on from elsewhere, as after a crash on its own machine.
"""

from __future__ import annotations

import fcntl
import hashlib
import platform
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from importlib import metadata
from multiprocessing.connection import wait
from pathlib import Path
from typing import NamedTuple

from slm_lightning.data.checkpoint_files import RESUME
from slm_lightning.lab.running.job import Job, Outcome, Reached
from slm_lightning.lab.running.launch import Killed
from slm_lightning.lab.running.local_engine import LocalSession, start_session, warm_up

GROWING = ("metrics.jsonl", "session.log", "crash.json")
"""Files that are only appended to, or start anew."""
CHECKPOINTS = "checkpoints"
"""The folder of those that are written whole and renamed into place, some in a folder of their own."""
CHUNK = 32 * 2**20
"""Bytes of a file in one message."""
BEAT = 0.5
"""Seconds that an answer waits for the end of the session."""
PREFIX = "slm-lightning-seat-"


class Place(NamedTuple):
    """Where a seat is, and the versions of what computes there."""

    host: str
    code: dict[str, str]


class Mark(NamedTuple):
    """How much of a growing file is known: its size, and the bytes before that."""

    size: int = 0
    end: bytes = b""

    @classmethod
    def of(cls, path: Path) -> Mark:
        """The mark at the end of a file; that of an empty one where there is none."""
        if not path.is_file():
            return cls()
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - 256, 0))
            return cls(size, file.read())


class Tail(NamedTuple):
    """What a growing file has behind a mark. From 0 on, the file is another one than before."""

    offset: int
    data: bytes


Stamp = tuple[int, int, int]
"""What tells a file from the one that is renamed into its place: inode, time, size."""


class News(NamedTuple):
    """What there is to say of a session. ``files`` are its checkpoints, kept for the driver to read."""

    reached: Reached | None
    end: Outcome | Killed | None
    tails: dict[str, Tail]
    files: dict[str, Stamp] | None


class Seat:
    """Runs one session after the other, each by the same code as on the driver's machine."""

    def __init__(self) -> None:
        _sweep()
        self.place = Place(platform.node(), code())
        hidden = Path(tempfile.mkdtemp(prefix=f".{PREFIX}"))
        self.lock = (hidden / "lock").open("w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.folder = hidden.rename(hidden.with_name(hidden.name[1:]))  # only now for others to find
        self.session: LocalSession | None = None
        warm_up()

    def open(self) -> Place:
        """Makes room for a session."""
        self.clear()
        for folder in (self.run / CHECKPOINTS, self.kept):
            (folder / RESUME).mkdir(parents=True)
        return self.place

    @property
    def run(self) -> Path:
        """The folder of the session."""
        return self.folder / "run"

    @property
    def kept(self) -> Path:
        """Checkpoints as they were when the driver was told of them."""
        return self.folder / "kept"

    def put(self, name: str, data: bytes) -> None:
        """Appends to a file of the session that is to begin."""
        with (self.run / name).open("ab") as file:
            file.write(data)

    def begin(self, job: Job, *puts: None) -> dict[str, Stamp]:
        """Starts the session when its files are there; their stamps."""
        files = self._stamps()
        self.session = start_session(replace(job, folder=str(self.run)))
        return files

    def poll(self, marks: Mapping[str, Mark], take: bool) -> News:
        """What there is to say now. Checkpoints are kept for the driver where it wants to ``take``
        them, and always at the end.

        They are kept before the growing files are read, because a checkpoint says how long the journal
        is at least.
        """
        assert self.session is not None
        reached = _heard(self.session)
        end = self.session.end()
        files = self._keep() if take or end else None
        tails = {name: tail for name in GROWING if (tail := tail_of(self.run / name, marks[name]))}
        is_all = all(len(tail.data) < CHUNK for tail in tails.values())
        return News(reached, end if is_all else None, tails, files)

    def read(self, name: str, offset: int) -> bytes:
        """A part of a kept checkpoint, which is given up with its last byte."""
        path = self.kept / name
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(CHUNK)
        if len(data) < CHUNK:
            path.unlink()
        return data

    def stop(self) -> None:
        """Lets the session finish its round and save itself."""
        if self.session:
            self.session.ask_to_stop()

    def clear(self) -> None:
        """Ends whatever runs and forgets its files."""
        if self.session:
            self.session.kill()
            for worker in self.session.workers:
                worker.process.join()
                worker.pipe.close()
            self.session = None
        for folder in (self.run, self.kept):
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Leaves nothing behind."""
        self.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _stamps(self) -> dict[str, Stamp]:
        found = {}
        for name in names_in(self.run / CHECKPOINTS):
            with suppress(FileNotFoundError):
                stat = (self.run / CHECKPOINTS / name).stat()
                found[name] = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        return found

    def _keep(self) -> dict[str, Stamp] | None:
        """Links all checkpoints, so that they stay when replaced; None where that happens just now."""
        before = self._stamps()
        for name in before:
            (self.kept / name).unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                (self.kept / name).hardlink_to(self.run / CHECKPOINTS / name)
        return before if before == self._stamps() else None


def names_in(checkpoints: Path) -> list[str]:
    """The files of a folder of checkpoints, but those that are being written."""
    paths = [*checkpoints.glob("[!.]*"), *(checkpoints / RESUME).glob("[!.]*")]
    return sorted(path.relative_to(checkpoints).as_posix() for path in paths)


def tail_of(path: Path, mark: Mark) -> Tail | None:
    """What ``path`` has behind ``mark``; the file from its beginning where ``mark`` is not in it; None
    where nothing is new."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        file.seek(mark.size - len(mark.end))
        offset = mark.size if file.read(len(mark.end)) == mark.end else 0
        file.seek(offset)
        data = file.read(CHUNK)
    return Tail(offset, data) if data or offset < mark.size else None


def code() -> dict[str, str]:
    """What has to be the same for the same numbers: a digest of this package's source, and versions."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[2]
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    versions = {name: metadata.version(name) for name in ("torch", "numpy", "gymnasium", "lightning")}
    return {"slm_lightning": digest.hexdigest()[:12], "python": platform.python_version(), **versions}


def _heard(session: LocalSession) -> Reached | None:
    """Waits a little for the end of the session; the last it said of how far it is."""
    wait([worker.process.sentinel for worker in session.workers], BEAT)
    heard: list[Reached] = []
    while ready := set(wait([source for worker in session.workers for source in worker.sources], 0)):
        heard += session.hear(ready)
    warnings = [reached.warning for reached in heard if reached.warning]
    return heard[-1]._replace(warning="; ".join(warnings)) if heard else None


def _sweep() -> None:
    """Removes what seats of this machine have left that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError), (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
