"""Everything that knows MLflow.

One process, the parent, talks to MLflow. Sessions run in processes of their own and only append rows
to ``metrics.jsonl`` in their working folder; ``Record.deliver`` carries these into MLflow.
"""

from slm_lightning.tracking import settings

settings.apply()

from slm_lightning.tracking.courier import Courier, sync  # noqa: E402
from slm_lightning.tracking.creation import flatten  # noqa: E402
from slm_lightning.tracking.journal import read_rows  # noqa: E402
from slm_lightning.tracking.pages import save_trials_view  # noqa: E402
from slm_lightning.tracking.query import COMPILED, ORIGIN, PUBLISHED, RESOLVED, RunInfo  # noqa: E402
from slm_lightning.tracking.record import Record  # noqa: E402
from slm_lightning.tracking.ui import serve  # noqa: E402

__all__ = [
    "COMPILED",
    "ORIGIN",
    "PUBLISHED",
    "RESOLVED",
    "Courier",
    "Record",
    "RunInfo",
    "flatten",
    "read_rows",
    "save_trials_view",
    "serve",
    "sync",
]
