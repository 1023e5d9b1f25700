"""A database that is locked or damaged, a full disk, torn files, names that are traps."""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from slm_lightning.errors import SpecError, StorageError, UsageError
from slm_lightning.spec.load import RawSpec
from slm_lightning.tracking import Record, creation, read_rows, sync
from slm_lightning.tracking.journal import Cursor, batches, unread
from slm_lightning.tracking.store import slug
from tests.support import REPOSITORY, wait_until
from tests.tracking.support import points, start, write


@pytest.fixture
def hasty(record: Record) -> Iterator[Record]:
    """A record that waits for a locked database a moment, and not the 20 s that MLflow sets."""

    def hurry(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> Any:
        is_patience = statement.startswith("PRAGMA busy_timeout")
        return ("PRAGMA busy_timeout = 50" if is_patience else statement), parameters

    event.listen(Engine, "before_cursor_execute", hurry, retval=True)
    yield record
    event.remove(Engine, "before_cursor_execute", hurry)


@contextmanager
def locked(record: Record) -> Iterator[sqlite3.Connection]:
    """Another program keeps the database locked."""
    database = record.root / "mlflow.db"
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("begin exclusive")
        yield connection


class TestLockedDatabase:
    def test_what_is_written_waits_and_arrives(self, hasty: Record, tmp_path: Path) -> None:
        run_id = start(hasty)
        (tmp_path / "spec.json").write_text("{}")
        with locked(hasty):
            write(hasty.folder(run_id), {"frame": 1, "loss": 1.0}, {"frame": 2, "loss": 2.0})
            assert hasty.deliver(run_id) == 2
            hasty.set_tags(run_id, {"slm.status": "done"})
            hasty.log_artifacts(run_id, tmp_path / "spec.json")
            assert hasty.finish(run_id, "FINISHED") == 5
        assert [done.delivered for done in sync(Record(hasty.root))] == [5]
        run = hasty.get(run_id)
        assert (run.status, run.tags["slm.status"]) == ("FINISHED", "done")
        assert points(hasty, run_id, "loss") == [(1, 1.0), (2, 2.0)]
        assert hasty.artifacts(run_id) == ["spec.json"]
        assert not hasty.working_folder(run_id).exists()

    def test_a_run_that_begins_waits_and_says_so(
        self, hasty: Record, caplog: pytest.LogCaptureFixture
    ) -> None:
        start(hasty)
        begun: list[str] = []
        with caplog.at_level(logging.WARNING), locked(hasty):
            thread = threading.Thread(target=lambda: begun.append(start(hasty, parent="a" * 32)))
            thread.start()
            wait_until(lambda: caplog.records, "it is said that the database is locked")
            assert not begun
        thread.join(60)
        assert hasty.get(begun[0]).status == "RUNNING"
        assert [record.message for record in caplog.records] == [
            f"the record at {hasty} is locked by another process; waiting"
        ]

    def test_in_the_end_it_gives_up(self, hasty: Record, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(creation, "LOCKED_SECONDS", 0.1)
        start(hasty)
        with locked(hasty), pytest.raises(StorageError, match="database is locked") as refused:
            start(hasty, parent="a" * 32)
        assert refused.value.exit_code == 6

    @pytest.mark.slow
    def test_ninety_seconds(self, record: Record) -> None:
        """With the patience that users have, and another process."""
        hold = "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        hold += "c.execute('begin exclusive'); print('locked', flush=True); time.sleep(90)"
        run_id = start(record)
        holder = subprocess.Popen(
            [sys.executable, "-c", hold, str(record.database)], stdout=subprocess.PIPE
        )
        assert holder.stdout and holder.stdout.readline()
        frames = 0
        while holder.poll() is None:
            frames += 1
            write(record.folder(run_id), {"frame": frames, "total_reward": float(frames)})
            record.deliver(run_id)
        record.pause(0)
        assert record.finish(run_id, "FINISHED") == 0
        assert points(record, run_id, "total_reward") == [(i, float(i)) for i in range(1, frames + 1)]


def test_a_damaged_database_names_itself_and_what_is_kept(record: Record) -> None:
    run_id = start(record)
    write(record.folder(run_id), {"frame": 1, "loss": 1.0})
    backup = record.root / "backup.db"
    with closing(sqlite3.connect(record.database)) as source, closing(sqlite3.connect(backup)) as copy:
        source.backup(copy)
    for end in ("-wal", "-shm"):
        Path(f"{record.database}{end}").unlink(missing_ok=True)
    record.database.write_bytes(b"no database" * 1000)
    record.set_tags(run_id, {"slm.status": "done"})
    assert record.finish(run_id, "FINISHED") == 3
    with pytest.raises(StorageError, match=f"{record.root} cannot .*: .*not a database") as refused:
        Record(record.root)
    assert "mlflow.db" in refused.value.hint and str(record.root / "runs") in refused.value.hint
    os.replace(backup, record.database)
    command = [sys.executable, "-m", "slm_lightning", "sync", "--json"]
    done = subprocess.run(command, text=True, capture_output=True, timeout=120)
    assert json.loads(done.stdout) == [{"run_id": run_id, "delivered": 3, "waiting": 0}], done.stderr
    later = sqlite3.connect(record.database)
    with closing(later):
        assert later.execute("select value from metrics where key = 'loss'").fetchall() == [(1.0,)]
        status = "select value from tags where key = 'slm.status'"
        assert later.execute(status).fetchall() == [("done",)]


FULL = """
import errno, os, shutil, sys
from pathlib import Path
from slm_lightning.errors import StorageError
from slm_lightning.tracking import Record, sync
from tests.tracking.support import points, start, write

disk, empty = map(Path, sys.argv[1:])
shutil.copytree(empty, disk / "mlruns")
record = Record(disk / "mlruns")
run_id = start(record)
folder = record.folder(run_id)
rows = [{"frame": i, "total_reward": i / 3} for i in range(2000)]
write(folder, *rows)
with (disk / "filler").open("wb", buffering=0) as filler:
    try:
        while True:
            filler.write(bytes(4096))
    except OSError as error:
        assert error.errno == errno.ENOSPC
assert record.deliver(run_id) == 2000, "no row counts as delivered"
record.pause(0)
try:
    for i in range(1000):
        record.set_tags(run_id, {"note": "x" * 4000 + str(i)})
except StorageError as error:
    assert error.exit_code == 6 and "No space left" in str(error), error
else:
    raise AssertionError("the disk was not full")
(disk / "filler").unlink()
record._folder(run_id).release()
later = Record(disk / "mlruns")
sync(later)
assert later.pending(run_id) == 0
assert points(later, run_id, "total_reward") == [(r["frame"], r["total_reward"]) for r in rows]
assert later.get(run_id).status == "KILLED"
"""


def test_a_full_disk_bricks_nothing(root: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("needs a small disk of its own: run the tests as root, with unshare installed")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = f'mount -t tmpfs -o size=4m none "$1" && exec {sys.executable} -c "$3" "$1" "$2"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mounted, "sh", str(disk), str(root), FULL],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        text=True,
        capture_output=True,
        timeout=120,
    )
    if "permission denied" in done.stderr.lower() and "mount" in done.stderr:
        pytest.skip("no tmpfs can be mounted here: run the tests where root may")
    assert done.returncode == 0, done.stderr


ROWS = [{"frame": i, "loss": 12.5 * i, "state": f"{i:016x}", "lr": -1.0} for i in range(5)]


class TestTornFiles:
    def test_a_journal_cut_at_any_byte_of_its_last_rows(self, tmp_path: Path) -> None:
        write(tmp_path, *ROWS)
        path = tmp_path / "metrics.jsonl"
        whole = path.read_bytes()
        lines = whole.splitlines(keepends=True)
        ends = [sum(map(len, lines[: i + 1])) for i in range(len(lines))]
        ((_, cursor),) = batches(unread(path, Cursor()), Cursor(), final=False)
        for cut in range(ends[2], len(whole) + 1):
            path.write_bytes(whole[:cut])
            complete = sum(end <= cut for end in ends)
            got = [{k: v for k, v in row.items() if k != "time"} for row in read_rows(path)]
            assert got == ROWS[:complete], cut
            assert len(unread(path, Cursor())) == complete
            assert unread(path, cursor) == [], "what was delivered is not sent again"

    def test_rows_that_follow_a_torn_one_are_whole(self, tmp_path: Path) -> None:
        write(tmp_path, *ROWS)
        path = tmp_path / "metrics.jsonl"
        whole = path.read_bytes()
        last = len(whole.splitlines(keepends=True)[-1])
        for cut in range(len(whole) - last + 1, len(whole)):
            path.write_bytes(whole[:cut] + b"\n" + whole[-last:])
            frames = [row["frame"] for row in read_rows(path)]
            assert frames in ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 4]), cut
            assert all(row.items() >= ROWS[row["frame"]].items() for row in read_rows(path))

    def test_a_cursor_cut_at_any_byte(self, tmp_path: Path) -> None:
        path = tmp_path / "cursor.json"
        write(tmp_path, *ROWS)
        lines = unread(tmp_path / "metrics.jsonl", Cursor())
        ((_, cursor),) = batches(lines, Cursor(), final=False)
        cursor.save(path)
        whole = path.read_bytes()
        assert Cursor.load(path) == cursor
        for cut in range(len(whole)):
            path.write_bytes(whole[:cut])
            assert Cursor.load(path) == Cursor(), "then all is sent again, and counts once"

    def test_an_outbox_cut_at_any_byte_of_its_last_call(self, record: Record) -> None:
        run_id = start(record)
        record.deferred.add(run_id)
        for i in range(3):
            record.set_tags(run_id, {"number": str(i)})
        folder = record._folder(run_id)
        whole = folder._outbox.read_bytes()
        calls = folder.outbox()
        first = len(whole) - len(json.dumps(calls[-1])) - 1
        for cut in range(first, len(whole)):
            folder._outbox.write_bytes(whole[:cut])
            assert folder.outbox() in (calls[:2], calls)
            folder.post(calls[0])
            assert folder.outbox()[-1] == calls[0]


