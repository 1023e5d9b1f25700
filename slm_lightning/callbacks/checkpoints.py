"""The best policy, and what a session goes on from."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer

from slm_lightning.callbacks.after_round import AfterRound
from slm_lightning.callbacks.metric_log import CALMER, MetricLog
from slm_lightning.data.rollout_data import RolloutData
from slm_lightning.errors import DivergedError
from slm_lightning.files import atomically
from slm_lightning.session import Session

CHECKPOINT_SECONDS = 30.0
CHECKPOINT_SHARE = 0.05
"""Of the time of a session, at most this much goes into writing checkpoints."""
BEST, LAST = "ckpt-best.ckpt", "ckpt-last.ckpt"


class Checkpoints(AfterRound):
    """``ckpt-best`` (highest total_reward_ma) and ``ckpt-last``, each written whole or not at all.

    The best policy is held in memory and goes to disk with ckpt-last: every 30 seconds (less often
    where a large replay memory makes that slow), when the session is asked to stop, and at its
    end. Raises DivergedError instead of keeping weights that are not finite.

    Of several workers each writes its own ckpt-last, since each has environments and a memory of its
    own; the first comes last, and only with its file do those of the same round count.
    """

    def __init__(self, folder: Path, metrics: MetricLog):
        self.folder, self.metrics = folder, metrics
        self.best: dict[str, Any] | None = None
        self.pause = CHECKPOINT_SECONDS

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.written = time.monotonic()

    def after_round(self, trainer: Trainer, session: Session, data: RolloutData) -> None:
        late = session.workers.any(time.monotonic() - self.written >= self.pause)
        due = late or data.finished or trainer.should_stop
        if due or self.metrics.improved:
            _refuse_broken(session, data.frame)
        if self.metrics.improved and session.workers.first:
            state = {key: value.clone() for key, value in session.state_dict().items()}
            self.best = {
                "state_dict": state,
                "frame": data.frame,
                "total_reward_ma": self.metrics.total_reward_ma,
            }
        if due:
            self._save(trainer, session)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._save_best()

    def _save_best(self) -> None:
        if self.best is not None:
            best = self.best
            atomically(self.folder / BEST, lambda path: torch.save(best, path))
            self.best = None

    def _save(self, trainer: Trainer, session: Session) -> None:
        begun, rank = time.monotonic(), session.workers.rank
        if self.metrics.file is not None:
            self._save_best()
            os.fsync(self.metrics.file.fileno())
            atomically(self.folder / LAST, trainer.save_checkpoint)  # which waits for the others
        else:
            trainer.save_checkpoint(self.folder / last_of(rank, session.version))
        session.workers.wait()
        for old in self.folder.glob(last_of(rank, "*")):
            if old.name != last_of(rank, session.version):
                old.unlink()
        self.written = time.monotonic()
        self.pause = max(CHECKPOINT_SECONDS, (self.written - begun) / CHECKPOINT_SHARE)


def last_of(rank: int, version: int | str) -> str:
    """Name of the ckpt-last of worker ``rank`` (but the first) that belongs to round ``version``."""
    return f"ckpt-last.worker-{rank}.round-{version}.ckpt"


def _refuse_broken(session: Session, frame: int) -> None:
    for name, value in session.state_dict().items():
        if not value.isfinite().all():
            raise DivergedError(f"{name} is not finite after the update at frame {frame}", CALMER)
