"""What the command ``report`` writes: the text for a pull request and, of a search, its page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slm_lightning.lab.report.experiment_page import Report, write_report
from slm_lightning.lab.report.pull_request import FILE, write_pull_request
from slm_lightning.tracking import Record, RunInfo


@dataclass(frozen=True)
class Reported:
    """The report of a trial or a search."""

    run: RunInfo
    pull_request: Path
    """A local path of the text."""
    analysis: Report | None
    """Of a search."""

    @property
    def text(self) -> str:
        """The report in a few lines."""
        said = [self.analysis.text] if self.analysis else []
        return "\n".join([*said, f"pull request: {self.pull_request}"])

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        found: dict[str, Any] = {"name": self.run.name, "files": {}}
        if self.analysis:
            found = self.analysis.to_dict()
        files = found["files"] | {FILE: str(self.pull_request)}
        return {"run_id": self.run.run_id, **found, "files": files}


def write(record: Record, wanted: str, base: Path | None = None) -> Reported:
    """Writes the report of a run; of a session that of its trial. Raises UsageError, SpecError."""
    run = record.find(wanted)
    if run.kind == "session" and run.parent:
        run = record.get(run.parent)
    analysis = write_report(record, run.run_id) if run.kind == "experiment" else None
    return Reported(run, write_pull_request(record, run, base), analysis)
