"""Beginning runs, also while the store does not answer."""

from __future__ import annotations

import json
import logging
import math
import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from mlflow.entities import Param
from mlflow.exceptions import MlflowException

from slm_lightning.errors import StorageError
from slm_lightning.redact import redact
from slm_lightning.tracking.draft import ID, Draft
from slm_lightning.tracking.folder import RunFolder
from slm_lightning.tracking.query import Reader, RunInfo, draft_info
from slm_lightning.tracking.store import is_locked, is_passing

Kind = Literal["experiment", "trial", "session"]
T = TypeVar("T")

PARAM_LIMIT = 6000
"""Characters of a parameter that MLflow keeps."""
PAUSE = 5.0
"""Seconds in which a store that failed is not asked again."""
LOCKED_SECONDS = 60.0
"""How long a run waits for another process that keeps the database locked, before it is begun."""

_log = logging.getLogger(__name__)


class Creator(Reader, ABC):
    """A store in which runs are begun.

    A trial need not wait for a server that is away: its runs get ids of the lab's own, and are created
    on the server when it answers (``there``). A server has the lab's id of a run as a tag, so that one
    whose answer was lost is not created twice, and is found by either id.
    """

    def __init__(self, root: Path | None = None, uri: str | None = None):
        super().__init__(root, uri)
        self._folders: dict[str, RunFolder] = {}
        self._ids: dict[str, str] = {}
        """Ids that the server has given, by those of the lab."""
        self._turn = threading.RLock()
        self._away_until = -math.inf

    def create_run(
        self,
        *,
        experiment: str,
        name: str,
        kind: Kind,
        parent: str | None = None,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        began: datetime | None = None,
    ) -> str:
        """Starts a run below run ``parent``, now or as if it ``began`` then, and makes this process its
        owner. Returns its id.

        ``params`` as ``flatten`` gives them. Raises ``StorageError``; but where a server is only away
        it does so for an ``experiment`` alone, which has to read what it has written.
        """
        marked: dict[str, str] = redact({**(tags or {}), "slm.kind": kind})
        texts = {as_name(k): _param(v) for k, v in redact(dict(params or {})).items()}
        draft = Draft(experiment, name, parent, marked, texts, began or datetime.now(UTC))
        if self.is_server:
            return self._begin_on_server(draft)
        if parent is None:
            self.sweep()
        _ = self.client  # makes the store
        with self._turn, self.guard(), self.lock("runs"):
            run_id = self._create(draft, parent)
            self._hold(run_id)
        return run_id

    @abstractmethod
    def sweep(self) -> Any:
        """Settles what other processes left, before a run of its own is begun."""

    def get(self, run_id: str) -> RunInfo:
        """The run with this full id. Raises ``StorageError``."""
        draft = Draft.load(self._folder(run_id).draft)
        return draft_info(draft) if draft else super().get(run_id)

    def there(self, run_id: str) -> str:
        """The id by which the store knows a run, which is created there where it still waits for that.
        Raises as MLflow does."""
        if run_id not in self._ids:
            folder = self._folder(run_id)
            draft = Draft.load(folder.draft)
            if draft and not draft.there:
                draft = draft.sent(self._found_or_created(draft))
                draft.save(folder.draft)
            self._ids[run_id] = (draft and draft.there) or run_id
        return self._ids[run_id]

    def pause(self, seconds: float = PAUSE) -> None:
        """Asks the store nothing for some time; writes wait in the working folders."""
        self._away_until = time.monotonic() + seconds

    def _begin_on_server(self, draft: Draft) -> str:
        needs_it = draft.tags["slm.kind"] == "experiment"
        below_draft = draft.parent and Draft.load(self._folder(draft.parent).draft)
        if needs_it or (not below_draft and time.monotonic() >= self._away_until):
            try:
                self.reach()
                if draft.parent is None:
                    self.sweep()
                with self._turn:
                    run_id = self._create(draft, draft.parent)
                self._hold(run_id)
                return run_id
            except StorageError as error:
                if needs_it or not is_passing(error):
                    raise
                self.pause()
        with self.guard():
            draft.save(self._folder(draft.run_id).draft)
        self._hold(draft.run_id)
        return draft.run_id

    def _hold(self, run_id: str) -> None:
        with self.guard():
            self._folder(run_id).hold()

    def _create(self, draft: Draft, parent: str | None) -> str:
        """Creates a run in the store."""
        tags = draft.tags | ({ID: draft.run_id} if self.is_server else {})
        if parent:
            tags["mlflow.parentRunId"] = parent
        began = round(draft.began.timestamp() * 1000)
        with self.guard():
            place = self._unlocked(lambda: self.experiment_id(draft.experiment))
            run = self._unlocked(
                lambda: self.client.create_run(place, began, tags, run_name=draft.name)
            )
            self._unlocked(lambda: self._log_params(run.info.run_id, draft))
        return run.info.run_id

    def _log_params(self, run_id: str, draft: Draft) -> None:
        params = [Param(key, value) for key, value in draft.params.items()]
        self.client.log_batch(run_id, params=params)

    def _found_or_created(self, draft: Draft) -> str:
        place = self.experiment_id(draft.experiment)
        if found := self._by_tag(place, draft.run_id):
            self._log_params(found, draft)
            return found
        parent = draft.parent and self.there(draft.parent)
        if parent == draft.parent and parent and not self._folder(parent).path.exists():
            parent = self._by_tag(place, parent) or parent  # it was delivered before and has gone
        return self._create(draft, parent)

    def _by_tag(self, experiment_id: str, run_id: str) -> str | None:
        found = self.client.search_runs([experiment_id], f"tags.`{ID}` = '{run_id}'", max_results=1)
        return found[0].info.run_id if found else None

    def _unlocked(self, write: Callable[[], T]) -> T:
        """``write()``, which waits while another process keeps the database locked."""
        deadline = time.monotonic() + LOCKED_SECONDS
        said = False
        while True:
            try:
                return write()
            except (MlflowException, StorageError) as error:
                if not is_locked(error) or time.monotonic() > deadline:
                    raise
                if not said:
                    _log.warning("the record at %s is locked by another process; waiting", self)
                said = True

    def _folder(self, run_id: str) -> RunFolder:
        return self._folders.setdefault(run_id, RunFolder(self.working_folder(run_id)))


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


def as_name(key: str) -> str:
    """A name of a metric or parameter with the characters that MLflow knows."""
    return re.sub(r"[^\w. :/-]", "_", key).strip("/")
