"""What those who watch a session hear, and how they stop it."""

from __future__ import annotations

import time
from collections.abc import Callable

from lightning import Trainer

from slm_lightning.callbacks.after_round import AfterRound
from slm_lightning.callbacks.metric_log import MetricLog
from slm_lightning.data.rollout_data import RolloutData
from slm_lightning.session import Session


class Progress(AfterRound):
    """Tells whoever watches how far the session is, at most five times a second; and stops the
    session after the current round when ``stop()`` says so to any of its workers, or the round is
    ``last_block``."""

    def __init__(
        self,
        metrics: MetricLog,
        report: Callable[[int, float], None],
        stop: Callable[[], bool],
        last_block: int | None = None,
    ):
        self.metrics, self.report, self.stop = metrics, report, stop
        self.last_block = last_block
        self.told = 0.0

    def after_round(self, trainer: Trainer, session: Session, data: RolloutData) -> None:
        now = time.monotonic()
        if now - self.told >= 0.2 or data.finished:
            self.told = now
            self.report(data.frame, self.metrics.total_reward_ma)
        if self.last_block and data.rounds >= self.last_block:
            trainer.should_stop = True
        trainer.should_stop = session.workers.any(trainer.should_stop or self.stop())
