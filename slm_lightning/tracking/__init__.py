"""Everything that knows MLflow.

One process, the parent, talks to MLflow. Sessions run in processes of their own and only append rows
to ``metrics.jsonl`` in their working folder; ``Record.deliver`` carries these into MLflow.
"""

import os

for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # what goes wrong is said once, by this package
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # with MLflow's own 120 s and 7, a dead server costs 4 min
}.items():
    os.environ.setdefault(_name, _value)

from slm_lightning.tracking.courier import Courier  # noqa: E402
from slm_lightning.tracking.folder import LockedError  # noqa: E402
from slm_lightning.tracking.query import RunInfo  # noqa: E402
from slm_lightning.tracking.record import Record, flatten  # noqa: E402
from slm_lightning.tracking.ui import serve  # noqa: E402

__all__ = ["Courier", "LockedError", "Record", "RunInfo", "flatten", "serve"]
