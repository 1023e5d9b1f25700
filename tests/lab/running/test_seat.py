"""A seat and the driver's copy of its session, with everything but Ray between them."""

from __future__ import annotations

import itertools
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from slm_lightning.errors import StorageError
from slm_lightning.files import atomically
from slm_lightning.lab.running import copies as copies_module
from slm_lightning.lab.running import remote_session
from slm_lightning.lab.running import seat as seats
from slm_lightning.lab.running.copies import Copies
from slm_lightning.lab.running.job import Job, Outcome
from slm_lightning.lab.running.launch import Killed
from slm_lightning.lab.running.remote_session import Held, RemoteSession
from slm_lightning.lab.running.seat import Mark, Seat, Tail, names_in, tail_of
from slm_lightning.lab.trial import read_metrics
from slm_lightning.registry import REGISTRY
from slm_lightning.spec.load import raw_spec
from slm_lightning.spec.resolve import resolve
from tests.support import equal, faulty, numbers, stored_state, tiny


class Lost(Exception):
    """The machine of a seat is gone."""


class Actor:
    """Calls a seat when its answer is asked for, as Ray does on another machine."""

    def __init__(self, seat: Seat):
        self.seat = seat

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            awaited = [each() if callable(each) else each for each in arguments]
            return getattr(self.seat, name)(*awaited)

        return SimpleNamespace(remote=lambda *arguments: lambda: call(*arguments))


@dataclass
class Machines:
    """A cluster that loses the machine of a session when it has answered ``answers`` questions."""

    seat: Seat
    lost: type[Exception] = Lost
    answers: int = 10**9
    asked: int = 0

    def held_for(self, job: Job) -> Held:
        return Held(Actor(self.seat), {})

    def take_back(self, held: Held, is_alive: bool) -> None:
        self.seat.clear()

    def check(self, place: Any) -> None:
        assert place.code == seats.code()

    def devices(self, job: Job) -> tuple[str, ...]:
        return job.devices

    def run(self, job: Job) -> Outcome | Killed:
        session = RemoteSession(self, job)
        while (end := session.end()) is None:
            self.asked += 1
            session.answer(Lost() if self.asked == self.answers else session.question())
        return end


@pytest.fixture
def seat(monkeypatch: pytest.MonkeyPatch) -> Iterator[Seat]:
    """A seat that answers at once."""
    monkeypatch.setattr(seats, "BEAT", 0.05)
    seat = Seat()
    yield seat
    seat.close()
    assert not seat.folder.exists()


def job(folder: Path, **env: Any) -> Job:
    spec = resolve(raw_spec("tiny", tiny(env=env)["tiny"]), REGISTRY)
    folder.mkdir()
    return Job(spec.to_dict(), 0, 0, str(folder), ("cpu",))


def left(job: Job) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """The rows of a session, and both its checkpoints."""
    folder = Path(job.folder)
    kept = [folder / "checkpoints" / f"ckpt-{which}.ckpt" for which in ("best", "last")]
    assert sorted((folder / "checkpoints").glob("[!.]*")) == kept
    return numbers(read_metrics(folder)), [stored_state(path) for path in kept]


def test_a_machine_may_be_lost_at_any_answer(seat: Seat, tmp_path: Path) -> None:
    """A session is stopped half way. It is taken up again on a machine that is lost then, and once more
    on another: always to the same end, from the checkpoint of the first."""
    env = faulty("stop", session=0, once=str(tmp_path / "stopped"))
    first = job(tmp_path / "first", **env)
    assert Machines(seat).run(first) == Outcome("stopped", "asked to stop")
    begun = read_metrics(Path(first.folder))["time"]
    unbroken = job(tmp_path / "unbroken", **env)
    assert Machines(seat).run(unbroken) == Outcome("done")
    rows, states = left(unbroken)

    for answers in itertools.count(1):
        again = replace(first, folder=str(tmp_path / f"lost at {answers}"))
        shutil.copytree(first.folder, again.folder)
        end = Machines(seat, answers=answers).run(again)
        if answers > 1 and end == Outcome("done"):
            break
        if answers > 1:  # before, the session had not begun, and took another machine by itself
            assert end == Killed("Lost")
            end = Machines(seat).run(again)
        assert end == Outcome("done")
        pd.testing.assert_frame_equal(left(again)[0], rows, check_exact=True)
        assert equal(left(again)[1], states)
        assert read_metrics(Path(again.folder))["time"][: len(begun)].equals(begun)
    assert answers > 4, "it was lost in each kind of question"


