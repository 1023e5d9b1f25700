"""Giving a session up early: what a search asks of it at some frames, and what becomes of it there.

What is asked is known before the session starts, so where it ends depends on nothing that runs beside
it, and it can run on any machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer

from slm_lightning.callbacks import AfterRound, MetricLog
from slm_lightning.data.rollout_data import RolloutData
from slm_lightning.lab.running.job import Rung
from slm_lightning.session import Session


class Rungs(AfterRound):
    """Ends the session at the first of ``rungs`` that it misses. Comes behind ``log`` in the list of
    callbacks and before the checkpoints, which then hold that it was missed."""

    def __init__(self, rungs: Sequence[Rung], log: MetricLog):
        self.rungs, self.metrics = list(rungs), log
        self.passed = 0
        """The frame of the latest rung that it passed."""
        self.missed = ""
        """Why the session ended; empty where it goes on."""

    def after_round(self, trainer: Trainer, session: Session, data: RolloutData) -> None:
        for row in self.metrics.rows:
            for rung in self.rungs:
                if self.passed < rung.frame <= row["frame"] and rung.metric in row:
                    self._judge(rung, row)
                if self.missed:
                    trainer.should_stop = True
                    return

    def _judge(self, rung: Rung, row: dict[str, float]) -> None:
        value = row[rung.metric]
        self.passed = rung.frame
        if value > rung.bound if rung.minimize else value < rung.bound:
            than = "above" if rung.minimize else "below"
            self.missed = (
                f"{rung.metric} {value:.4g} at frame {row['frame']:.0f} is {than} {rung.bound:.4g}"
            )

    def missed_in(self, checkpoint: Path) -> bool:
        """Whether the session that left ``checkpoint`` ended at a rung; it is then not run again."""
        saved = torch.load(checkpoint, weights_only=True, mmap=True)["callbacks"]
        self.missed = saved.get(self.state_key, {}).get("missed", "")
        return bool(self.missed)

    def state_dict(self) -> dict[str, Any]:
        return {"passed": self.passed, "missed": self.missed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.passed, self.missed = state["passed"], state["missed"]
