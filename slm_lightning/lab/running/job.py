"""What one session needs to know, and what it says of itself; plain data, so that any process or
machine can run it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

Status = Literal["done", "stopped", "failed", "diverged", "pruned"]


class Outcome(NamedTuple):
    """How a session ended; ``message`` says why when it did not finish, or what it had to put up with.
    ``exit_code`` is that of the error that ended it, where one did."""

    status: Status
    message: str = ""
    exit_code: int = 0


class Reached(NamedTuple):
    """How far a session is, and a sentence that the user should read now."""

    frame: int
    total_reward_ma: float
    warning: str = ""


class Rung(NamedTuple):
    """What a session must have reached to go on: in its first row from ``frame`` on that has ``metric``
    it is at least ``bound`` (at most, where ``minimize``)."""

    frame: int
    metric: str
    bound: float
    minimize: bool = False


class Needs(NamedTuple):
    """What a session takes of a machine while it runs."""

    cpus: float = 1.0
    """Cores, for each of its processes."""
    gpus: float = 0.0
    """Share of a GPU, for each of its processes that has one; 0 counts none."""
    memory: int = 0
    """Bytes, of all its processes."""


DEFAULT_NEEDS = Needs()


@dataclass(frozen=True)
class Job:
    """One session. Everything it leaves behind lies in ``folder``: metrics.jsonl, checkpoints/."""

    spec: dict[str, Any]
    """Resolved spec, as ``Spec.to_dict()`` gives it."""
    trial: int
    session: int
    folder: str
    devices: tuple[str, ...]
    """``cpu`` or ``cuda:i``, for each of the workers that train the model together."""
    needs: Needs = DEFAULT_NEEDS
    rungs: tuple[Rung, ...] = ()
    """Where a search gives it up unless it is good enough, by frame."""
    last_block: int | None = None
    """The round after which it stops, where not all are wanted."""
    exact: bool = True
    """Its environments can be brought back; else new episodes begin where it goes on."""
    render: bool = False
    """Show the training environment in a window."""
    debug: bool = False
    """Check every gradient and find the operation behind a NaN."""

    @property
    def meeting(self) -> Path:
        """The file by which its workers find each other, new for every start."""
        return Path(self.folder).absolute() / "meeting"
