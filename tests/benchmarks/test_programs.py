from __future__ import annotations

import sys

import pytest

from benchmarks.measure.programs import run_python

BUSY = "import time\nwhile time.process_time() < 0.3: pass"
OUTLIVED = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {BUSY!r}])"
"""Ends at once, and leaves a process behind that works on."""


def test_the_last_line_of_a_program_is_its_answer() -> None:
    ended = run_python(["-c", "print('a note'); print('{\"frames\": 3}')"])
    assert ended.answer == {"frames": 3}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux hands orphans over")
def test_what_works_on_after_a_program_has_ended_counts_as_well() -> None:
    assert run_python(["-c", OUTLIVED]).cost.cpu > 0.3


def test_a_program_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="no such work"):
        run_python(["-c", "raise SystemExit('no such work')"])


def test_a_program_never_records_on_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    asked = "import json, os; print(json.dumps(os.environ.get('MLFLOW_TRACKING_URI')))"
    assert run_python(["-c", asked]).answer is None
