"""The compact record of benchmarks: what the pages need of each row's trial, without its checkpoints.

A row has two files in ``record/ENVIRONMENT/``: ``LABEL.json``, what it is and where it comes from, and
``LABEL.csv``, the rows of its sessions. Every number of a page is computed from these. The same trial
gives the same bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import with_config

from slm_lightning.errors import SpecError, UsageError
from slm_lightning.files import atomically
from slm_lightning.lab.analysis import session_scalars, trial_scalars
from slm_lightning.lab.baselines import Baseline
from slm_lightning.lab.benchmark.sets import Row, resolved, setting_key
from slm_lightning.lab.changes import COMPUTING, DECISIVE, Recorded
from slm_lightning.lab.report.published import address_of
from slm_lightning.lab.reproduce.original import SETTLED, rows_of
from slm_lightning.lab.trial import Trial
from slm_lightning.provenance import NONE
from slm_lightning.redact import redact
from slm_lightning.tracking import ORIGIN, RESOLVED, Record, RunInfo

COLUMNS = ["frame", "opt_step", "total_reward", "eval/return"]
"""What is kept of a session's rows; all else can be computed from it, or is not on the pages."""
MACHINE = (*DECISIVE, "cores")
"""What is kept of the machine."""


@dataclass(frozen=True)
class SessionResult:
    """What one session came to, but for its rows."""

    run_id: str
    status: str
    reason: str
    seconds: float
    """Of training."""
    state: str
    """The hash of its last state: a repetition that ends in the same one is identical, bit for bit."""


@with_config(arbitrary_types_allowed=True)
@dataclass(frozen=True)
class RowResult:
    """A finished trial of a row."""

    run_id: str
    status: str
    """``done`` or ``diverged``."""
    commit: str
    dirty: bool
    """Whether something was not committed."""
    exact: str
    """What the tag ``slm.exact`` says; empty where the numbers must come again."""
    published: str
    """Where on the Hub it is, as ``hf://USER/NAME@COMMIT``; empty where it is not."""
    started: str
    machine: Mapping[str, Any]
    packages: Mapping[str, str]
    """Versions of those that can change a number."""
    random: Mapping[str, float] | None
    """The random policy's return: a :class:`Baseline`."""
    spec: Mapping[str, Any]
    """Resolved."""
    sessions: tuple[SessionResult, ...]
    tables: tuple[pd.DataFrame, ...] = field(repr=False, compare=False)
    """The rows of each session."""

    @cached_property
    def scalars(self) -> dict[str, float]:
        """The metrics of the trial, see :func:`trial_scalars`."""
        baseline = Baseline(**self.random) if self.random else None  # type: ignore[arg-type]
        return trial_scalars(self.tables, baseline, len(self.sessions))

    @property
    def scores(self) -> list[float]:
        """The score of each session; NaN of one without."""
        return [session_scalars(table, None)["score"] for table in self.tables]

    @property
    def frames(self) -> int:
        """What a session trained, up to its last checkpoint; of several the longest."""
        return max((int(table["frame"].iloc[-1]) for table in self.tables if len(table)), default=0)

    @property
    def is_whole(self) -> bool:
        """Whether all of its sessions are in its score."""
        return all(session.status == "done" for session in self.sessions)

    @property
    def seconds(self) -> float:
        """Of training, of all sessions together."""
        return sum(session.seconds for session in self.sessions)

    @property
    def key(self) -> str:
        """What the result depends on, see :func:`setting_key`; empty where this version does not know
        its spec any more."""
        try:
            return setting_key(resolved(self.spec))
        except SpecError:
            return ""

    def files(self) -> dict[str, str]:
        """The text of its files by suffix."""
        facts = {key: value for key, value in vars(self).items() if key in _FACTS}
        facts["sessions"] = [asdict(session) for session in self.sessions]
        numbered = [table.assign(session=i) for i, table in enumerate(self.tables)]
        rows = pd.concat(numbered)[["session", *COLUMNS]]
        return {
            ".json": json.dumps(redact(facts), indent=1, ensure_ascii=False) + "\n",
            ".csv": rows.to_csv(index=False, lineterminator="\n"),
        }


_FACTS = [name for name in RowResult.__dataclass_fields__ if name not in ("sessions", "tables")]


