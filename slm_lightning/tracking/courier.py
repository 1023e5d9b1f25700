"""Delivering in the background, so that nobody waits for MLflow."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from slm_lightning.errors import LabError, StorageError
from slm_lightning.tracking.record import Delivery, Record

EXIT_SECONDS = 10.0
"""How long leaving the courier may take."""
PATIENCE = 20.0
"""How long a server may take to answer somebody who wants nothing else."""

_log = logging.getLogger(__name__)


def sync(record: Record) -> list[Delivery]:
    """Delivers all that waits in the working folders of runs that no other process works on. Raises
    ``StorageError`` where the store does not answer at all."""
    waiting = sum(record.waiting().values())
    try:
        record.reach(PATIENCE)
    except StorageError as error:
        kept = f"{waiting} values and files wait in {record.root / 'runs'}"
        raise StorageError(f"{error}; {kept}" if waiting else str(error), error.hint) from error
    return record.sweep(patient=True)


class Courier:
    """A thread that delivers the runs it knows every ``interval`` seconds, and once more at the end.

    ``with Courier(record, run_ids): …`` Inside, what is written to these runs is left to the thread.
    Leaving waits at most ``EXIT_SECONDS`` for a slow server, and leaves what is not delivered for a
    later call.
    """

    def __init__(self, record: Record, run_ids: Iterable[str] = (), interval: float = 5.0):
        self.record = record
        self.interval = interval
        self.add(*run_ids)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="courier", daemon=True)

    def add(self, *run_ids: str) -> None:
        """More runs to deliver, each until it is finished."""
        self.record.deferred.update(run_ids)

    @property
    def pending(self) -> int:
        """Rows and calls that wait, over all runs that are not finished."""
        return sum(map(self.record.pending, list(self.record.deferred)))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(EXIT_SECONDS)
        if self._thread.is_alive():
            self.record.pause(60.0)
        self.record.deferred.clear()

    def _work(self) -> None:
        while not self._stop.wait(self.interval):
            self._round()
        self._round()

    def _round(self) -> None:
        for run_id in list(self.record.deferred):
            try:
                self.record.deliver(run_id, patient=True)
            except LabError as error:
                _log.warning("run %s: %s", run_id[:8], error)
