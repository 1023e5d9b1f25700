"""What one session needs to know; plain data, so that any process or machine can run it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Job:
    """One session. Everything it leaves behind lies in ``folder``: metrics.jsonl, checkpoints/."""

    spec: dict[str, Any]
    """Resolved spec, as ``Spec.to_dict()`` gives it."""
    trial: int
    session: int
    folder: str
    device: str
    """``cpu`` or ``cuda:i``."""
    render: bool = False
    """Show the training environment in a window."""
    debug: bool = False
    """Check every gradient and find the operation behind a NaN."""
