"""Signals while a command starts: it ends before a session trains, and leaves nothing behind."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from slm_lightning.tracking import Record
from tests.lab.searching import search_spec
from tests.support import PATIENCE, Lab, faulty, start_lab, tiny, wait_until, write_spec

TERM, INT = signal.SIGTERM, signal.SIGINT

MOMENTS: dict[str, Callable[[psutil.Process, Record], object]] = {
    "it imports": lambda lab, record: len(lab.children()) >= 2,
    "it begins a run": lambda lab, record: "RUNNING" in {run.status for run in record.runs()},
    "it starts a session": lambda lab, record: len(lab.children(recursive=True)) >= 3,
}


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(("number", "code"), [(TERM, 75), (INT, 130)])
@pytest.mark.parametrize("verb", ["run", "search", "resume"])
def test_a_signal_while_it_starts(
    verb: str, number: signal.Signals, code: int, moment: str, record: Record, tmp_path: Path, lab: Lab
) -> None:
    one = {"max_session": 1}
    match verb:
        case "run":
            words = ["run", write_spec(tmp_path / "s.json", tiny(meta=one))]
        case "search":
            words = ["search", write_spec(tmp_path / "s.json", search_spec())]
        case _:
            stops = faulty("stop", session=0, once=str(tmp_path / "stopped"))
            spec = write_spec(tmp_path / "s.json", tiny(env=stops, meta=one))
            assert lab("run", spec).code == 75
            words = ["resume", "tiny_t0"]
    command = start_lab(*words, cwd=tmp_path)
    try:
        wait_until(lambda: MOMENTS[moment](psutil.Process(command.pid), record), moment)
        below = psutil.Process(command.pid).children(recursive=True)
        command.send_signal(number)
        _, err = command.communicate(timeout=PATIENCE)
    finally:
        command.kill()
    _, alive = psutil.wait_procs(below, timeout=5)
    assert not alive, [process.cmdline() for process in alive]
    assert command.returncode == code, err
    assert f"stopped by {number.name}" in err and "Traceback" not in err
    record.sweep()
    assert {run.status for run in record.runs()} <= {"KILLED"}
