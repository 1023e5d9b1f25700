"""Writing the record: carrying into MLflow what runs and their sessions write."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mlflow.entities import Metric, RunTag
from mlflow.exceptions import MlflowException

from slm_lightning.errors import LockedError, StorageError
from slm_lightning.files import atomically
from slm_lightning.redact import redact
from slm_lightning.tracking.creation import Creator, as_name
from slm_lightning.tracking.draft import Draft
from slm_lightning.tracking.folder import Call, RunFolder
from slm_lightning.tracking.journal import Cursor, Point, batches, unread
from slm_lightning.tracking.query import RunInfo, draft_info, visible_files
from slm_lightning.tracking.store import is_passing, reason

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]

FAILURES = (MlflowException, StorageError, OSError)
"""What writing to the store may raise."""
SLOW = 2.0
"""Seconds that a server may take for a request before nobody but a courier waits for it."""

_log = logging.getLogger(__name__)


class Delivery(NamedTuple):
    """What a sweep did for a run of which something waited."""

    run_id: str
    delivered: int
    """Rows and calls that are in MLflow now."""
    waiting: int
    """Those that are not."""


class Record(Creator):
    """The record, to write.

    A store that stops answering stops no run: what cannot be written waits in the run's working folder
    and is written by a later call, of this process or, through ``sweep``, of another one.
    """

    def __init__(self, root: Path | None = None, uri: str | None = None):
        super().__init__(root, uri)
        self._places: dict[str, Path | None] = {}
        """Where the files of runs go, as far as asked: MLflow says so slowly, and always the same."""
        self.deferred: set[str] = set()
        """Runs whose writes are left to a courier, so that the caller never waits."""
        self._is_slow = False
        self._warned = False

    def folder(self, run_id: str) -> Path:
        """The working folder of a run, created where it is not there."""
        path = self.working_folder(run_id)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def hold(self, run_id: str) -> None:
        """Makes this process the owner of a run until ``finish`` or its end. Raises ``LockedError``
        where another process is."""
        self._hold(run_id)

    def deliver(self, run_id: str, final: bool = False, patient: bool = False) -> int:
        """Carries into MLflow what waits in a run's working folder; ``final`` when nobody writes there
        any more. Returns how many rows and calls still wait: not 0 where the store does not answer, or
        where it is slow and the caller not ``patient``."""
        folder = self._folder(run_id)
        if not folder.path.exists():
            return 0
        if (patient or not self._is_slow) and self._take_turn(10.0):
            try:
                self.there(run_id)
                self._empty_outbox(run_id, folder, patient)
                cursor = Cursor.load(folder.cursor)
                for points, ahead in batches(unread(folder.journal, cursor), cursor, final):
                    if self._is_slow and not patient:
                        break
                    self._send(run_id, points)
                    ahead.save(folder.cursor)
            except FAILURES as error:
                self._note(error)
            finally:
                self._turn.release()
        return self.pending(run_id)

    def pending(self, run_id: str) -> int:
        """Rows and calls of a run that are not in MLflow yet."""
        return self._folder(run_id).pending

    def waiting(self) -> dict[str, int]:
        """Rows and calls that wait, by run, over the working folders of runs that have no owner but
        perhaps this process."""
        folders = [self._folder(path.name) for path in sorted(self.root.glob("runs/*"))]
        idle = [f.path.name for f in folders if f.is_held or not f.has_owner]
        return {run_id: count for run_id in idle if (count := self.pending(run_id))}

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

    def set_status(self, run_id: str, status: Status, at: float | None = None) -> None:
        """``RUNNING`` again, or how and when (``at``, Unix seconds; default now) the run ended."""
        self._call(run_id, "set_status", status=status, at=time.time() if at is None else at)

    def finish(
        self, run_id: str, status: Status, for_good: bool = False, ended: float | None = None
    ) -> int:
        """Ends a run of this process, now or when it ``ended`` (Unix seconds): delivers everything,
        sets ``status`` and gives the run up. The working folder of a run that is FINISHED, or over
        ``for_good``, is deleted once nothing waits in it; others keep what they need to be resumed.
        Returns how many rows and calls still wait."""
        folder = self._folder(run_id)
        self.deferred.discard(run_id)
        try:
            self.deliver(run_id, final=True)
            self.set_status(run_id, status, ended)
            pending = self.pending(run_id)
            if pending:  # a courier had the turn
                pending = self.deliver(run_id, final=True)
            if (status == "FINISHED" or for_good) and not pending:
                folder.remove()
        finally:
            self._let_go(run_id)
        return pending

    def discard(self, run_id: str) -> None:
        """Removes a run with those below it, of which nothing is worth keeping."""
        with self._turn, self.guard():
            for run in [*self.children(run_id), self.get(run_id)]:
                self.client.delete_run(run.run_id)
                folder = self._folder(run.run_id)
                folder.release()
                folder.remove()

    def sweep(self, patient: bool = False) -> list[Delivery]:
        """Settles the runs whose process is gone: what waits is delivered, RUNNING becomes KILLED.
        Returns what was done for those of which something waited."""
        if not self.exists:
            return []
        with self.guard(), self.lock("runs"):
            running = {run.run_id for run in self._search("attributes.status = 'RUNNING'", limit=None)}
            abandoned = self._seize(running)
        waited = {run_id: self.pending(run_id) for run_id in abandoned}
        found = []
        for run_id, before in waited.items():
            if run_id in running or before:
                self._settle(run_id, patient)
            after = self.pending(run_id)
            self._let_go(run_id)
            if before:
                found.append(Delivery(run_id, before - after, after))
        return found

    def _settle(self, run_id: str, patient: bool) -> None:
        if not self._recorded(run_id):
            return  # it was deleted
        waiting = self.deliver(run_id, final=True, patient=patient)
        run = self._recorded(run_id)
        if run and run.status == "RUNNING":
            self.set_status(run_id, "KILLED")
            self.deliver(run_id, patient=patient)
        elif run and run.status == "FINISHED" and not waiting:
            self._folder(run_id).remove()

    def _recorded(self, run_id: str) -> RunInfo | None:
        """What the store says of a run, or is going to say; None where it was deleted."""
        draft = Draft.load(self._folder(run_id).draft)
        if draft and not draft.there:
            return draft_info(draft)
        there = draft.there if draft else run_id
        return next(iter(self._search(f"attributes.run_id = '{there}'")), None)

    def _let_go(self, run_id: str) -> None:
        """Gives a run up. What a resume needs of one that was begun while the server was away lies from
        now on under the server's id, by which the run is found."""
        folder = self._folder(run_id)
        draft = Draft.load(folder.draft)
        if draft and draft.there and not self.pending(run_id):
            with suppress(OSError):
                kept = folder.path.rename(self.working_folder(draft.there))
                RunFolder(kept).draft.unlink()
                del self._folders[run_id]
        folder.release()

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

    def _take_turn(self, patience: float) -> bool:
        """Waits for another thread's request, up to ``patience`` seconds. False where the store should
        not be asked now; else ``_turn`` is to be released."""
        return time.monotonic() >= self._away_until and self._turn.acquire(timeout=patience)

    def _call(self, run_id: str, method: str, **arguments: Any) -> None:
        """Writes now where that is possible, else later, after all that already waits."""
        folder = self._folder(run_id)
        call = Call(method, arguments)
        mine = run_id not in self.deferred and not self._is_slow
        if mine and self._take_turn(1.0):
            try:
                self.there(run_id)
                self._empty_outbox(run_id, folder)
                self._make(run_id, call)
                return
            except FAILURES as error:
                if not is_passing(error):
                    raise StorageError(f"MLflow refuses to {method}: {reason(error)}") from error
                self._note(error)
            finally:
                self._turn.release()
        with self.guard():
            self.folder(run_id)
            folder.post(call)

    def _empty_outbox(self, run_id: str, folder: RunFolder, patient: bool = True) -> None:
        done = 0
        try:
            for call in folder.outbox():
                if self._is_slow and not patient:
                    break
                try:
                    self._make(run_id, call)
                except FAILURES as error:
                    if is_passing(error):
                        raise
                    _log.warning("run %s: %s is given up: %s", run_id[:8], call.method, reason(error))
                done += 1
        finally:
            if done:
                folder.unpost(done)

    def _make(self, run_id: str, call: Call) -> None:
        there = self.there(run_id)
        match call:
            case Call("log_metrics", {"metrics": metrics, "step": step, "at": at}):
                self._send(run_id, [Point(key, value, step, at) for key, value in metrics.items()])
            case Call("set_tags", {"tags": tags}):
                sent = [RunTag(k, v) for k, v in tags.items()]
                self._ask(self.client.log_batch, there, tags=sent)
            case Call("log_artifacts", {"path": path, "artifact_path": artifact_path}):
                self._store(run_id, Path(path), artifact_path)
            case Call("set_status", {"status": "RUNNING"}):
                self._ask(self.client.update_run, there, status="RUNNING")
            case Call("set_status", {"status": status, "at": at}):
                self._ask(self.client.set_terminated, there, status, round(at * 1000))

    def _send(self, run_id: str, points: Sequence[Point]) -> None:
        metrics = [Metric(as_name(p.key), p.value, round(p.time * 1000), p.frame) for p in points]
        if metrics:
            self._ask(self.client.log_batch, self.there(run_id), metrics)

    def _ask(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        """Makes a small request, and notes whether the server is slow."""
        begun = time.monotonic()
        call(*arguments, **options)
        self._is_slow = self.is_server and time.monotonic() - begun > SLOW

    def _store(self, run_id: str, path: Path, artifact_path: str | None) -> None:
        there = self.there(run_id)
        if there not in self._places:
            self._places[there] = self._local_artifacts(self._get(there))
        place = self._places[there]
        top = path if path.is_dir() else path.parent
        for file in visible_files(path):
            folder = Path(artifact_path or "", file.relative_to(top).parent)
            if place:
                _copy(file, place / folder)
            else:
                self.client.log_artifact(there, str(file), folder.as_posix() if folder.parts else None)

    def _note(self, error: Exception) -> None:
        """Says once what is wrong, and leaves a store that does not answer alone for a while."""
        if is_passing(error):
            self.pause()
        if not self._warned:
            self._warned = True
            cause = error.__cause__ if isinstance(error, StorageError) else None
            _log.warning(
                "the record at %s does not take new values: %s. Training goes on; they wait in %s",
                *(self, reason(cause or error), self.root / "runs"),
            )


def _copy(source: Path, folder: Path) -> None:
    """Copies a file in one step: no reader sees half of it, and none is lost with its original."""
    folder.mkdir(parents=True, exist_ok=True)
    atomically(folder / source.name, lambda aside: shutil.copyfile(source, aside))
