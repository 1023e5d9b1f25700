"""Real stores: a SQLite file per test, and one MLflow server for all of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from slm_lightning.tracking import Record
from slm_lightning.tracking.ui import server
from tests.tracking.support import Relay, free_port


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's schema, made once because that takes seconds."""
    record = Record(tmp_path_factory.mktemp("template") / "mlruns")
    _ = record.client
    return record.database


@pytest.fixture
def root(tmp_path: Path, empty_database: Path) -> Path:
    root = tmp_path / "mlruns"
    root.mkdir()
    with (
        closing(sqlite3.connect(empty_database)) as source,
        closing(sqlite3.connect(root / "mlflow.db")) as target,
    ):
        source.backup(target)
    return root


@pytest.fixture
def record(root: Path) -> Record:
    return Record(root)


@pytest.fixture(scope="session")
def server_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server(Record(tmp_path_factory.mktemp("server")), free_port()) as running:
        yield running.address


@pytest.fixture
def relay(server_address: str) -> Iterator[Relay]:
    relay = Relay(server_address)
    yield relay
    relay.cut()
