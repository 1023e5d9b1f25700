"""Writing the record: creating runs, and carrying into MLflow what their sessions write."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from slm_lightning.errors import LockedError, StorageError
from slm_lightning.redact import redact
from slm_lightning.tracking.folder import Call, RunFolder
from slm_lightning.tracking.journal import Cursor, Point, batches, unread
from slm_lightning.tracking.query import Reader, visible_files
from slm_lightning.tracking.store import reason

Kind = Literal["experiment", "trial", "session"]
Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]

PARAM_LIMIT = 6000
"""Characters of a parameter that MLflow keeps."""
PAUSE = 5.0
"""Seconds in which a store that failed is not asked again."""

_log = logging.getLogger(__name__)


class Record(Reader):
    """The record, to write.

    A store that stops answering stops no run: what cannot be written waits in the run's working folder
    and is written by a later call, of this process or, through ``sweep``, of another one.
    """

    def __init__(self, root: Path | None = None, uri: str | None = None):
        super().__init__(root, uri)
        self._folders: dict[str, RunFolder] = {}
        self._places: dict[str, Path | None] = {}
        """Where the files of runs go, as far as asked: MLflow says so slowly, and always the same."""
        self.deferred: set[str] = set()
        """Runs whose writes are left to a courier, so that the caller never waits."""
        self._turn = threading.RLock()
        self._away_until = -math.inf
        self._warned = False

    def create_run(
        self,
        *,
        experiment: str,
        name: str,
        kind: Kind,
        parent: str | None = None,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> str:
        """Starts a run below run ``parent`` and makes this process its owner. Returns its id.

        ``params`` as ``flatten`` gives them. Raises ``StorageError``.
        """
        if parent is None:
            self.sweep()
        tags = {**(tags or {}), "slm.kind": kind}
        if parent:
            tags["mlflow.parentRunId"] = parent
        experiment_id = self.experiment_id(experiment)
        texts = {k: _param(v) for k, v in redact(dict(params or {})).items()}
        with self._turn, self.guard(), self.lock("runs"):
            run = self.client.create_run(experiment_id, run_name=name, tags=redact(tags))
            self.hold(run.info.run_id)
            self.client.log_batch(
                run.info.run_id, params=[Param(_name(k), v) for k, v in texts.items()]
            )
        return run.info.run_id

    def folder(self, run_id: str) -> Path:
        """The working folder of a run, created where it is not there."""
        path = self.working_folder(run_id)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def hold(self, run_id: str) -> None:
        """Makes this process the owner of a run until ``finish`` or its end. Raises ``LockedError``
        where another process is."""
        with self.guard():
            self._folder(run_id).hold()

    def deliver(self, run_id: str, final: bool = False) -> int:
        """Carries into MLflow what waits in a run's working folder; ``final`` when nobody writes there
        any more. Returns how many rows and calls still wait: not 0 where the store does not answer."""
        folder = self._folder(run_id)
        if not folder.path.exists():
            return 0
        if self._take_turn(10.0):
            try:
                self._empty_outbox(run_id, folder)
                cursor = Cursor.load(folder.cursor)
                for points, ahead in batches(unread(folder.journal, cursor), cursor, final):
                    self._send(run_id, points)
                    ahead.save(folder.cursor)
            except (MlflowException, OSError) as error:
                self._note(error)
            finally:
                self._turn.release()
        return self.pending(run_id)

    def pending(self, run_id: str) -> int:
        """Rows and calls of a run that are not in MLflow yet."""
        folder = self._folder(run_id)
        rows = unread(folder.journal, Cursor.load(folder.cursor))
        return len(rows) + len(folder.outbox())

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Values at frame ``step`` (default 0); those that are not finite are left out."""
        finite = {k: float(v) for k, v in metrics.items() if v is not None and math.isfinite(v)}
        self._call(run_id, "log_metrics", metrics=finite, step=step or 0, at=time.time())

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Adds tags, or replaces them."""
        self._call(run_id, "set_tags", tags=redact(dict(tags)))

    def log_artifacts(self, run_id: str, path: Path, artifact_path: str | None = None) -> None:
        """Stores a file, or all files of a folder but hidden ones, below ``artifact_path``."""
        self._call(run_id, "log_artifacts", path=str(path), artifact_path=artifact_path)

    def set_status(self, run_id: str, status: Status) -> None:
        """``RUNNING`` again, or how and when the run ended."""
        self._call(run_id, "set_status", status=status, at=time.time())

    def finish(self, run_id: str, status: Status, for_good: bool = False) -> int:
        """Ends a run of this process: delivers everything, sets ``status`` and gives the run up. The
        working folder of a run that is FINISHED, or over ``for_good``, is deleted once nothing waits in
        it; others keep what they need to be resumed. Returns how many rows and calls still wait."""
        folder = self._folder(run_id)
        self.deferred.discard(run_id)
        try:
            self.deliver(run_id, final=True)
            self.set_status(run_id, status)
            pending = self.pending(run_id)
            if pending:  # a courier had the turn
                pending = self.deliver(run_id, final=True)
            if (status == "FINISHED" or for_good) and not pending:
                folder.remove()
        finally:
            folder.release()
        return pending

    def discard(self, run_id: str) -> None:
        """Removes a run with those below it, of which nothing is worth keeping."""
        with self._turn, self.guard():
            for run in [*self.children(run_id), self.get(run_id)]:
                self.client.delete_run(run.run_id)
                folder = self._folder(run.run_id)
                folder.release()
                folder.remove()

    def pause(self, seconds: float = PAUSE) -> None:
        """Asks the store nothing for some time; writes wait in the working folders."""
        self._away_until = time.monotonic() + seconds

    def sweep(self) -> None:
        """Settles the runs whose process is gone: what waits is delivered, RUNNING becomes KILLED."""
        if not self.exists:
            return
        with self.guard(), self.lock("runs"):
            running = {run.run_id for run in self._search("attributes.status = 'RUNNING'", limit=None)}
            abandoned = self._seize(running)
        for run_id in abandoned:
            if run_id in running or self.pending(run_id):
                self._settle(run_id)
            self._folder(run_id).release()

    def _settle(self, run_id: str) -> None:
        this = f"attributes.run_id = '{run_id}'"
        if not self._search(this):
            return  # it was deleted
        waiting = self.deliver(run_id, final=True)
        (run,) = self._search(this)
        if run.status == "RUNNING":
            self.set_status(run_id, "KILLED")
        elif run.status == "FINISHED" and not waiting:
            self._folder(run_id).remove()

    def _seize(self, running: set[str]) -> list[str]:
        """Makes this process the owner of every run of this root that has none."""
        known = {path.name for path in self.root.glob("runs/*") if path.is_dir()}
        seized = []
        for run_id in known | (running if self.is_local else set()):
            folder = self._folder(run_id)
            with suppress(LockedError):
                if not folder.is_held:
                    folder.hold()
                    seized.append(run_id)
        return seized

    def _folder(self, run_id: str) -> RunFolder:
        return self._folders.setdefault(run_id, RunFolder(self.working_folder(run_id)))

    def _take_turn(self, patience: float) -> bool:
        """Waits for another thread's request, up to ``patience`` seconds. False where the store should
        not be asked now; else ``_turn`` is to be released."""
        return time.monotonic() >= self._away_until and self._turn.acquire(timeout=patience)

    def _call(self, run_id: str, method: str, **arguments: Any) -> None:
        """Writes now where that is possible, else later, after all that already waits."""
        folder = self._folder(run_id)
        call = Call(method, arguments)
        if run_id not in self.deferred and self._take_turn(1.0):
            try:
                self._empty_outbox(run_id, folder)
                self._make(run_id, call)
                return
            except (MlflowException, OSError) as error:
                if not _is_passing(error):
                    raise StorageError(f"MLflow refuses to {method}: {reason(error)}") from error
                self._note(error)
            finally:
                self._turn.release()
        with self.guard():
            self.folder(run_id)
            folder.post(call)

    def _empty_outbox(self, run_id: str, folder: RunFolder) -> None:
        for call in folder.outbox():
            try:
                self._make(run_id, call)
            except (MlflowException, OSError) as error:
                if _is_passing(error):
                    raise
                _log.warning("run %s: %s is given up: %s", run_id[:8], call.method, reason(error))
            folder.unpost()

    def _make(self, run_id: str, call: Call) -> None:
        match call:
            case Call("log_metrics", {"metrics": metrics, "step": step, "at": at}):
                self._send(run_id, [Point(key, value, step, at) for key, value in metrics.items()])
            case Call("set_tags", {"tags": tags}):
                self.client.log_batch(run_id, tags=[RunTag(k, v) for k, v in tags.items()])
            case Call("log_artifacts", {"path": path, "artifact_path": artifact_path}):
                self._store(run_id, Path(path), artifact_path)
            case Call("set_status", {"status": "RUNNING"}):
                self.client.update_run(run_id, status="RUNNING")
            case Call("set_status", {"status": status, "at": at}):
                self.client.set_terminated(run_id, status, round(at * 1000))

    def _send(self, run_id: str, points: Sequence[Point]) -> None:
        metrics = [Metric(_name(p.key), p.value, round(p.time * 1000), p.frame) for p in points]
        if metrics:
            self.client.log_batch(run_id, metrics)

    def _store(self, run_id: str, path: Path, artifact_path: str | None) -> None:
        if run_id not in self._places:
            self._places[run_id] = self._local_artifacts(self._get(run_id))
        place = self._places[run_id]
        top = path if path.is_dir() else path.parent
        for file in visible_files(path):
            folder = Path(artifact_path or "", file.relative_to(top).parent)
            if place:
                _copy(file, place / folder)
            else:
                self.client.log_artifact(run_id, str(file), folder.as_posix() if folder.parts else None)

    def _note(self, error: Exception) -> None:
        """Says once what is wrong, and leaves a store that does not answer alone for a while."""
        if _is_passing(error):
            self.pause()
        if not self._warned:
            self._warned = True
            _log.warning(
                "the record at %s does not take new values: %s. Training goes on; they wait in %s",
                *(self, reason(error), self.root / "runs"),
            )


def flatten(spec: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as dotted keys: ``{"agent.algorithm.gamma": 0.99, …}``. Lists stay whole."""
    flat: dict[str, Any] = {}
    for key, value in spec.items():
        inner = isinstance(value, Mapping) and len(value) > 0
        flat |= flatten(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return flat


def _param(value: Any) -> str:
    """A value as JSON, text as it is; cut at the length that MLflow keeps (``spec_resolved.json`` among
    the artifacts has the whole)."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= PARAM_LIMIT else text[: PARAM_LIMIT - 1] + "…"


def _name(key: str) -> str:
    """A name of a metric or parameter with the characters that MLflow knows."""
    return re.sub(r"[^\w. :/-]", "_", key).strip("/")


def _copy(source: Path, folder: Path) -> None:
    """Copies a file in one step: no reader sees half of it."""
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".{source.name}"
    shutil.copyfile(source, aside)
    os.replace(aside, folder / source.name)


def _is_passing(error: Exception) -> bool:
    """Whether the same call may well be taken later: not where MLflow has looked at it and said no."""
    if isinstance(error, MlflowException):
        status = error.get_http_status_code()
    elif isinstance(error, FileNotFoundError):
        return False
    else:
        status = getattr(getattr(error, "response", None), "status_code", 500)
    return status >= 500 or status in (401, 403, 408, 429)
