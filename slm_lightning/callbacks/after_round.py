"""The moment between two rounds."""

from __future__ import annotations

from typing import Any

from lightning import Callback, LightningModule, Trainer

from slm_lightning.data.rollout_data import RolloutData
from slm_lightning.session import Session


class AfterRound(Callback):
    """A callback that acts between rounds, not between all of them."""

    def after_round(self, trainer: Trainer, session: Session, data: RolloutData) -> None:
        """Called when the agent has learned from a round, or from several short ones: always where a
        row of the record is due, and at the end."""
        raise NotImplementedError

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Session)
        self.after_round(trainer, pl_module, pl_module.data)
