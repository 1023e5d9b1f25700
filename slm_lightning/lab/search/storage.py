"""Where studies are kept: a SQLite file beside the record, or a PostgreSQL database that many machines
share.

Any number of processes may open an empty storage at once. Optuna alone does not survive that: each of
them finds no tables and makes them, and all but the first fail. Here they wait for each other.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from slm_lightning.errors import MissingError, StorageError
from slm_lightning.tracking.folder import file_lock
from slm_lightning.tracking.health import database_health

BUSY_SECONDS = 60
"""How long a process waits for another one that writes into the same SQLite file."""
CONNECT_SECONDS = 10
"""How long a PostgreSQL server may take to answer."""
ADVISORY_LOCK = int.from_bytes(b"optuna")
"""The number of the lock under which tables are made in a PostgreSQL database."""

FORM = "write postgresql://USER:PASSWORD@HOST/DATABASE or sqlite:////absolute/path.db"
HINTS = {
    "refused|timed? ?out|timeout|resolve|No such file|unreachable|closed|terminat|starting up|shutting":
        "start the PostgreSQL server, or correct host and port",
    "password":
        "give user and password in SLM_STORAGE, or the password in PGPASSWORD or ~/.pgpass",
    "database .* does not exist":
        "make the database (createdb NAME), or correct its name",
    "permission denied":
        "let the user own the database: alter database NAME owner to USER",
    "too many|remaining connection":
        "raise max_connections of the server, or run fewer searches at once",
}  # fmt: skip
"""What to do about what a PostgreSQL server or its driver says."""


def open_storage(url: str | None, root: Path) -> RDBStorage:
    """The storage at ``url``, else at ``SLM_STORAGE``, else in ``root/optuna.db``; made where there is
    none yet.

    Raises StorageError where the storage cannot be used, MissingError without a driver for it.
    """
    address = locate(url, root)
    with guard(address):
        is_file = address.get_backend_name() == "sqlite"
        return _open_sqlite(address) if is_file else _open_postgresql(address)


def look_at(url: str | None, root: Path) -> str:
    """Where the storage is and how it stands, which changes nothing. Raises as :func:`open_storage`."""
    address = locate(url, root)
    place = masked(address)
    with guard(address):
        if address.get_backend_name() != "sqlite":
            engine = create_engine(address, connect_args={"connect_timeout": CONNECT_SECONDS})
            with engine.connect() as connection:
                return f"{place}, {connection.execute(text('show server_version')).scalar()}"
        file = Path(place)
        if not file.exists():
            return "none; the first search makes it"
        found = database_health(file, "select count(*) from studies", "select count(*) from trials")
    if found.damage:
        raise StorageError(
            f"the storage at {place} cannot be used: {found.damage}", _hint(address, found.damage)
        )
    return f"{place} is whole, {found.counts[0]} studies with {found.counts[1]} trials"


def locate(url: str | None, root: Path) -> URL:
    """The address of that storage. Raises StorageError for an address that is none."""
    given = url or os.environ.get("SLM_STORAGE")
    if not given:
        return URL.create("sqlite", database=str(root.absolute() / "optuna.db"))
    try:
        address = make_url(re.sub("^postgres:", "postgresql:", given))
    except (SQLAlchemyError, ValueError):  # whose message may hold the password
        raise StorageError("the address of the storage cannot be read", FORM) from None
    if "@" in (address.host or ""):
        raise StorageError("the address of the storage has more than one @", "write %40 in a password")
    kind = address.get_backend_name()
    if kind == "sqlite" and address.database:
        return address.set(database=str(Path(address.database).absolute()))
    if kind == "postgresql" and address.database:
        return address.set(drivername="postgresql+psycopg")
    raise StorageError(f"no studies can be kept at {masked(address)}", FORM)


def masked(address: URL) -> str:
    """The address without its password and driver, for the record and for messages."""
    kind = address.get_backend_name()
    if kind == "sqlite":
        return str(address.database)
    public = {key: value for key, value in address.query.items() if "password" not in key}
    parts = address.username, None, address.host, address.port, address.database, public
    return URL.create(kind, *parts).render_as_string()


@contextmanager
def guard(address: URL) -> Iterator[None]:
    """Turns what goes wrong with the storage at ``address`` into one sentence."""
    try:
        yield
    except ImportError as error:
        sentence = f"a storage at {masked(address)} needs the driver psycopg"
        raise MissingError(sentence, 'pip install "slm-lightning[postgres]"') from error
    except (SQLAlchemyError, StorageInternalError, sqlite3.Error, OSError) as error:
        said = _reason(error)
        sentence = f"the storage at {masked(address)} cannot be used: {said}"
        raise StorageError(sentence, _hint(address, said)) from error


def guarded(storage: BaseStorage) -> AbstractContextManager[None]:
    """The same for whatever is done with an open storage."""
    if not isinstance(storage, RDBStorage):
        return nullcontext()
    return guard(make_url(storage.url))


def _reason(error: BaseException) -> str:
    """The part of a message that says what is wrong, without statements and their values."""
    if isinstance(error, StorageInternalError):
        error = error.__cause__ or error
    lines = str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__]
    attempts = [line for line in lines if "failed: " in line]  # one for each address of a host
    line = attempts[-1] if attempts else lines[0]
    return line.rpartition("failed: ")[2].removeprefix("FATAL:").strip()


def _hint(address: URL, said: str) -> str:
    if address.get_backend_name() == "sqlite":
        return "check that its folder is writable and the file whole, or name another storage"
    fitting = (hint for pattern, hint in HINTS.items() if re.search(pattern, said))
    return next(fitting, "look into the log of the PostgreSQL server")


def _open_sqlite(address: URL) -> RDBStorage:
    path = Path(str(address.database))
    with file_lock(path.with_suffix(".lock")):
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as connection:
            connection.execute("pragma journal_mode=wal").fetchall()  # readers do not wait
        return _storage(address, timeout=BUSY_SECONDS)


def _open_postgresql(address: URL) -> RDBStorage:
    engine = create_engine(address, connect_args={"connect_timeout": CONNECT_SECONDS})
    try:
        with engine.begin() as transaction:  # the lock is given back with it
            transaction.execute(text("select pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
            return _storage(address, connect_timeout=CONNECT_SECONDS)
    finally:
        engine.dispose()


def _storage(address: URL, **connect: int) -> RDBStorage:
    url = address.render_as_string(hide_password=False)
    try:
        return RDBStorage(url, {"connect_args": connect, "pool_pre_ping": True})
    except RuntimeError as error:
        raise StorageError(
            f"the storage at {masked(address)} was made by another version of Optuna",
            "name another storage, or bring this one up to date with optuna storage upgrade",
        ) from error