def from_record(record: Record, run: RunInfo) -> RowResult:
    """What the record has of a finished trial."""
    trial, recorded = Trial.recorded(run, record), Recorded.of(run, record)
    sessions = record.children(run.run_id)
    histories = [rows_of(record, session) for session in sessions]
    spec = json.loads(record.download(run.run_id, RESOLVED).read_text(encoding="utf-8"))
    return RowResult(
        run_id=run.run_id,
        status=run.tags["slm.status"],
        commit=run.tags.get("mlflow.source.git.commit", NONE),
        dirty=run.tags.get("slm.git.dirty") == "true",
        exact=run.tags.get("slm.exact", ""),
        published=address_of(run.tags),
        started=run.start.isoformat(timespec="seconds"),
        machine={key: recorded.machine[key] for key in MACHINE if key in recorded.machine},
        packages={k: v for k, v in sorted(recorded.packages.items()) if k.lower() in COMPUTING},
        random=trial.baseline._asdict() if trial.baseline else None,
        spec=spec,
        sessions=tuple(map(_session, sessions, histories)),
        tables=tuple(history.reindex(columns=COLUMNS) for history in histories),
    )


def write(result: RowResult, row: Row, folder: Path) -> bool:
    """Keeps the result of a row below ``folder``. Returns whether that changed anything there."""
    changed = False
    for suffix, text in result.files().items():
        changed |= write_text(place(row, folder, suffix), text)
    return changed


def write_text(path: Path, text: str) -> bool:
    """Gives a file this text, with its folder. Returns whether it had another."""
    if path.is_file() and path.read_bytes() == text.encode():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    atomically(path, lambda aside: aside.write_bytes(text.encode()))
    return True


def read(row: Row, folder: Path) -> RowResult | None:
    """What is kept of a row below ``folder``; None where nothing is."""
    path = place(row, folder, ".json")
    return read_file(path) if path.is_file() else None


def read_file(path: Path) -> RowResult:
    """The result of which ``path`` is the first of two files."""
    facts = json.loads(path.read_text(encoding="utf-8"))
    sessions = tuple(SessionResult(**session) for session in facts.pop("sessions"))
    rows = pd.read_csv(path.with_suffix(".csv"), float_precision="round_trip")
    tables = [rows[rows["session"] == i][COLUMNS].reset_index(drop=True) for i in range(len(sessions))]
    return RowResult(**facts, sessions=sessions, tables=tuple(tables))


def place(row: Row, folder: Path, suffix: str) -> Path:
    """The file in which a row's result is kept."""
    return folder / slug(row.environment) / f"{slug(row.label)}{suffix}"


def slug(name: str) -> str:
    """A name as that of a file."""
    return re.sub(r"[^\w.+-]+", "_", name).strip("_.")


class Trials:
    """The trials of a record that were run here, to be asked which are of a row."""

    def __init__(self, record: Record):
        self.record = record
        runs = record.runs(kind="trial", limit=None) if record.exists else []
        self.runs = [run for run in runs if ORIGIN not in run.tags]
        self.keys: dict[str, str] = {}

    def of(self, row: Row) -> list[RunInfo]:
        """Those of the row's setting that were begun here and stand by themselves, newest first."""
        tags = {
            "slm.mode": "train",
            "slm.env": row.spec.env.name,
            "slm.algorithm": row.spec.agent.algorithm.name,
            "slm.seed": str(row.spec.meta.seed),
        }
        near = [run for run in self.runs if tags.items() <= run.tags.items()]
        return [run for run in near if self._key(run) == row.key and Trial.is_whole(run, self.record)]

    def result(self, row: Row) -> RunInfo | None:
        """The newest that ended for good, one that is done before one that diverged."""
        found = self.of(row)
        settled = (run for end in SETTLED for run in found if ended(run) == end)
        return next(settled, None)

    def _key(self, run: RunInfo) -> str:
        if run.run_id not in self.keys:
            try:
                spec = resolved(self.record.download(run.run_id, RESOLVED))
            except (SpecError, UsageError):  # of another version, or never recorded whole
                self.keys[run.run_id] = ""
            else:
                self.keys[run.run_id] = setting_key(spec)
        return self.keys[run.run_id]


def ended(run: RunInfo) -> str:
    """How a trial ended, in the lab's words; ``running``, or ``stopped`` where nothing ended it."""
    if run.status == "RUNNING":
        return "running"
    said = run.tags.get("slm.status", "stopped")
    return "stopped" if run.status == "KILLED" else said


def _session(session: RunInfo, history: pd.DataFrame) -> SessionResult:
    last = history.iloc[-1].dropna() if len(history) else pd.Series(dtype=object)
    return SessionResult(
        run_id=session.run_id,
        status=ended(session),
        reason=session.tags.get("slm.reason", ""),
        seconds=round(float(last.get("wall_t", 0.0)), 1),
        state=str(last.get("state", "")),
    )
