"""How MLflow is to behave; said in environment variables, because that is where it looks."""

import logging
import os

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # what goes wrong is said once, by this package
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # with MLflow's own 120 s and 7, a dead server costs 4 min
}


def apply() -> None:
    """Sets what the user has not set. Telemetry and logging heed it when mlflow is imported."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # warns of every retry
