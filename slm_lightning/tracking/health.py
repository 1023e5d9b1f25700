"""How the stores are, found out without opening them as MLflow does: that would change or need them."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from mlflow.exceptions import MlflowException

from slm_lightning.redact import redact
from slm_lightning.tracking.folder import RunFolder
from slm_lightning.tracking.store import ask_server, reason

BUSY_SECONDS = 2.0
"""How long a look into a database waits for its writer."""


@dataclass(frozen=True)
class DatabaseHealth:
    """What there is to say of a SQLite file."""

    damage: str
    """The first thing that is wrong with it; empty where it is whole."""
    size: int
    """In bytes, with what is not yet merged into it."""
    schema: str = "none"
    """The version that Alembic has written."""
    counts: tuple[int, ...] = ()
    """What the asked queries counted."""


@dataclass(frozen=True)
class Waiting:
    """What lies in the working folders of runs without an owner."""

    runs: int
    values: int


def database_health(path: Path, *queries: str) -> DatabaseHealth:
    """Checks the whole of a SQLite file, and makes ``queries`` that count something. Raises
    ``FileNotFoundError``."""
    files = [path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))]
    size = sum(file.stat().st_size for file in files if file == path or file.exists())
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, BUSY_SECONDS, uri=True)) as database:
            (said,) = database.execute("pragma quick_check(1)").fetchone()
            if said != "ok":
                return DatabaseHealth(said, size)
            (schema,) = database.execute("select version_num from alembic_version").fetchone()
            counts = tuple(database.execute(query).fetchone()[0] for query in queries)
    except sqlite3.Error as error:
        return DatabaseHealth(str(error), size)
    return DatabaseHealth("", size, schema, counts)


def without_owner(database: Path, root: Path) -> int:
    """Runs that a database says are RUNNING, and no process works on. 0 where it cannot be read."""
    running = "select run_uuid from runs where status = 'RUNNING' and lifecycle_stage = 'active'"
    try:
        uri = f"{database.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, BUSY_SECONDS, uri=True)) as connection:
            ids = [run_id for (run_id,) in connection.execute(running)]
    except sqlite3.Error:
        return 0
    return sum(not RunFolder(root / "runs" / run_id).has_owner for run_id in ids)


def waiting(root: Path) -> Waiting:
    """What waits in the working folders below ``root``."""
    folders = [RunFolder(path) for path in root.glob("runs/*")]
    counts = [folder.pending for folder in folders if not folder.has_owner]
    return Waiting(sum(count > 0 for count in counts), sum(counts))


def server_health(uri: str) -> tuple[bool, str]:
    """Whether a server answers, and its version or what is wrong."""
    try:
        ask_server(uri, "/health")
        return True, ask_server(uri, "/version")
    except MlflowException as error:
        return False, redact(reason(error))


def is_writable(folder: Path) -> bool:
    """Whether something can be made in ``folder``, or in the first folder above it that is there."""
    place = next(path for path in (folder, *folder.parents) if path.exists())
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK)