def test_a_driver_without_room_says_so(seat: Seat, tmp_path: Path) -> None:
    """Files of this process may not grow; the session is in another one."""
    full, soft, hard = job(tmp_path / "full"), *resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(StorageError, match=f"cannot be kept in {full.folder}: File too large"):
            Machines(seat).run(full)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        seat.clear()


class TestCheckpoints:
    """How they come over; a session is there in name only."""

    @pytest.fixture
    def there(self, seat: Seat, monkeypatch: pytest.MonkeyPatch) -> Path:
        for module in (seats, remote_session, copies_module):
            monkeypatch.setattr(module, "CHUNK", 4)
        seat.open()
        seat.session = SimpleNamespace(workers=[], end=lambda: None, kill=lambda: None)
        return seat.run / "checkpoints"

    @pytest.fixture
    def copies(self, tmp_path: Path) -> Copies:
        return Copies(str(tmp_path))

    def test_they_come_whole(self, seat: Seat, there: Path, copies: Copies) -> None:
        (there / "ckpt-last.ckpt").write_bytes(b"one")
        (there / "ckpt-best.ckpt").write_bytes(b"12345678")
        (seat.run / "metrics.jsonl").write_bytes(b"1st\n2nd\n")
        take(seat, copies)
        assert content(copies) == {"ckpt-last.ckpt": b"one", "ckpt-best.ckpt": b"12345678"}
        assert (copies.folder / "metrics.jsonl").read_bytes() == b"1st\n"
        before = (copies.checkpoints / "ckpt-best.ckpt").stat().st_mtime_ns
        renew(there / "ckpt-last.ckpt", b"two")
        take(seat, copies)
        assert content(copies)["ckpt-last.ckpt"] == b"two"
        assert (copies.folder / "metrics.jsonl").read_bytes() == b"1st\n2nd\n"
        assert (copies.checkpoints / "ckpt-best.ckpt").stat().st_mtime_ns == before

    def test_what_a_resume_needs_comes_too(self, seat: Seat, there: Path, copies: Copies) -> None:
        """Segments come once, and go when the session has deleted them."""
        (there / "ckpt-last.ckpt").write_bytes(b"one")
        for name in ("ckpt-previous.ckpt", "replay.worker-0.1", "replay.worker-0.2"):
            (there / ".resume" / name).write_bytes(name.encode())
        (there / ".resume" / ".replay.worker-0.3.tmp").write_bytes(b"half")
        take(seat, copies)
        found = content(copies)
        assert found.pop("ckpt-last.ckpt") == b"one"
        names = ["ckpt-previous.ckpt", "replay.worker-0.1", "replay.worker-0.2"]
        assert found == {f".resume/{name}": name.encode() for name in names}
        assert [name for name, _ in copies.parts() if "replay" in name] == [
            f"checkpoints/.resume/replay.worker-0.{i}" for i in (1, 1, 1, 1, 1, 2, 2, 2, 2, 2)
        ]
        (there / ".resume" / "replay.worker-0.1").unlink()
        renew(there / "ckpt-last.ckpt", b"two")
        take(seat, copies)
        assert sorted(content(copies)) == [
            ".resume/ckpt-previous.ckpt",
            ".resume/replay.worker-0.2",
            "ckpt-last.ckpt",
        ]

    def test_what_is_replaced_on_the_way_comes_as_it_was(
        self, seat: Seat, there: Path, copies: Copies
    ) -> None:
        (there / "ckpt-last.ckpt").write_bytes(b"the first")
        take(seat, copies, meanwhile=lambda: renew(there / "ckpt-last.ckpt", b"the second one"))
        assert content(copies) == {"ckpt-last.ckpt": b"the first"}
        take(seat, copies)
        assert content(copies) == {"ckpt-last.ckpt": b"the second one"}

    def test_what_is_cut_short_changes_nothing(self, seat: Seat, there: Path, copies: Copies) -> None:
        (there / "ckpt-last.ckpt").write_bytes(b"old")
        (there / "ckpt-last.worker-1.round-1.ckpt").write_bytes(b"old")
        take(seat, copies)
        before = content(copies)
        (there / "ckpt-last.worker-1.round-1.ckpt").unlink()
        renew(there / "ckpt-last.worker-1.round-2.ckpt", b"new")
        renew(there / "ckpt-last.ckpt", b"new")

        def lose() -> None:
            raise Lost

        with pytest.raises(Lost):
            take(seat, copies, meanwhile=lose)
        assert content(copies) == before
        take(seat, copies)
        names = ("ckpt-last.ckpt", "ckpt-last.worker-1.round-2.ckpt")
        assert content(copies) == dict.fromkeys(names, b"new")


