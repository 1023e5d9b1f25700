"""Opening the store that holds the record: a SQLite file in ``mlruns/``, or an MLflow server."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request
from sqlalchemy import create_engine, make_url
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from slm_lightning.errors import StorageError
from slm_lightning.redact import redact
from slm_lightning.tracking import settings
from slm_lightning.tracking.folder import file_lock, is_taken

PROBE_SECONDS = 4
"""How long a server may take to answer the first request."""
DAMAGED = re.compile("not a database|malformed|disk I/O error|no such table|no such column")
"""What SQLite says of a file that is not whole."""


class Store:
    """Where runs are recorded: ``root`` (always absolute) with the working folders and, for the
    default store, the database ``mlflow.db`` and ``artifacts/``.

    ``root`` is the argument, else ``SLM_MLRUNS``, else ``./mlruns``; the store is ``uri``, else
    ``MLFLOW_TRACKING_URI``, else the database in ``root``, which is not created before the first run.
    Raises ``StorageError`` where an existing database does not open; a server is asked by ``reach``.
    """

    def __init__(self, root: Path | None = None, uri: str | None = None):
        settings.apply()
        self.root, self.uri, self.is_local = locate(root, uri)
        self.database = self.root / "mlflow.db"
        self.is_server = self.uri.startswith(("http://", "https://"))
        self._reached = False
        if self.exists and not self.is_server:
            _ = self.client

    def __str__(self) -> str:
        return str(self.root) if self.is_local else redact(self.uri)

    @property
    def exists(self) -> bool:
        """False for the default store before its first run."""
        return not self.is_local or self.database.exists()

    @cached_property
    def client(self) -> MlflowClient:
        """The connection. Creates the default store where there is none yet."""
        if self.is_server:
            return MlflowClient(self.uri)
        is_new = not self.root.exists()
        with self.guard(), self.lock("schema"):
            if is_new:
                (self.root / ".gitignore").write_text("*\n", encoding="utf-8")
            _check_database(self.uri)
            return MlflowClient(self.uri)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Alone, among all processes with this root, at what is called ``name``."""
        with file_lock(self.root / f"{name}.lock"):
            yield

    def is_busy(self, name: str) -> bool:
        """Whether somebody is at what is called ``name``."""
        return is_taken(self.root / f"{name}.lock")

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Turns what MLflow and its database raise into ``StorageError``."""
        try:
            yield
        except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ImportError) as error:
            raise StorageError(
                f"the record at {self} cannot be used: {reason(error)}", self._hint(error)
            ) from error

    def experiment_id(self, name: str) -> str:
        """The id of experiment ``name``, which is created where there is none."""
        with self.guard():
            found = self.client.get_experiment_by_name(name)
            if found is None:
                place = None if self.is_server else str(self.root / "artifacts" / slug(name))
                try:
                    return self.client.create_experiment(name, artifact_location=place)
                except MlflowException as error:
                    if error.error_code != "RESOURCE_ALREADY_EXISTS":
                        raise
                    found = self.client.get_experiment_by_name(name)
        if found is None or found.lifecycle_stage == "deleted":
            raise StorageError(
                f'experiment "{name}" was deleted in MLflow',
                hint="restore it there (mlflow experiments restore), or give the spec another name",
            )
        return found.experiment_id

    def experiments(self) -> dict[str, str]:
        """Name by id of every experiment that is not deleted."""
        if not self.exists:
            return {}
        names: dict[str, str] = {}
        token = None
        with self.guard():
            while True:
                page = self.client.search_experiments(ViewType.ACTIVE_ONLY, 1000, page_token=token)
                names |= {experiment.experiment_id: experiment.name for experiment in page}
                token = page.token
                if not token:
                    return names

    def reach(self, seconds: float | None = None) -> None:
        """One quick question to a server that has not answered yet, of which MLflow's own requests
        wait much longer: at most ``seconds``, default ``PROBE_SECONDS``. Raises ``StorageError``."""
        if self._reached or not self.is_server:
            return
        try:
            ask_server(self.uri, "/health", seconds)
        except MlflowException as error:
            sentence = f"the MLflow server at {self} does not answer"
            raise StorageError(sentence, self._hint(error)) from error
        self._reached = True

    def _hint(self, error: Exception) -> str:
        kept = self.root / "runs"
        if self.is_server:
            waits = f"; what runs have written meanwhile waits in {kept}" if kept.is_dir() else ""
            return f"start the server, or unset MLFLOW_TRACKING_URI to record in ./mlruns{waits}"
        if DAMAGED.search(str(error)):
            return (
                f"move {self.database.name} and the files beside it that begin with this name away; put"
                f" a backup in their place, or begin anew. Artifacts and what waits in {kept} are kept"
            )
        return (
            "check that the folder is writable and the file whole, or set SLM_MLRUNS to another folder"
        )


def ask_server(uri: str, page: str, seconds: float | None = None) -> str:
    """What a server says on a ``page``, within ``seconds``, default ``PROBE_SECONDS``. Raises
    ``MlflowException``."""
    credentials = get_default_host_creds(uri)
    wait = seconds or PROBE_SECONDS
    answer = http_request(credentials, page, "GET", max_retries=0, timeout=wait)
    return str(answer.text).strip()


def locate(root: Path | None = None, uri: str | None = None) -> tuple[Path, str, bool]:
    """The root and the address of a store, and whether that is the database in the root; arguments as
    :class:`Store`."""
    root = Path(root or os.environ.get("SLM_MLRUNS") or "mlruns").absolute()
    default = "sqlite:///" + str(root / "mlflow.db").replace("%", "%25").replace("?", "%3F")
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or default
    return root, uri, uri == default


def slug(name: str) -> str:
    """``name`` as the name of a folder: ``[a-z0-9_.-]``, at most 64 characters."""
    return re.sub(r"[^a-z0-9_.-]+", "-", name.lower()).strip(".-")[:64] or "experiment"


def reason(error: BaseException) -> str:
    """The one line that says something of what MLflow and SQLAlchemy say in many; without secrets."""
    if re.match(r"API request to \S+ failed with (timeout )?exception", str(error)):
        return "the server does not answer"
    lines = [
        line for line in redact(str(error)).strip().splitlines() if not line.startswith("(raised as")
    ]
    return lines[0][:200] if lines else type(error).__name__


def is_passing(error: BaseException) -> bool:
    """Whether the same call may well be taken later: not where MLflow has looked at it and said no."""
    if isinstance(error, StorageError):
        return error.__cause__ is not None and is_passing(error.__cause__)
    if isinstance(error.__cause__, SQLAlchemyError):
        return not isinstance(error.__cause__, IntegrityError)
    if isinstance(error, MlflowException):
        status = error.get_http_status_code()
    elif isinstance(error, FileNotFoundError):
        return False
    else:
        status = getattr(getattr(error, "response", None), "status_code", 500)
    return status >= 500 or status in (401, 403, 408, 429)


def is_locked(error: BaseException) -> bool:
    """Whether another process keeps the database locked."""
    return "database is locked" in str(error)


def _check_database(uri: str) -> None:
    """Connects once, without the retries of MLflow's own start (100 s); puts SQLite into WAL mode,
    in which readers and the writer do not wait for each other."""
    if "://" not in uri or uri.startswith("file:"):
        raise StorageError(
            f'"{uri}" is a file store, which MLflow no longer writes',
            hint="use sqlite:///<absolute path>/mlflow.db or the address of an MLflow server",
        )
    url = make_url(uri)
    if url.get_backend_name() != "sqlite" or not url.database:
        create_engine(url).connect().close()
        return
    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(url.database, timeout=60)) as connection:
        connection.execute("pragma journal_mode=wal").fetchall()
        connection.execute("select count(*) from sqlite_master").fetchall()
