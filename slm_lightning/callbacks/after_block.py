"""The moment between two blocks."""

from __future__ import annotations

from typing import Any

from lightning import Callback, LightningModule, Trainer

from slm_lightning.data.rollout_data import RolloutData
from slm_lightning.session import Session


class AfterBlock(Callback):
    """A callback that acts between blocks of rounds."""

    def after_block(self, trainer: Trainer, session: Session, data: RolloutData) -> None:
        """Called when the agent has learned from the rounds of a block."""
        raise NotImplementedError

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Session)
        self.after_block(trainer, pl_module, pl_module.data)
