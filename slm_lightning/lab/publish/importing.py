"""Runs that came from the Hub, as runs of this record."""

from __future__ import annotations

import json
import shutil
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from slm_lightning.lab.publish.arrived import Arrived, ToldRun, plain
from slm_lightning.lab.publish.runs import rows_of
from slm_lightning.lab.replay import POLICY
from slm_lightning.lab.report.findings import findings
from slm_lightning.lab.search.experiment_result import headlines
from slm_lightning.tracking import ORIGIN, Record, RunInfo
from slm_lightning.tracking.query import TABLE

STUDY = "slm.study"


def take_in(record: Record, arrived: Arrived) -> RunInfo:
    """Records the runs, under new ids and marked by where they are from, and returns the first; all of
    them or none."""
    taking = _Taking(record, arrived)
    try:
        return taking.take()
    except BaseException:
        taking.discard()
        raise


class _Taking:
    """Runs on their way into a record."""

    def __init__(self, record: Record, arrived: Arrived):
        self.record, self.arrived, self.top = record, arrived, arrived.runs[0]
        self.ids: dict[str, str] = {}
        """Ids here, by those that they had."""

    def take(self) -> RunInfo:
        for run in self.arrived.runs:
            self._begin(run)
        top = self.ids[self.top.id]
        self._keep_policy(self.ids.get(self.arrived.session, top))
        for run in reversed(self.arrived.runs[1:]):
            self._end(run)
        if self.top.kind == "experiment":
            self.record.log_metrics(top, headlines(findings(self.record, top)))
        self.record.log_artifacts(top, self.arrived.manifest)  # all of it is there
        self._end(self.top)
        return self.record.get(top)

    def discard(self) -> None:
        if self.top.id in self.ids:
            self.record.discard(self.ids[self.top.id])

    def _begin(self, run: ToldRun) -> None:
        """Creates a run, with its specs, its rows, and where it comes from."""
        tags = {key: value for key, value in run.tags.items() if key != STUDY}
        if self.top.kind == "experiment" and run is not self.top:
            tags[STUDY] = self.ids[self.top.id]
        run_id = self.ids[run.id] = self.record.create_run(
            experiment=run.experiment,
            name=run.name,
            kind=run.kind,
            parent=self.ids.get(run.parent or ""),
            tags=tags | {ORIGIN: self.arrived.origin},
            params=run.params,
            began=datetime.fromisoformat(run.start),
        )
        if run.kind == "experiment":
            self.record.set_tags(run_id, {STUDY: run_id})
        folder = self.record.folder(run_id)
        for name, spec in run.specs.items():
            (folder / name).write_text(json.dumps(spec, indent=2) + "\n", encoding="utf-8")
        if run.kind == "session":
            self._write_rows(run, folder)
        self.record.log_artifacts(run_id, folder)
        if self.arrived.provenance and run.kind != "session":
            self.record.log_artifacts(run_id, self.arrived.provenance, "provenance")

    def _write_rows(self, run: ToldRun, folder: Path) -> None:
        """The table of a session, and the journal from which the store gets its curves."""
        rows = rows_of(self.arrived.rows, run.tags)
        if rows.empty:
            return
        (folder / TABLE).parent.mkdir()
        rows.to_csv(folder / TABLE, index=False)
        with (folder / "metrics.jsonl").open("w", encoding="utf-8") as journal:
            for row in rows.to_dict("records"):
                known = {str(key): _value(value) for key, value in row.items() if value}
                journal.write(json.dumps(known | {"frame": int(row["frame"])}) + "\n")

    def _keep_policy(self, run_id: str) -> None:
        with tempfile.TemporaryDirectory(prefix="slm-lightning-") as scratch:
            for path in self.arrived.policy:
                shutil.copyfile(path, Path(scratch, path.name))
            self.record.log_artifacts(run_id, Path(scratch), POLICY)

    def _end(self, run: ToldRun) -> None:
        run_id = self.ids[run.id]
        self.record.log_metrics(run_id, run.metrics)
        ended = datetime.fromisoformat(run.end).timestamp() if run.end else None
        self.record.finish(run_id, run.status, for_good=True, ended=ended)


def _value(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return plain(text)
