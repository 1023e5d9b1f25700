"""What processes ask of the kernel."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import pytest

from slm_lightning.processes import (
    GIVEN_UP_FIRST,
    be_given_up_first,
    end_with_parent,
    named_as_starter,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can be asked")


def grandchild(pipe: Connection) -> None:
    end_with_parent()
    be_given_up_first()
    pipe.send((os.getpid(), Path("/proc/self/oom_score_adj").read_text()))
    signal.sigwait([])


def child(pipe: Connection) -> None:
    context = multiprocessing.get_context("fork")
    context.Process(target=grandchild, args=(pipe,)).start()
    signal.sigwait([])


def test_a_process_ends_with_its_parent_and_is_given_up_first() -> None:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(theirs,))
    process.start()
    pid, score = ours.recv()
    last = psutil.Process(pid)
    assert int(score) == GIVEN_UP_FIRST > int(Path("/proc/self/oom_score_adj").read_text())
    last.suspend()  # it cannot see for itself that its parent is gone
    process.kill()
    process.join()
    _, alive = psutil.wait_procs([last], timeout=5)
    assert not alive


def starter(pipe: Connection) -> None:
    command = [sys.executable, "-c", SLOW_START]
    with named_as_starter():
        started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert started.stdout
    pipe.send((started.pid, started.stdout.readline()))
    signal.sigwait([])


SLOW_START = """
import signal
from slm_lightning.processes import ending_with_starter
with ending_with_starter():
    print("begun", flush=True)
    signal.pause()
"""


def test_what_takes_long_to_start_ends_with_who_has_started_it() -> None:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=starter, args=(theirs,))
    process.start()
    pid, said = ours.recv()
    assert said == "begun\n"
    last = psutil.Process(pid)
    process.kill()
    process.join()
    _, alive = psutil.wait_procs([last], timeout=5)
    assert not alive
