"""What an experiment left, and how it is closed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from slm_lightning.errors import LabError, SessionError, StorageError
from slm_lightning.lab.report.experiment_page import Report, write_report
from slm_lightning.lab.report.findings import Findings, findings
from slm_lightning.lab.running.job import Outcome, Status
from slm_lightning.lab.search.experiment import Experiment
from slm_lightning.lab.trial_record import RUN_STATUS
from slm_lightning.lab.wording import count
from slm_lightning.tracking import Record, RunInfo

HEADLINES = ("score", "score_ci_low", "score_ci_high", "eval_score", "strength", "sample_efficiency")
"""Of the winner, or of its confirmation."""
ENDS = ("done", "pruned", "failed", "diverged", "stopped")
"""How trials end. Each is counted, 0 too: it had another number when the search was interrupted."""


@dataclass(frozen=True)
class SearchResult:
    """What a search left: its run, what it found, and its page."""

    run_id: str
    name: str
    status: Status
    """``done``; ``failed`` where no trial came to a value; ``stopped`` where it is to be resumed."""
    findings: Findings | None = field(repr=False)
    """None where the record could not be read just then, as with ``report``, its page."""
    report: Report | None = field(repr=False)
    stopped_by: str | None = None
    """The signal that ended it early."""
    stopped: Outcome | None = None
    """How a trial ended that is to be resumed."""

    @property
    def text(self) -> str:
        """What it found, in a few lines."""
        if self.report is not None:
            return self.report.text
        return (
            f"its page is not written; once the record answers: slm-lightning report {self.run_id[:8]}"
        )

    def to_dict(self) -> dict[str, Any]:
        """What it found, as plain data."""
        if self.report is not None:
            return self.report.to_dict()
        return {"run_id": self.run_id, "name": self.name, "status": self.status}

    def error(self) -> LabError | None:
        """The failure to report, or None."""
        if self.stopped and self.stopped.exit_code:
            hint = f"what was done is kept; to go on: slm-lightning resume {self.run_id[:8]}"
            return StorageError(self.stopped.message, hint)
        if self.status != "failed":
            return None
        found = self.findings.reasons if self.findings else []
        reasons = "\n".join(f"{count(times, 'time')}: {why}" for why, times in found)
        hint = f"the record is kept: slm-lightning show {self.run_id[:8]}"
        return SessionError(f"no trial came to its end\n{reasons}", hint)


def close(experiment: Experiment, stopped_by: str | None) -> SearchResult:
    """Analyses an experiment whose sessions have all ended, and records what it came to."""
    record, run_id, stopped = experiment.record, experiment.run_id, experiment.stopped
    status: Status = "done" if experiment.study.finished() else "failed"
    if stopped_by or stopped or experiment.study.running():
        status = "stopped"
    record.set_tags(run_id, {"slm.status": status})
    found = report = None
    try:
        record.log_metrics(run_id, headlines(findings(record, run_id)))
        record.finish(run_id, RUN_STATUS[status])
        report = write_report(record, run_id)
        found = report.findings
    except StorageError:
        record.finish(run_id, RUN_STATUS[status])
    return SearchResult(run_id, experiment.name, status, found, report, stopped_by, stopped)


def recorded(info: RunInfo, record: Record) -> SearchResult:
    """What an experiment that is done came to."""
    report = write_report(record, info.run_id)
    return SearchResult(info.run_id, info.name, "done", report.findings, report)


def headlines(found: Findings) -> dict[str, float]:
    """What stands beside the experiment in MLflow's table."""
    counts = dict.fromkeys(ENDS, 0) | found.counts
    numbers: dict[str, float] = {f"trials_{name}": float(n) for name, n in counts.items()}
    numbers["trials"] = float(len(found.trials))
    numbers["frames"] = float(sum(trial.frames for trial in found.trials))
    if found.best:
        confirmed = found.confirmation
        shown = confirmed if confirmed and confirmed.is_ranked else found.best[0]
        numbers |= {name: shown.metric(name) for name in HEADLINES}
    return numbers
