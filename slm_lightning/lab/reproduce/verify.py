"""One block of a recorded session, computed again with the code that is here."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from slm_lightning.errors import SessionError, UsageError
from slm_lightning.lab.changes import changes
from slm_lightning.lab.reproduce.bits import STATE, Comparison, compare
from slm_lightning.lab.reproduce.original import doubt_of, former_ends, rows_of
from slm_lightning.lab.running.admission import Machine
from slm_lightning.lab.running.job import Job, Outcome
from slm_lightning.lab.running.launch import Launcher
from slm_lightning.lab.running.local_engine import LocalEngine
from slm_lightning.lab.trial import Trial, read_metrics
from slm_lightning.spec.blanks import refuse_blanks
from slm_lightning.tracking import Record, RunInfo


class Verified(NamedTuple):
    """What a session showed up to ``block``, beside what its record says."""

    name: str
    run_id: str
    block: int
    comparison: Comparison
    doubt: str
    """Why its numbers need not come again; empty where they must."""
    changed: list[str]
    """What has changed since the session was recorded, where it differs."""

    def to_dict(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "run_id": self.run_id,
            "block": self.block,
            "identical": self.comparison.identical,
            **self.comparison.to_dict(),
            "reasons": [*filter(None, [self.doubt]), *self.changed],
        }


def verify(record: Record, run: str, block: int | None, session: int, device: str) -> Verified:
    """Computes a session again up to the first recorded state at or behind ``block`` (default: the
    last), and compares every row until there. ``session`` says which, where ``run`` is a trial.

    Raises UsageError where no such state was recorded, SessionError where the session fails.
    """
    info = _session(record, record.find(run), session)
    then = rows_of(record, info)
    last = _block(then, block, info.name)
    assert info.parent is not None
    parent = record.get(info.parent)
    trial = Trial.recorded(parent, record, settled=())
    refuse_blanks(trial.spec.to_dict())
    (job,) = [job for job in trial.jobs(device) if job.session == int(info.tags["slm.session"])]
    with tempfile.TemporaryDirectory(prefix="slm-lightning-verify-") as folder:
        _compute(replace(job, folder=folder, rungs=(), render=False, last_block=last))
        now = read_metrics(Path(folder))
    until = then[then["frame"] <= now["frame"].max()]
    comparison = compare(until, now, True, former_ends(parent, then))
    changed = [] if comparison.identical else changes(parent, record)
    return Verified(info.name, info.run_id, last, comparison, doubt_of(parent), changed)


def _session(record: Record, info: RunInfo, session: int) -> RunInfo:
    if info.kind == "session":
        return info
    if info.kind == "experiment":
        raise UsageError(
            f"{info.name} is a search of many trials",
            f"name a trial or a session of it: slm-lightning show {info.run_id[:8]}",
        )
    for run in record.children(info.run_id):
        if int(run.tags["slm.session"]) == session:
            return run
    raise UsageError(f"{info.name} has no session {session}")


def _block(rows: pd.DataFrame, block: int | None, name: str) -> int:
    """The recorded block at or behind ``block``."""
    states = rows[STATE].dropna() if STATE in rows else pd.Series(dtype=str)
    blocks = [int(state.split(":")[0]) for state in states]
    if not blocks:
        raise UsageError(
            f"{name} recorded no states", "reproduce compares the numbers of older runs too"
        )
    if block is None:
        return blocks[-1]
    for recorded in blocks:
        if recorded >= block:
            return recorded
    raise UsageError(f"{name} has {blocks[-1]} blocks", "without --block the last is computed")


def _compute(job: Job) -> None:
    outcomes: list[Outcome] = []
    launcher = Launcher(
        LocalEngine(Machine.here()), lambda *_: None, lambda job, outcome: outcomes.append(outcome)
    )
    launcher.add([job])
    stop = launcher.run()
    if stop.received:
        raise KeyboardInterrupt
    if outcomes[0].status == "failed":
        raise SessionError(f"the session failed when it was computed again: {outcomes[0].message}")