def take(seat: Seat, copies: Copies, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Copies what is new; ``meanwhile`` happens when the first part of a checkpoint has come."""
    news = seat.poll(copies.marks(), take=True)
    copies.grow(news.tails)
    assert news.files is not None
    with copies.taking(news.files) as asides:
        for name, aside in asides.items():
            fetching = remote_session._fetch(Actor(seat), name, aside)
            with suppress(StopIteration):
                question = next(fetching)
                while True:
                    answer = question()
                    meanwhile()
                    question = fetching.send(answer)


def content(copies: Copies) -> dict[str, bytes]:
    return {name: (copies.checkpoints / name).read_bytes() for name in names_in(copies.checkpoints)}


def renew(path: Path, data: bytes) -> None:
    atomically(path, lambda aside: aside.write_bytes(data) and None)


@pytest.mark.parametrize(
    ("known", "now", "tail"),
    [
        (b"", b"1\n2\n", Tail(0, b"1\n2\n")),
        (b"1\n", b"1\n2\n", Tail(2, b"2\n")),
        (b"1\n2\n", b"1\n2\n", None),
        (b"1\n2\n", b"1\n", Tail(0, b"1\n")),
        (b"1\n2\n", b"1\n3\n4\n", Tail(0, b"1\n3\n4\n")),
        (b"1\n" * 500 + b"2\n", b"1\n" * 501 + b"2\n3\n", Tail(0, b"1\n" * 501 + b"2\n3\n")),
        (b"1\n2\n", b"", Tail(0, b"")),
        (b"1\n", None, None),
    ],
)
def test_what_a_growing_file_has_that_is_not_known(
    known: bytes, now: bytes | None, tail: Tail | None, tmp_path: Path
) -> None:
    (tmp_path / "copy").write_bytes(known)
    if now is not None:
        (tmp_path / "file").write_bytes(now)
    assert tail_of(tmp_path / "file", Mark.of(tmp_path / "copy")) == tail


def test_a_killed_seat_is_cleaned_up_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = (
        "from slm_lightning.lab.running.seat import Seat; seat = Seat(); print(seat.folder); input()"
    )
    command = [sys.executable, "-u", "-c", program]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin and process.stdout
    folder = Path(process.stdout.readline().strip())
    assert folder.name.startswith(seats.PREFIX)
    living = Seat()
    assert folder.exists()
    process.kill()
    process.wait()
    process.stdin.close()
    Seat().close()
    assert not folder.exists() and living.folder.exists()
    living.close()
