"""The working folder of a run: its journal, its checkpoints, what is still to be sent, its owner."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any, NamedTuple

from slm_lightning.errors import LockedError
from slm_lightning.files import atomically
from slm_lightning.tracking.draft import Draft
from slm_lightning.tracking.journal import JOURNAL, Cursor, unread

REMOVED = "removed"
"""Where folders lie that are being deleted, beside that of the runs."""
LOOK_SECONDS = 0.1
"""How long a process that looks whether a run has an owner may stand in the way of one."""


class Call(NamedTuple):
    """A write to MLflow that could not be made yet: a method of ``Record`` and its arguments."""

    method: str
    arguments: dict[str, Any]


class RunFolder:
    """``runs/<run_id>``. What this class keeps lies in ``.record``. Threads may share an instance."""

    def __init__(self, path: Path):
        self.path = path
        self.journal = path / JOURNAL
        self._own = path / ".record"
        self.cursor = self._own / "cursor.json"
        self.draft = self._own / "draft.json"
        self._outbox = self._own / "outbox.jsonl"
        self._lock: IO[str] | None = None
        self._mutex = threading.Lock()

    @property
    def is_held(self) -> bool:
        """Whether this process is the owner."""
        return self._lock is not None

    @property
    def has_owner(self) -> bool:
        """Whether a process, this one or another, is the owner."""
        return is_taken(self._own / "lock")

    @property
    def pending(self) -> int:
        """Rows and calls that are not in MLflow yet, with the creation of the run itself."""
        draft = Draft.load(self.draft)
        rows = unread(self.journal, Cursor.load(self.cursor))
        return len(rows) + len(self.outbox()) + (draft is not None and draft.there is None)

    def hold(self) -> None:
        """Makes this process the owner until ``release`` or its end. Raises ``LockedError``."""
        if self._lock:
            return
        self._own.mkdir(parents=True, exist_ok=True)
        lock = (self._own / "lock").open("a+", encoding="utf-8")
        if not _seized(lock):
            lock.seek(0)
            owner = lock.read().strip() or "another process"
            lock.close()
            raise LockedError(
                f"run {self.path.name} is in use by {owner}", "wait until that ends, or end it"
            )
        lock.truncate(0)
        now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        lock.write(f"process {os.getpid()} on {socket.gethostname()} since {now}")
        lock.flush()
        self._lock = lock

    def release(self) -> None:
        """Gives the run up."""
        if self._lock:
            self._lock.close()
            self._lock = None

    def remove(self) -> None:
        """Deletes the folder with all that is in it. Whoever looks for it finds it whole or not at all,
        also where this process is killed meanwhile."""
        aside = self.path.parent.parent / REMOVED / uuid.uuid4().hex
        with suppress(OSError):
            aside.parent.mkdir(exist_ok=True)
            self.path.rename(aside)
            shutil.rmtree(aside.parent, ignore_errors=True)  # and what a killed process has left there

    def outbox(self) -> list[Call]:
        """The calls that wait, oldest first."""
        with self._mutex:
            return self._read_outbox()

    def post(self, call: Call) -> None:
        """Puts ``call`` behind those that wait. Files outside the folder are copied into it, so that
        they are still there when the call is made."""
        self._own.mkdir(parents=True, exist_ok=True)
        path = Path(call.arguments.get("path") or self.path)
        if not path.is_relative_to(self.path):
            kept = self._own / "unsent" / uuid.uuid4().hex / path.name
            kept.parent.mkdir(parents=True)
            _ = shutil.copytree(path, kept) if path.is_dir() else shutil.copy2(path, kept)
            call = call._replace(arguments={**call.arguments, "path": str(kept)})
        with self._mutex, self._outbox.open("a", encoding="utf-8") as file:
            file.write(f"\n{json.dumps(call)}\n")  # on a line of its own, whatever a crash left before
            file.flush()
            os.fsync(file.fileno())

    def unpost(self, count: int) -> None:
        """Removes the oldest ``count`` calls that wait."""
        with self._mutex:
            text = "".join(json.dumps(call) + "\n" for call in self._read_outbox()[count:])
            atomically(self._outbox, lambda aside: aside.write_text(text, encoding="utf-8"))

    def _read_outbox(self) -> list[Call]:
        calls = []
        if self._outbox.exists():
            for line in self._outbox.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError):  # an empty line, or half of one
                    calls.append(Call(*json.loads(line)))
        return calls


def _seized(lock: IO[str]) -> bool:
    """Takes a lock; False where another process has it, and does not only look whether it is taken."""
    deadline = time.monotonic() + LOOK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_SECONDS / 20)
        else:
            return True


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Waits until no other process holds the lock ``path``, and holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_taken(path: Path) -> bool:
    """Whether a process, this one or another, holds the lock ``path``."""
    try:
        with path.open(encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:  # it is held, or not for us to look at
        return True
    return False
