"""Reading the record: runs by id, name or kind, their curves and their files."""

from __future__ import annotations

import atexit
import difflib
import posixpath
import re
import shutil
import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

import pandas as pd
from mlflow.entities import Run

from slm_lightning.errors import UsageError
from slm_lightning.tracking.draft import ID, Draft
from slm_lightning.tracking.folder import RunFolder
from slm_lightning.tracking.journal import FRAME, JOURNAL, TIME, Point, read_rows, rows_of
from slm_lightning.tracking.store import Store, slug

OURS = "tags.`slm.kind` IS NOT NULL"
SCORE = "total_reward_ma"
RESOLVED = "spec_resolved.json"
"""The artifact with the complete spec of a run."""
COMPILED = "slm.compiled"
"""Tag of a trial and its sessions: whether their updates are compiled, and why, as the machine says on
which they begin."""
ORIGIN = "slm.origin"
"""Tag of a run that somebody else made: where it was brought from."""
PUBLISHED = "slm.hub"
"""Tag of a run with the address on the Hub at which it was published, or with why it was not."""
TABLE = "tables/metrics.csv"
"""The artifact with a session's rows, written when it ends."""


@dataclass(frozen=True)
class RunInfo:
    """What the record says of one run. Times are in UTC; ``metrics`` has the latest values."""

    run_id: str
    name: str
    kind: str
    """``experiment``, ``trial`` or ``session``."""
    status: str
    """``RUNNING``, ``FINISHED``, ``FAILED`` or ``KILLED``; the last also where MLflow still says
    ``RUNNING`` and the process is gone."""
    experiment: str
    experiment_id: str
    parent: str | None
    start: datetime
    end: datetime | None
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]
    artifact_uri: str

    def __str__(self) -> str:
        """One line to tell runs apart: id, name, start and score."""
        score = f"  {SCORE} {self.metrics[SCORE]:.4g}" if SCORE in self.metrics else ""
        start = self.start.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        return f"{self.run_id[:8]}  {self.name}  {start}  {self.status.lower()}{score}"


