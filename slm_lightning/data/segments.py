"""A replay memory on disk: every transition is written once, in segments that are never changed.

A checkpoint then holds only what changes (counters, priorities) and the names of the segments that make
up the memory, each with its SHA-256. A segment is left out when none of its transitions can be drawn
any more, and deleted when no checkpoint that is kept names it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from slm_lightning.data import sealed
from slm_lightning.data.replay import ReplayMemory
from slm_lightning.errors import IntegrityError
from slm_lightning.files import atomically


class Segment(NamedTuple):
    """A file with the vector steps ``[start, end)``, and its SHA-256."""

    name: str
    start: int
    end: int
    digest: str


class Segments:
    """The segments of worker ``rank`` in ``folder``."""

    def __init__(self, folder: Path, rank: int = 0):
        self.folder, self.stem = folder, f"replay.worker-{rank}"
        self.kept: list[Segment] = []
        """What the memory is made of, oldest first."""
        self.before: list[Segment] = []
        """What checkpoints on disk may be made of: the last that came about, and those tried since."""
        self.undone: list[Segment] = []
        """What the memory was made of before the last write."""

    def write(self, memory: ReplayMemory | None) -> None:
        """Adds what the memory has gained since the last one; nothing where it needs them no more.
        Raises OSError, and is then as before."""
        self.undone = self.kept
        self.before = [*dict.fromkeys([*self.before, *self.kept])]
        if memory is None:
            return
        self.kept = [segment for segment in self.kept if segment.end > memory.tail]
        start = max(self.kept[-1].end if self.kept else 0, memory.tail)
        if start == memory.head:
            return
        name = f"{self.stem}.{start:012d}-{memory.head:012d}"
        digest = ""

        def save(aside: Path) -> None:
            nonlocal digest
            digest = sealed.save(memory.rows(start), aside)

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            atomically(self.folder / name, save)
        except BaseException:
            self.kept = self.undone
            raise
        self.kept = [*self.kept, Segment(name, start, memory.head, digest)]

    def undo(self) -> None:
        """Takes back what was written last: the checkpoint that needs it did not come about."""
        for segment in self.kept:
            if segment not in self.before:
                (self.folder / segment.name).unlink(missing_ok=True)
        self.kept = self.undone

    def tidy(self) -> None:
        """Deletes, once a checkpoint has come about, what neither it nor the one before it needs, and
        what a killed process has left half written."""
        needed = {segment.name for segment in (*self.kept, *self.before)}
        for path in self.folder.glob(f"*{self.stem}.*"):
            if path.name not in needed:
                path.unlink()
        self.before = self.kept

    def state_dict(self) -> list[list[Any]]:
        """The segments, as plain data."""
        return [list(segment) for segment in self.kept]

    def load_state_dict(self, state: list[list[Any]]) -> None:
        self.kept = self.before = self.undone = [Segment(*segment) for segment in state]

    def verify(self, state: list[list[Any]]) -> None:
        """Raises IntegrityError where a segment is missing, damaged or not the one that was written."""
        for name, _, _, digest in state:
            if sealed.verify(self.folder / name).digest != digest:
                raise IntegrityError(f"{self.folder / name} is not the file that the checkpoint names")

    def fill(self, memory: ReplayMemory) -> None:
        """Puts all of them into an empty memory."""
        for segment in self.kept:
            memory.put(sealed.load(self.folder / segment.name))
