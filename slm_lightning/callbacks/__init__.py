"""What happens between rounds of a session: evaluation, rows of the record, checkpoints, progress.

None of them touches what training depends on.
"""

from slm_lightning.callbacks.after_round import AfterRound
from slm_lightning.callbacks.checkpoints import CHECKPOINT_SHARE, Checkpoints
from slm_lightning.callbacks.evaluation import Evaluation
from slm_lightning.callbacks.going_on import newest_whole
from slm_lightning.callbacks.metric_log import MetricLog
from slm_lightning.callbacks.progress import Progress

__all__ = [
    "CHECKPOINT_SHARE",
    "AfterRound",
    "Checkpoints",
    "Evaluation",
    "MetricLog",
    "Progress",
    "newest_whole",
]
