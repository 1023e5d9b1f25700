"""A real PostgreSQL server for tests, in a folder of its own, gone when they are."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import needs
from tests.tracking.support import free_port

USER, PASSWORD = "lab", "Pa55-w@rd%"
ACCOUNT = "postgres"
"""Whom the server runs as where the tests run as root, which it refuses."""
NOT_INSTALLED = "PostgreSQL is not installed: apt-get install postgresql"


class Postgres:
    """A running server with one user, who owns all of it."""

    def __init__(self, tools: Path, folder: Path):
        self.tools, self.folder, self.port = tools, folder, free_port()
        self._databases = 0

    def start(self) -> None:
        """Starts the server with the data that it has."""
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
        options = " ".join(f"-c {key}={value}" for key, value in settings.items())
        log = str(self.folder / "log")
        self._run("pg_ctl", "-w", "-l", log, "-o", f"{options} -c fsync=off", "start")

    def stop(self) -> None:
        """Stops the server, whoever is connected."""
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def create(self) -> None:
        """Makes the folder of its data. Only who has the password gets in."""
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        options = ["-A", "scram-sha-256", "-U", USER, "--pwfile", str(secret), "--no-sync"]
        if os.geteuid() == 0:
            for path in (self.folder, secret):
                shutil.chown(path, ACCOUNT)
        self._run("initdb", "--no-locale", "-E", "UTF8", *options)

    def database(self) -> str:
        """A new database; its name."""
        self._databases += 1
        name = f"studies_{self._databases}"
        self.sql(f"create database {name}")
        return name

    def url(self, database: str, user: str = USER, password: str = PASSWORD) -> str:
        """The address of a database, as a user writes it."""
        quoted = password.replace("%", "%25").replace("@", "%40")
        return f"postgresql://{user}:{quoted}@127.0.0.1:{self.port}/{database}"

    def sql(self, statement: str, database: str = "postgres") -> list[tuple]:
        """Executes one statement; the rows that it gives."""
        import psycopg

        url = self.url(database)
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _run(self, tool: str, *arguments: str) -> None:
        command = [str(self.tools / tool), "-D", str(self.folder / "data"), *arguments]
        user = ACCOUNT if os.geteuid() == 0 else None
        subprocess.run(
            command, cwd=self.folder, user=user, check=True, stdout=subprocess.DEVNULL, timeout=60
        )


@contextmanager
def serving() -> Iterator[Postgres]:
    """A new server, which listens on this machine alone. Skips the test where PostgreSQL or its driver
    is not installed, but not in CI."""
    needs("psycopg", "postgres")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = shutil.which("initdb") or (str(found[-1]) if found else None)
    if initdb is None or (os.geteuid() == 0 and not _is_known(ACCOUNT)):
        if os.environ.get("CI") == "true":
            pytest.fail(NOT_INSTALLED)
        pytest.skip(NOT_INSTALLED)
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as folder:
        server = Postgres(Path(initdb).parent, Path(folder))
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _is_known(account: str) -> bool:
    return any(entry.pw_name == account for entry in pwd.getpwall())
