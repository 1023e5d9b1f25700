"""The best policy, and what a session goes on from."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer

from slm_lightning.callbacks.after_round import AfterRound
from slm_lightning.callbacks.metric_log import CALMER, MetricLog
from slm_lightning.data import sealed
from slm_lightning.data.checkpoint_files import BEST, LAST, PREVIOUS, RESUME, last_of
from slm_lightning.data.rollout_data import RolloutData
from slm_lightning.data.workers import Workers
from slm_lightning.errors import DivergedError, StorageError
from slm_lightning.files import atomically, flush, replacing
from slm_lightning.session import Session

CHECKPOINT_SECONDS = 30.0
CHECKPOINT_SHARE = 0.02
"""Of the time of a session, at most this much goes into writing checkpoints."""
RETRY_SECONDS, PATIENCE_SECONDS = 5.0, 600.0
"""How often a checkpoint is tried again that the disk does not take, and for how long."""


class Checkpoints(AfterRound):
    """``ckpt-best`` (highest total_reward_ma) and ``ckpt-last``, each written whole or not at all, and
    sealed (``data/sealed.py``). The ckpt-last before it is kept as well, and the segments of both.

    The best policy is held in memory and goes to disk with ckpt-last: every 30 seconds (less often
    where much has to be written), when the session is asked to stop, and at its end. What the disk
    does not take is tried again after later rounds, and ``warn`` told. Raises StorageError when that
    has lasted ten minutes, and DivergedError instead of keeping weights that are not finite.

    Of several workers each writes its own ckpt-last, since each has environments and a memory of its
    own; the first comes last, and only with its file do those of the same round count.
    """

    def __init__(self, folder: Path, metrics: MetricLog, warn: Callable[[str], None] = print):
        self.folder, self.metrics, self.warn = folder, metrics, warn
        self.best: dict[str, Any] | None = None
        self.pause = CHECKPOINT_SECONDS
        self.failing_since: float | None = None
        """When the disk began to take no more; None while it does."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Session)
        (self.folder / RESUME).mkdir(parents=True, exist_ok=True)
        self.tried = time.monotonic()
        self.rounds = [pl_module.version]
        """That of ckpt-last, and those at which another was tried since."""

    def after_round(self, trainer: Trainer, session: Session, data: RolloutData) -> None:
        late = session.workers.any(time.monotonic() - self.tried >= self.pause)
        due = late or data.finished or trainer.should_stop
        if due or self.metrics.improved:
            refuse_broken(session, data.frame)
        if self.metrics.improved and session.workers.first:
            state = {key: value.clone() for key, value in session.tensors().items()}
            self.best = {
                "state_dict": state,
                "frame": data.frame,
                "total_reward_ma": self.metrics.total_reward_ma,
            }
        if due:
            self._try(trainer, session, data)
        while data.finished and self.failing_since is not None:  # there is no later round
            time.sleep(RETRY_SECONDS)
            self._try(trainer, session, data)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        with suppress(OSError):
            self._save_best()

    def _try(self, trainer: Trainer, session: Session, data: RolloutData) -> None:
        begun = time.monotonic()
        try:
            self._save(trainer, session, data)
        except OSError as error:
            self._put_up_with(error, trainer, session.workers)
        else:
            if self.failing_since is not None:
                self.warn("checkpoints are written again")
            self.failing_since = None
            self.pause = max(CHECKPOINT_SECONDS, (time.monotonic() - begun) / CHECKPOINT_SHARE)
        self.tried = time.monotonic()

    def _put_up_with(self, error: OSError, trainer: Trainer, workers: Workers) -> None:
        now = time.monotonic()
        if self.failing_since is None:
            self.failing_since = now
            self.warn(
                f"no checkpoint can be written ({error}); training goes on, and it is tried again for "
                f"{PATIENCE_SECONDS / 60:.0f} minutes"
            )
        if workers.any(now - self.failing_since >= PATIENCE_SECONDS) or trainer.should_stop:
            raise StorageError(
                f"no checkpoint could be written to {self.folder}: {error}",
                "the one before is kept; make room and resume the run",
            ) from error
        self.pause = RETRY_SECONDS

    def _save(self, trainer: Trainer, session: Session, data: RolloutData) -> None:
        """Raises OSError, to all workers alike; what was on disk before is then still there."""
        workers, last = session.workers, self.folder / LAST
        self.rounds.append(session.version)
        with agreed(workers):
            if workers.first:
                with replacing(last) as aside:
                    self._write(aside, trainer, workers, data)
                    if last.exists():
                        atomically(self.folder / RESUME / PREVIOUS, lambda path: link(last, path))
            else:
                own = self.folder / last_of(workers.rank, session.version)
                self._write(own, trainer, workers, data)
        with suppress(OSError):
            self._tidy(session, data)

    def _write(self, path: Path, trainer: Trainer, workers: Workers, data: RolloutData) -> None:
        """Writes what this worker goes on from to ``path``, and what that relies on; nothing of it
        stays where one of the workers cannot."""
        try:
            with agreed(workers):
                if data.segments and data.memory is not None:
                    data.segments.write(None if data.finished else data.memory)
                if self.metrics.file is not None:
                    self.metrics.file.flush()
                    self._save_best()
                sealed.save(trainer._checkpoint_connector.dump_checkpoint(), path)
                flush(path)
        except OSError:
            path.unlink(missing_ok=True)
            if data.segments:
                data.segments.undo()
            raise

    def _save_best(self) -> None:
        if self.best is not None:
            best = self.best
            atomically(self.folder / BEST, lambda path: sealed.save(best, path))
            self.best = None

    def _tidy(self, session: Session, data: RolloutData) -> None:
        """Deletes what is older than the checkpoint before this one."""
        rank = session.workers.rank
        needed = {last_of(rank, version) for version in self.rounds[data.finished :]}
        for path in self.folder.glob(last_of(rank, "*")):
            if path.name not in needed:
                path.unlink()
        if data.segments:
            data.segments.tidy()
        self.rounds = [session.version]


def link(old: Path, new: Path) -> None:
    """Gives a file a second name, which is then its own."""
    new.unlink(missing_ok=True)
    os.link(old, new)


@contextmanager
def agreed(workers: Workers) -> Iterator[None]:
    """Raises OSError to all workers where one of them raises it in the block."""
    trouble: OSError | None = None
    try:
        yield
    except OSError as error:
        trouble = error
    if workers.any(trouble is not None):
        raise trouble or OSError("another worker could not write its own")


def refuse_broken(session: Session, frame: int) -> None:
    """Raises DivergedError where a weight, or a statistic, is not finite."""
    for name, value in session.tensors().items():
        if not math.isfinite(value.sum()) and not value.isfinite().all():  # a sum may overflow
            raise DivergedError(f"{name} is not finite after the update at frame {frame}", CALMER)
