"""What the record holds of a run that is to be made again."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from slm_lightning.errors import UsageError
from slm_lightning.lab.changes import Recorded
from slm_lightning.provenance import NONE
from slm_lightning.tracking import ORIGIN, RESOLVED, Record, RunInfo

DOUBTS = {
    "approximate": "its environment did not repeat itself when it was looked at",
    "false": "it was resumed with other code, libraries or machine than it began with",
    "extended": "it was extended, and something in it depended on its first budget",
}
"""What the tag ``slm.exact`` says."""
SETTLED = ("done", "diverged")
"""How a session or a trial ends for good: it would end in the same way again."""


class Place(NamedTuple):
    """Which session of which trial; a trial that is not looked at as part of a search has no number."""

    trial: int | None
    session: int

    def __str__(self) -> str:
        session = f"session {self.session}"
        return session if self.trial is None else f"trial {self.trial}, {session}"


class Told(NamedTuple):
    """What a record tells of a session."""

    rows: pd.DataFrame
    status: str
    evaluated: Collection[int] = ()
    """Frames at which it was evaluated and a repetition is not, or the other way round."""


@dataclass(frozen=True)
class Original:
    """A trial or an experiment as it was recorded."""

    name: str
    run_id: str
    kind: str
    """``trial`` or ``experiment``."""
    spec: Path
    """The file that gives the same numbers again."""
    commit: str
    """``none`` where there was no repository."""
    diff: Path | None
    """What was not committed."""
    whole: bool
    """Whether all of that was recorded."""
    recorded: Recorded
    """Its packages and its machine."""
    confirm: int
    """Sessions that repeated the winner of a search."""
    doubt: str
    """Why its numbers need not come again; empty where they must."""
    sessions: dict[Place, Told]
    origin: str
    """Where it was brought from; empty where it was made here."""
    again: Callable[[Record, RunInfo], dict[Place, Told]]
    """Gives of a repetition what :attr:`sessions` gives of the original."""

    @classmethod
    def of(cls, record: Record, run: RunInfo) -> Original:
        """What ``run`` belongs to: its trial where it is a session.

        Raises UsageError where too little was recorded.
        """
        if run.kind == "session" and run.parent:
            run = record.get(run.parent)
        files = set(record.artifacts(run.run_id))
        spec = RESOLVED if run.kind == "trial" else "spec.json"
        if not {spec, RESOLVED} <= files:
            raise UsageError(f"{run.name} was not recorded far enough to be reproduced: no {spec}")
        resolved = json.loads(record.download(run.run_id, RESOLVED).read_text("utf-8"))
        if run.kind == "experiment" and resolved["meta"]["search"]["order"] == "async":
            raise UsageError(
                f"{run.name} drew its trials as sessions happened to end (meta.search.order async)",
                "reproduce its trials one by one: slm-lightning show lists them",
            )
        diff = "provenance/git.diff"
        return cls(
            name=run.name,
            run_id=run.run_id,
            kind=run.kind,
            spec=record.download(run.run_id, spec),
            commit=run.tags.get("mlflow.source.git.commit", NONE),
            diff=record.download(run.run_id, diff) if diff in files else None,
            whole=run.tags.get("slm.git.diff_whole", "true") == "true",
            recorded=Recorded.of(run, record),
            confirm=int(run.tags.get("slm.confirm", 0)),
            doubt=doubt_of(run),
            sessions=told_of(record, run),
            origin=run.tags.get(ORIGIN, ""),
            again=told_of,
        )


def told_of(record: Record, run: RunInfo) -> dict[Place, Told]:
    """The sessions of a trial or an experiment, by place."""
    return {place: _told(record, run, session) for place, session in _sessions(record, run).items()}


def _told(record: Record, run: RunInfo, session: RunInfo) -> Told:
    rows = rows_of(record, session)
    return Told(rows, session.tags.get("slm.status", ""), former_ends(run, rows))


def _sessions(record: Record, run: RunInfo) -> dict[Place, RunInfo]:
    trials = [run] if run.kind == "trial" else record.children(run.run_id)
    found = {}
    for trial in trials:
        number = int(trial.tags["slm.trial"]) if run.kind == "experiment" else None
        for session in record.children(trial.run_id):
            found[Place(number, int(session.tags["slm.session"]))] = session
    return found


def doubt_of(run: RunInfo) -> str:
    """Why the numbers of a trial or an experiment need not come again; empty where they must."""
    return DOUBTS.get(run.tags.get("slm.exact", ""), "")


def former_ends(trial: RunInfo, rows: pd.DataFrame) -> list[int]:
    """The frames at which a trial that was extended had come to its end, and was evaluated."""
    *budgets, _ = trial.tags.get("slm.extended", "").split(" -> ")
    reached = [rows.loc[rows["frame"] <= int(budget), "frame"] for budget in budgets]
    return [int(frames.max()) for frames in reached if len(frames)]


def rows_of(record: Record, session: RunInfo) -> pd.DataFrame:
    """The rows of a session; none where it left none."""
    table = record.history(session.run_id)
    return table if "frame" in table else pd.DataFrame({"frame": []})
