"""Studies in SQLite files and in a real PostgreSQL: many processes at once, and what goes wrong."""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import sqlite3
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from sqlalchemy import make_url

from slm_lightning.errors import MissingError, StorageError
from slm_lightning.lab.search.storage import guard, locate, masked, open_storage
from tests.lab.postgres import PASSWORD, Postgres, serving
from tests.lab.studies import prepare, work

PROCESSES = 4
NOBODY = 65534


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def together() -> Iterator[ProcessPoolExecutor]:
    """Processes that have imported everything and then go off at once."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROCESSES)
    with ProcessPoolExecutor(PROCESSES, context, prepare, (barrier,)) as pool:
        yield pool


@pytest.mark.parametrize("rounds", [3, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_processes_start_at_once_on_an_empty_storage(
    kind: str,
    rounds: int,
    together: ProcessPoolExecutor,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    for turn in range(rounds):
        root, url = tmp_path / str(turn), None
        if kind == "postgresql":
            server: Postgres = request.getfixturevalue("postgres")
            url = server.url(server.database())
        going = [together.submit(work, url, root) for _ in range(PROCESSES)]
        numbers = [future.result(timeout=60) for future in going]
        assert [own for own, *_ in numbers] == [0] * PROCESSES
        assert sorted(n for _, *shared in numbers for n in shared) == [*range(2 * PROCESSES)]
        storage = open_storage(url, root)
        shared = optuna.load_study(storage=storage, study_name="shared")
        assert [trial.state.name for trial in shared.trials] == ["COMPLETE"] * 2 * PROCESSES
        assert len(storage.get_all_studies()) == PROCESSES + 1
        storage.engine.dispose()


def test_where_the_storage_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert masked(locate(None, Path("mlruns"))) == str(tmp_path / "mlruns" / "optuna.db")
    monkeypatch.setenv("SLM_STORAGE", "sqlite:///elsewhere.db")
    assert masked(locate(None, Path("mlruns"))) == str(tmp_path / "elsewhere.db")
    given = locate("postgres://lab:secret@host/studies", Path("mlruns"))
    assert given.drivername == "postgresql+psycopg" and given.password == "secret"


def test_a_study_is_there_again(tmp_path: Path) -> None:
    root = tmp_path / "a %41 {x} ?q#z@é"
    study = optuna.create_study(storage=open_storage(None, root), study_name="run id")
    study.enqueue_trial({"x": 0.5})
    trial = study.ask()
    study.tell(trial, trial.suggest_float("x", 0, 1))
    assert (root / "optuna.db").is_file()
    again = optuna.load_study(storage=open_storage(None, root), study_name="run id")
    assert (again.best_value, again.best_params) == (0.5, {"x": 0.5})
    with closing(sqlite3.connect(root / "optuna.db")) as database:
        assert database.execute("pragma journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://lab:secret@host:5433/studies", "postgresql://lab@host:5433/studies"),
        ("postgresql+psycopg://lab@host/studies", "postgresql://lab@host/studies"),
        ("postgresql://host/studies?sslmode=require&password=secret&sslpassword=secret",
         "postgresql://host/studies?sslmode=require"),
        ("sqlite:////tmp/studies.db", "/tmp/studies.db"),
    ],
)  # fmt: skip
def test_an_address_without_its_secrets(url: str, shown: str) -> None:
    assert masked(make_url(url)) == shown


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("secret", "the address of the storage cannot be read"),
        ("postgresql://lab:x@host:secret/studies", "the address of the storage cannot be read"),
        ("postgresql://lab:x@secret@host/studies", "the address of the storage has more than one @"),
        ("postgresql://lab:secret@host", "no studies can be kept at postgresql://lab@host"),
        ("mysql://lab:secret@host/studies", "no studies can be kept at mysql://lab@host/studies"),
        ("sqlite://", "no studies can be kept at"),
    ],
)
def test_an_address_that_is_none(url: str, sentence: str, tmp_path: Path) -> None:
    error = refusal(url, tmp_path)
    assert str(error).startswith(sentence)
    assert "secret" not in told(error)


WRONG = "wr0ng-pa55"


@pytest.fixture(scope="module")
def visitors(postgres: Postgres) -> None:
    """``guest`` may connect and no more, ``late`` not even that."""
    for name, limit in (("guest", -1), ("late", 0)):
        postgres.sql(f"create role {name} login password '{PASSWORD}' connection limit {limit}")


@pytest.mark.usefixtures("visitors")
@pytest.mark.parametrize(
    ("change", "said", "hint"),
    [
        ({"password": WRONG}, 'password authentication failed for user "lab"', "in SLM_STORAGE"),
        ({"password": ""}, "no password supplied", "in PGPASSWORD"),
        ({"database": "nowhere"}, 'database "nowhere" does not exist', "createdb"),
        ({"username": "guest"}, "permission denied for schema public", "owner to"),
        ({"username": "late"}, 'too many connections for role "late"', "max_connections"),
        ({"port": 1}, "Connection refused", "start the PostgreSQL server"),
        ({"host": "nowhere.invalid"}, "failed to resolve host", "host and port"),
    ],
)
def test_what_a_server_refuses(
    change: dict[str, Any],
    said: str,
    hint: str,
    postgres: Postgres,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    url = make_url(postgres.url(postgres.database())).set(**change)
    with caplog.at_level(logging.DEBUG):
        error = refusal(url.render_as_string(hide_password=False), tmp_path)
    assert str(error).startswith(f"the storage at {masked(url)} cannot be used: ")
    assert said in str(error) and "\n" not in str(error)
    assert hint in error.hint
    for secret in (WRONG, PASSWORD, str(url.password or PASSWORD)):
        assert secret not in told(error) + caplog.text


def test_a_server_that_restarts_is_found_again(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.url(postgres.database())
    storage = open_storage(url, tmp_path)
    study = optuna.create_study(storage=storage)
    trial = study.ask()
    postgres.stop()
    with (
        pytest.raises(StorageError, match="Connection refused") as caught,
        guard(locate(url, tmp_path)),
    ):
        study.tell(trial, 1.0)
    assert "start the PostgreSQL server" in caught.value.hint
    postgres.start()
    study.tell(trial, 2.0)
    assert optuna.load_study(storage=open_storage(url, tmp_path), study_name=None).best_value == 2.0


def test_a_database_without_its_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingError) as caught:
        open_storage("postgresql://lab:secret@host/studies", tmp_path)
    assert str(caught.value) == "a storage at postgresql://lab@host/studies needs the driver psycopg"
    assert caught.value.hint == 'pip install "slm-lightning[postgres]"'


def damage(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


def occupy(path: Path) -> None:
    path.unlink()
    path.mkdir()


def outdate(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("update alembic_version set version_num = 'v0.9.0.a'")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (damage, "cannot be used: file is not a database"),
        (occupy, "cannot be used: unable to open database file"),
        (outdate, "was made by another version of Optuna"),
    ],
)
def test_a_file_that_is_no_storage(spoil: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    open_storage(None, tmp_path).engine.dispose()
    spoil(tmp_path / "optuna.db")
    error = refusal(None, tmp_path)
    assert str(error) == f"the storage at {tmp_path / 'optuna.db'} {said}"
    assert "name another storage" in error.hint


@pytest.fixture
def owned_by_another() -> Iterator[Path]:
    """A folder that everybody may read and only its owner may write into, who we are not."""
    folder = Path(tempfile.mkdtemp())
    open_storage(None, folder).engine.dispose()
    is_root = os.geteuid() == 0
    for path in (*folder.iterdir(), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    if is_root:  # whom no mode stops
        os.seteuid(NOBODY)
    yield folder
    if is_root:
        os.seteuid(0)
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_a_file_that_may_not_be_written(owned_by_another: Path) -> None:
    error = refusal(None, owned_by_another)
    assert "Permission denied" in str(error)
    assert "check that its folder is writable" in error.hint


def refusal(url: str | None, root: Path) -> StorageError:
    """Why the storage does not open."""
    with pytest.raises(StorageError) as caught:
        open_storage(url, root)
    assert caught.value.hint
    return caught.value


def told(error: StorageError) -> str:
    """All that anybody may come to see of an error."""
    return "".join(traceback.format_exception(error)) + error.hint
