"""The searches by which settings of rows were found, kept beside the results in ``LABEL.search.json``:
what was drawn, and what every setting came to."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slm_lightning.lab.benchmark.results import place, write_text
from slm_lightning.lab.benchmark.sets import Row
from slm_lightning.lab.report.findings import TrialFinding, findings
from slm_lightning.provenance import NONE
from slm_lightning.redact import redact
from slm_lightning.tracking import RESOLVED, Record

SUFFIX = ".search.json"


@dataclass(frozen=True)
class TriedSetting:
    """One trial of a search."""

    number: int
    status: str
    drawn: Mapping[str, Any]
    """Value by dotted path."""
    values: tuple[float, ...]
    """One for each objective; empty where it came to none."""
    sessions: int
    """Those with a score."""
    frames: int
    """Of all sessions together."""


@dataclass(frozen=True)
class KeptSearch:
    """A search, as the compact record has it."""

    run_id: str
    commit: str
    objectives: Mapping[str, str]
    """``maximize`` or ``minimize``, by metric."""
    spec: Mapping[str, Any]
    """Resolved, with its section ``search``."""
    trials: tuple[TriedSetting, ...]
    best: int | None
    """The number of the best trial, of several objectives by the first; None where none came to its
    end."""

    @property
    def winner(self) -> TriedSetting | None:
        """The best trial."""
        return next((trial for trial in self.trials if trial.number == self.best), None)

    @property
    def frames(self) -> int:
        """Frames that it took."""
        return sum(trial.frames for trial in self.trials)

    @property
    def paths(self) -> list[str]:
        """What was drawn, as dotted paths."""
        return list(dict.fromkeys(path for trial in self.trials for path in trial.drawn))

    @property
    def text(self) -> str:
        """What its file holds."""
        return json.dumps(redact(asdict(self)), indent=1, ensure_ascii=False) + "\n"


def search_of(record: Record, wanted: str) -> KeptSearch | None:
    """The search whose id begins like this, as far as it went; None where ``record`` has none."""
    runs = record.runs(kind="experiment", limit=None) if record.exists else []
    run = next((run for run in runs if run.run_id.startswith(wanted)), None)
    if run is None:
        return None
    found = findings(record, run.run_id)
    spec = json.loads(record.download(run.run_id, RESOLVED).read_text(encoding="utf-8"))
    return KeptSearch(
        run_id=run.run_id,
        commit=run.tags.get("mlflow.source.git.commit", NONE),
        objectives=dict(found.objectives),
        spec=spec,
        trials=tuple(map(_tried, found.trials)),
        best=found.best[0].number if found.best else None,
    )


def keep(record: Record, row: Row, folder: Path) -> bool:
    """Keeps the search that a row names below ``folder``, where ``record`` has it. Returns whether that
    changed anything there."""
    search = search_of(record, row.params.search) if row.params.search else None
    return search is not None and write_text(place(row, folder, SUFFIX), search.text)


def read_search(row: Row, folder: Path) -> KeptSearch | None:
    """What is kept below ``folder`` of the search that a row names; None where that is nothing."""
    path = place(row, folder, SUFFIX)
    if not row.params.search or not path.is_file():
        return None
    facts = json.loads(path.read_text(encoding="utf-8"))
    trials = tuple(
        TriedSetting(**trial | {"values": tuple(trial["values"])}) for trial in facts.pop("trials")
    )
    kept = KeptSearch(**facts, trials=trials)
    return kept if kept.run_id.startswith(row.params.search) else None


def _tried(trial: TrialFinding) -> TriedSetting:
    values = tuple(value for value in trial.values if math.isfinite(value))
    return TriedSetting(trial.number, trial.status, trial.drawn, values, trial.sessions, trial.frames)
