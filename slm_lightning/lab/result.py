"""What a trial left, for whoever called it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from slm_lightning.errors import DivergedError, IntegrityError, LabError, SessionError, StorageError
from slm_lightning.lab import graphs
from slm_lightning.lab.running.job import Outcome, Status

KINDS: tuple[type[LabError], ...] = (DivergedError, StorageError, IntegrityError)
"""What a session may end by that has an exit code of its own; all else is a SessionError."""


@dataclass(frozen=True)
class SessionResult:
    """What one session left: its run, how it ended, its rows by frame, and the lab's metrics."""

    run_id: str
    outcome: Outcome
    metrics: pd.DataFrame
    scalars: dict[str, float]


@dataclass(frozen=True)
class Result:
    """What a trial left. ``metrics`` has every row of every session, ``figures`` the graphs by name."""

    run_id: str
    name: str
    sessions: list[SessionResult]
    scalars: dict[str, float]
    figures: dict[str, Any] = field(repr=False)
    stopped_by: str | None = None
    """The signal that ended it early."""

    @property
    def metrics(self) -> pd.DataFrame:
        """One table of all sessions, told apart by column ``session``."""
        return graphs.table([session.metrics for session in self.sessions])

    @property
    def status(self) -> Status:
        """``done``, or how the worst session ended: failed, diverged, stopped or pruned."""
        found = {session.outcome.status for session in self.sessions}
        worst_first: tuple[Status, ...] = ("failed", "diverged", "stopped", "pruned", "done")
        return next(status for status in worst_first if status in found)

    @property
    def reason(self) -> str:
        """Why it is not done, session by session."""
        ended = [(s, session.outcome) for s, session in enumerate(self.sessions)]
        return "\n".join(
            f"session {s} {outcome.status}: {outcome.message}"
            for s, outcome in ended
            if outcome.status != "done"
        )

    @property
    def exit_code(self) -> int:
        """That of the error by which a session came to ``status``; 0 where none did."""
        ended = [s.outcome for s in self.sessions if s.outcome.status == self.status]
        return next((outcome.exit_code for outcome in ended if outcome.exit_code), 0)

    def error(self) -> LabError | None:
        """The failure to report, or None when every session is done or was asked to stop."""
        code = self.exit_code
        if self.status in ("done", "pruned") or (self.status == "stopped" and not code):
            return None
        kind = next((kind for kind in KINDS if kind.exit_code == code), SessionError)
        hint = f"the record is kept: slm-lightning show {self.run_id[:8]}"
        if kind in (SessionError, StorageError):  # what diverged, or is damaged, would be so again
            hint += f"\nto go on from the last checkpoints: slm-lightning resume {self.run_id[:8]}"
        return kind(self.reason, hint)
