"""Who is killed, and how: nothing is left running, and exit code and record tell the truth."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from slm_lightning.tracking import Record
from tests.support import PATIENCE, Lab, faulty, start_lab, tiny, wait_until, write_spec

ENDLESS = 10**12
TERM, INT, HUP, KILL, USR1 = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL),
    signal.SIGUSR1,
)


class Lot:
    """A trial of one session with environments in processes of their own, and all its processes."""

    def __init__(self, record: Record, folder: Path):
        spec = tiny(env={"max_frame": ENDLESS, "vectorization_mode": "async"})
        self.record = record
        self.lab = start_lab("run", write_spec(folder / "s.json", spec), "--sessions", 1, cwd=folder)
        wait_until(self.rows, "the session writes rows")
        self.all = self.below()

    def rows(self) -> int:
        """Rows that the session has written."""
        files = list(self.record.root.glob("runs/*/metrics.jsonl"))
        return len(files[0].read_text().splitlines()) if files else 0

    @property
    def session(self) -> psutil.Process:
        """The process of the session: it leads a group, as nothing else below the lab does."""
        return wait_until(lambda: next(filter(leads, self.below()), None), "there is a session")

    @property
    def environment(self) -> psutil.Process:
        """The process of an environment: the session has one that starts them, and they start none."""
        below = self.session.children(recursive=True)
        return next(process for process in below if not process.children())

    def below(self) -> list[psutil.Process]:
        return psutil.Process(self.lab.pid).children(recursive=True)

    def send(self, who: str, number: signal.Signals) -> None:
        match who:
            case "session":
                self.session.send_signal(number)
            case "environment":
                self.environment.send_signal(number)
            case "lab":
                self.lab.send_signal(number)
            case "group":
                os.killpg(self.lab.pid, number)

    def goes_on(self) -> None:
        """Waits until training goes on."""
        self.all += self.below()
        before = self.rows()
        wait_until(lambda: self.rows() > before + 3, "training goes on")

    def end(self) -> tuple[int, str]:
        """Exit code and last words of the lab, when nothing is left of it after 5 s."""
        _, err = self.lab.communicate(timeout=PATIENCE)
        _, alive = psutil.wait_procs(self.all, timeout=5)
        assert not alive, [one.cmdline() for one in alive]
        return self.lab.returncode, err

    def status(self) -> set[tuple[str, str | None]]:
        return {(run.status, run.tags.get("slm.status")) for run in Record().runs()}


def leads(process: psutil.Process) -> bool:
    """Whether a process leads a group of its own."""
    with contextlib.suppress(ProcessLookupError):
        return os.getpgid(process.pid) == process.pid
    return False


@pytest.fixture
def lot(record: Record, tmp_path: Path) -> Iterator[Lot]:
    lot = Lot(record, tmp_path)
    yield lot
    if lot.lab.poll() is None:
        lot.lab.kill()


STOPPED = {("KILLED", "stopped")}
ASKED = [
    *[(who, number, 75) for who in ("session", "lab", "group") for number in (TERM, USR1)],
    *[("session", INT, 75), ("lab", INT, 130), ("group", INT, 130)],
]
IGNORED = [
    *[(who, HUP) for who in ("session", "environment", "lab", "group")],
    *[("environment", number) for number in (INT, USR1)],
]


@pytest.mark.slow
@pytest.mark.parametrize(("who", "number", "code"), ASKED)
def test_asked_to_stop(who: str, number: signal.Signals, code: int, lot: Lot) -> None:
    lot.send(who, number)
    ended, err = lot.end()
    assert ended == code and "Traceback" not in err, err
    assert "to go on: slm-lightning resume" in err
    assert ("stopping after this round; once more to stop at once" in err) == (who != "session")
    assert lot.status() == STOPPED


@pytest.mark.slow
@pytest.mark.parametrize(("who", "number"), IGNORED)
def test_not_meant_for_it(who: str, number: signal.Signals, lot: Lot) -> None:
    before = lot.session.pid
    lot.send(who, number)
    lot.goes_on()
    assert lot.session.pid == before
    lot.lab.terminate()
    assert lot.end()[0] == 75 and lot.status() == STOPPED


@pytest.mark.slow
@pytest.mark.parametrize(("who", "number"), [("session", KILL), ("environment", KILL),
                                             ("environment", TERM)])  # fmt: skip
def test_killed_and_started_again(who: str, number: signal.Signals, lot: Lot) -> None:
    before = lot.session.pid
    lot.send(who, number)
    wait_until(lambda: lot.session.pid != before, "another process goes on")
    lot.goes_on()
    lot.lab.terminate()
    assert lot.end()[0] == 75 and lot.status() == STOPPED


@pytest.mark.slow
@pytest.mark.parametrize("who", ["lab", "group"])
def test_killed_for_good(who: str, lot: Lot) -> None:
    lot.send(who, KILL)
    assert lot.end()[0] == -KILL
    Record().sweep()
    assert {status for status, _ in lot.status()} == {"KILLED"}


@pytest.mark.slow
def test_a_session_that_never_comes_back_to_python_ends_with_the_lab(
    record: Record, tmp_path: Path
) -> None:
    """Stopped in its tracks, its own threads cannot see that the lab is gone; the kernel does."""
    lot = Lot(record, tmp_path)
    lot.session.suspend()
    lot.lab.kill()
    assert lot.end()[0] == -KILL


def test_a_long_round_is_dropped_and_nothing_else_ends_or_resumes_it(
    record: Record, tmp_path: Path, lab: Lab
) -> None:
    """One run: its readers go away, somebody resumes it as if it had ended, its terminal is closed, and
    Slurm wants the machine back in the middle of a round that never ends."""
    stuck = tmp_path / "stuck"
    spec = tiny(env={"max_frame": ENDLESS, **faulty("sleep", session=0, once=str(stuck))})
    process = start_lab("run", write_spec(tmp_path / "s.json", spec), "--sessions", 1, cwd=tmp_path)
    assert process.stdout and process.stderr
    process.stdout.close()
    process.stderr.close()
    wait_until(stuck.exists, "the environment does not answer")
    second = lab("resume", "tiny_t0")
    assert second.code == 9
    assert f"is in use by process {process.pid} on {os.uname().nodename} since 2" in second.err
    os.killpg(process.pid, HUP)
    process.send_signal(USR1)
    assert process.wait(PATIENCE) == 75
    assert {run.status for run in record.runs()} == {"KILLED"}
    (session,) = record.children(record.find("tiny_t0").run_id)
    assert session.tags["slm.reason"] == "killed while stopping"