def hostile_names() -> list[str]:
    """200 names: known traps, and what a seeded generator makes of their parts."""
    parts = ["..", "/", "\\", "\0", "%2e", "~", "$(x)", "`x`", "'", '"', ";", "\n", "CON", ".git", "é"]
    parts += ["🤖", "a" * 300, "-rf", "\u202e", "file:", "{", "%", "_", "*", "nul.txt", " "]
    traps = [
        "../../x",
        "/etc/x",
        "a\0b",
        "CON",
        "a" * 300,
        "🤖",
        "",
        ".",
        "..",
        "~root",
        "C:\\x",
        "a/../b",
    ]
    draw = random.Random(0)
    made = ("".join(draw.choices(parts, k=draw.randint(1, 6))) for _ in range(200 - len(traps)))
    return [*traps, *made]


class TestHostileNames:
    def test_none_of_them_is_a_path(self, tmp_path: Path) -> None:
        for name in hostile_names():
            folder = tmp_path / slug(name)
            assert folder.resolve().parent == tmp_path.resolve() and len(folder.name) <= 64
            folder.mkdir(exist_ok=True)
            try:
                assert RawSpec(name, {}).name == name
            except SpecError as refused:
                assert refused.exit_code == 2
                assert "\0" not in str(refused)

    def test_none_of_them_leaves_the_record(self, record: Record, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("here")
        before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(record.root)}
        for name in hostile_names()[:25]:
            try:
                run_id = record.create_run(experiment=name, name=name, kind="trial")
            except StorageError:  # MLflow has its own rules
                continue
            record.log_artifacts(run_id, tmp_path / "a.txt", "graphs")
            assert record.artifacts(run_id) == ["graphs/a.txt"]
            record.finish(run_id, "FINISHED")
        after = {path for path in tmp_path.rglob("*") if not path.is_relative_to(record.root)}
        assert after == before

    def test_none_of_them_finds_anything(self, record: Record) -> None:
        run_id = start(record)
        for name in hostile_names()[:40]:
            with pytest.raises(UsageError):
                record.find(name)
            with pytest.raises(UsageError):
                record.download(run_id, f"../{name}/../../../../etc/passwd")
