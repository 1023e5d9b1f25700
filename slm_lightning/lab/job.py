"""What one session needs to know; plain data, so that any process or machine can run it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
    render: bool = False
    """Show the training environment in a window."""
    debug: bool = False
    """Check every gradient and find the operation behind a NaN."""

    @property
    def meeting(self) -> Path:
        """The file by which its workers find each other, new for every start."""
        return Path(self.folder).absolute() / "meeting"
