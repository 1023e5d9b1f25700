"""What the fork server imports in these tests: sessions that write checkpoints all the time."""

from __future__ import annotations

import slm_lightning.lab.running.worker
from slm_lightning.callbacks import checkpoints

checkpoints.CHECKPOINT_SECONDS = 0.05
checkpoints.CHECKPOINT_SHARE = 1.0

__all__ = ["slm_lightning"]
