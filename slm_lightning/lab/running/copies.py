"""The driver's copy of what a session writes on another machine: always a folder to go on from."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from slm_lightning.callbacks import CHECKPOINT_SHARE
from slm_lightning.data.checkpoint_files import LAST, PREVIOUS, RESUME
from slm_lightning.files import atomically
from slm_lightning.lab.running.seat import CHECKPOINTS, CHUNK, GROWING, Mark, Stamp, Tail, names_in


class Copies:
    """The folder of a session that a :class:`slm_lightning.lab.running.seat.Seat` runs."""

    def __init__(self, folder: str):
        self.folder = Path(folder)
        self.checkpoints = self.folder / CHECKPOINTS
        (self.checkpoints / RESUME).mkdir(parents=True, exist_ok=True)
        self.known: dict[str, Stamp] = {}
        """The checkpoints that are here, by what the seat calls them."""
        self.due = 0.0
        """When checkpoints are to be fetched again."""

    def parts(self) -> Iterator[tuple[str, bytes]]:
        """The files to begin with, in pieces and in order: name and content."""
        kept = [f"{CHECKPOINTS}/{name}" for name in names_in(self.checkpoints)]
        for name in (*GROWING, *kept):
            if (self.folder / name).is_file():
                with (self.folder / name).open("rb") as file:
                    while data := file.read(CHUNK):
                        yield name, data

    def marks(self) -> dict[str, Mark]:
        """How much of the growing files is here."""
        return {name: Mark.of(self.folder / name) for name in GROWING}

    @property
    def is_due(self) -> bool:
        """Whether it is time for checkpoints: copying them takes at most a fiftieth of the time."""
        return time.monotonic() >= self.due

    def grow(self, tails: Mapping[str, Tail]) -> None:
        """Writes what the growing files have gained, or have become."""
        for name, (offset, data) in tails.items():
            path = self.folder / name
            if offset == 0 and path.exists():
                atomically(path, partial(_write, data))
            else:
                with path.open("ab") as file:
                    file.write(data)

    @contextmanager
    def taking(self, files: Mapping[str, Stamp]) -> Iterator[dict[str, Path]]:
        """The checkpoints of ``files`` that are not here yet, each with the file to write it to. They
        count when the block ends without an exception: all of them, or none."""
        begun = time.monotonic()
        missing = [name for name, stamp in files.items() if self.known.get(name) != stamp]
        asides = {name: _aside(self.checkpoints / name) for name in missing}
        try:
            yield asides
            self._settle(files, asides)
        finally:
            for aside in asides.values():
                aside.unlink(missing_ok=True)
        if missing:
            now = time.monotonic()
            self.due = now + (now - begun) / CHECKPOINT_SHARE

    def _settle(self, files: Mapping[str, Stamp], asides: Mapping[str, Path]) -> None:
        """Puts what has arrived into place, first what the others name and ckpt-last at the end, and
        removes what is gone. The journal, of which ckpt-last says how long it is at least, is on disk
        before."""
        for name in GROWING:
            if asides and (self.folder / name).is_file():
                with (self.folder / name).open("rb") as file:
                    os.fsync(file.fileno())
        order = {f"{RESUME}/{PREVIOUS}": 1, LAST: 2}
        for name, aside in sorted(asides.items(), key=lambda item: order.get(item[0], 0)):
            atomically(self.checkpoints / name, partial(os.replace, aside))
        for name in self.known.keys() - files.keys():
            (self.checkpoints / name).unlink(missing_ok=True)
        self.known = dict(files)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _write(data: bytes, path: Path) -> None:
    path.write_bytes(data)