class Reader(Store):
    """A store that is read."""

    def find(self, prefix: str) -> RunInfo:
        """The run with this id, beginning of an id (4 characters or more) or name. Raises
        ``UsageError`` where there is none, or more than one."""
        found: list[RunInfo] = []
        if re.fullmatch("[0-9a-f]{4,32}", prefix):
            found = self._search(f"attributes.run_id LIKE '{prefix}%'")
            if not found and self.is_server:  # begun while the server was away
                found = self._search(f"tags.`{ID}` LIKE '{prefix}%'")
        if not found and '"' not in prefix:
            found = self._search(f'attributes.run_name = "{prefix}"')
        if len(found) == 1:
            return found[0]
        if found:
            listing = "\n".join(f"  {run}" for run in found[:20])
            raise UsageError(f'"{prefix}" fits {len(found)} runs', f"give more of an id:\n{listing}")
        raise UsageError(f'no run "{prefix}" in the record at {self}', self._closest(prefix))

    def children(self, run_id: str) -> list[RunInfo]:
        """The sessions of a trial or the trials of an experiment, in the order of their numbers."""
        found = self._search(f"tags.`mlflow.parentRunId` = '{run_id}'", limit=None)
        return sorted(
            found, key=lambda run: [int(run.tags.get(f"slm.{k}", 0)) for k in ("trial", "session")]
        )

    def runs(
        self, experiment: str | None = None, kind: str | None = None, limit: int | None = 100
    ) -> list[RunInfo]:
        """Runs of the lab, newest first, at most ``limit``."""
        return self._search(f"tags.`slm.kind` = '{kind}'" if kind else "", experiment, limit)

    def top(self, limit: int | None = 100) -> list[RunInfo]:
        """Experiments, and trials that are not part of one, newest first."""
        experiments = self.runs(kind="experiment", limit=limit)
        alone = self._search(
            "tags.`slm.kind` = 'trial' AND tags.`mlflow.parentRunId` IS NULL", None, limit
        )
        return sorted([*experiments, *alone], key=lambda run: run.start, reverse=True)[:limit]

    def history(self, run_id: str) -> pd.DataFrame:
        """The curves of a session: one row per frame, ascending; columns ``frame`` and the metrics.

        Taken from the table that a finished session leaves, else from the journal of one that runs
        here, else from the points that MLflow has, where a value that did not change is filled in.
        """
        run = self.get(run_id)
        if stored := self._fetch(run, TABLE):
            table = pd.read_csv(stored)
        elif rows := read_rows(self.working_folder(run_id) / JOURNAL):
            table = pd.DataFrame(rows).drop(columns=TIME, errors="ignore")
        else:
            table = self._metric_history(run)
        return table.groupby(FRAME, as_index=False).last().sort_values(FRAME, ignore_index=True)

    def get(self, run_id: str) -> RunInfo:
        """The run with this full id. Raises ``StorageError``."""
        self.reach()
        with self.guard():
            return self._get(run_id)

    def artifacts(self, run_id: str) -> list[str]:
        """Paths of all files of a run, sorted."""
        run = self.get(run_id)
        if place := self._local_artifacts(run):
            return [file.relative_to(place).as_posix() for file in visible_files(place)]
        with self.guard():
            return sorted(self._list_remote(run_id, ""))

    def download(self, run_id: str, artifact_path: str) -> Path:
        """A local path with the artifact, a file or a folder: the stored one itself where the store
        is local, else a copy that lives as long as this process. Raises ``UsageError``."""
        path = self._fetch(self.get(run_id), artifact_path)
        if path is None:
            raise UsageError(f'run {run_id[:8]} has no artifact "{artifact_path}"')
        return path

    def working_folder(self, run_id: str) -> Path:
        """Where a run keeps what it needs while it lasts; not there after a clean finish."""
        return self.root / "runs" / run_id

    def _get(self, run_id: str) -> RunInfo:
        run = self.client.get_run(run_id)
        return self._info(run, self.client.get_experiment(run.info.experiment_id).name)

    def _info(self, run: Run, experiment: str) -> RunInfo:
        """What MLflow says of a run, but that nothing is RUNNING whose process is gone. Of runs that
        another machine may work on, only MLflow knows."""
        info = _run_info(run, experiment)
        folder = self.working_folder(info.run_id)
        known = self.is_local or folder.is_dir()
        if info.status != "RUNNING" or not known or RunFolder(folder).has_owner:
            return info
        if self.is_busy("runs") or RunFolder(folder).has_owner:  # it was just created
            return info
        with self.guard():
            latest = _run_info(self.client.get_run(info.run_id), experiment)
        return latest if latest.status != "RUNNING" else replace(info, status="KILLED")

    def _search(
        self, where: str = "", experiment: str | None = None, limit: int | None = 1000
    ) -> list[RunInfo]:
        """Runs of the lab for which ``where`` holds, newest first."""
        self.reach()
        names = {k: v for k, v in self.experiments().items() if experiment in (None, v)}
        found: list[RunInfo] = []
        token = None
        while names:
            with self.guard():
                page = self.client.search_runs(
                    list(names),
                    f"{OURS} AND {where}" if where else OURS,
                    max_results=min(1000, limit - len(found)) if limit else 1000,
                    order_by=["attributes.start_time DESC"],
                    page_token=token,
                )
            found += [self._info(run, names[run.info.experiment_id]) for run in page]
            token = page.token
            if not token or (limit and len(found) >= limit):
                break
        return found

    def _closest(self, prefix: str) -> str:
        known = self._search()
        if not known:
            return "nothing is recorded there yet"
        names = {key: run for run in reversed(known) for key in (run.run_id[: len(prefix)], run.name)}
        near = difflib.get_close_matches(prefix, names, n=3, cutoff=0.5)
        shown = [names[key] for key in near] or known[:3]
        return ("closest:" if near else "newest:") + "".join(f"\n  {run}" for run in shown)

    def _metric_history(self, run: RunInfo) -> pd.DataFrame:
        with self.guard():
            histories = [self.client.get_metric_history(run.run_id, key) for key in run.metrics]
        points = (point for history in histories for point in history)
        return rows_of(Point(p.key, p.value, p.step, p.timestamp) for p in points)

    def _fetch(self, run: RunInfo, artifact_path: str) -> Path | None:
        """A local path with the artifact; None where there is no such artifact."""
        if "\0" in artifact_path:
            return None
        if place := self._local_artifacts(run):
            path = (place / artifact_path).resolve()
            return path if path.exists() and path.is_relative_to(place.resolve()) else None
        with self.guard():
            siblings = self.client.list_artifacts(run.run_id, posixpath.dirname(artifact_path) or None)
            if artifact_path not in (entry.path for entry in siblings):
                return None
            target = tempfile.mkdtemp(prefix="slm-lightning-")
            atexit.register(shutil.rmtree, target, ignore_errors=True)
            return Path(self.client.download_artifacts(run.run_id, artifact_path, target))

    def _local_artifacts(self, run: RunInfo) -> Path | None:
        """The folder with a run's artifacts where it is on this machine. A record that was moved with
        its folder still has the old place; then the same place below ``root`` is meant."""
        url = urlparse(run.artifact_uri)
        if url.scheme not in ("", "file"):
            return None
        place = Path(url2pathname(url.path) if url.scheme else run.artifact_uri)
        moved = self.root / "artifacts" / slug(run.experiment) / run.run_id / "artifacts"
        return moved if not place.exists() and moved.exists() else place

    def _list_remote(self, run_id: str, path: str) -> list[str]:
        files: list[str] = []
        for entry in self.client.list_artifacts(run_id, path or None):
            files += self._list_remote(run_id, entry.path) if entry.is_dir else [entry.path]
        return files


def visible_files(path: Path) -> list[Path]:
    """The file ``path``, or the files below the folder ``path``, sorted, without those whose name, or
    whose folder's name, starts with a dot."""
    if not path.is_dir():
        return [path]
    files = (file for file in sorted(path.rglob("*")) if file.is_file())
    return [f for f in files if not any(part.startswith(".") for part in f.relative_to(path).parts)]


def draft_info(draft: Draft) -> RunInfo:
    """What there is to say of a run that the server has not created yet."""
    return RunInfo(
        run_id=draft.run_id,
        name=draft.name,
        kind=draft.tags["slm.kind"],
        status="RUNNING",
        experiment=draft.experiment,
        experiment_id="",
        parent=draft.parent,
        start=draft.began,
        end=None,
        tags=draft.tags,
        params=draft.params,
        metrics={},
        artifact_uri="",
    )


def _run_info(run: Run, experiment: str) -> RunInfo:
    info, tags = run.info, dict(run.data.tags)
    ended = info.end_time and info.status != "RUNNING"  # a resumed run keeps its old end
    return RunInfo(
        run_id=info.run_id,
        name=info.run_name or "",
        kind=tags.get("slm.kind", ""),
        status=info.status,
        experiment=experiment,
        experiment_id=info.experiment_id,
        parent=tags.get("mlflow.parentRunId"),
        start=datetime.fromtimestamp(info.start_time / 1000, UTC),
        end=datetime.fromtimestamp(info.end_time / 1000, UTC) if ended else None,
        tags=tags,
        params=dict(run.data.params),
        metrics=dict(run.data.metrics),
        artifact_uri=info.artifact_uri or "",
    )
