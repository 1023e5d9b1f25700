"""What this process asks of the kernel: to end with its parent, and to be given up first when memory
is short. Where the kernel is not Linux nothing is asked, and threads and pipes have to do."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
PR_SET_PDEATHSIG = 1
LEFT_TO_SESSION = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
STARTER = "SLM_LIGHTNING_STARTER"
"""The variable that says which process has started another one."""
GIVEN_UP_FIRST = 500
"""How much sooner than others Linux gives up a process when memory is short, of at most 1000."""


def end_with_parent() -> None:
    """The kernel kills this process as soon as the one that forked it ends, also where a call into a
    library never comes back to Python."""
    _leave_fork_server()
    if sys.platform != "linux":
        return
    _ask_for_at_end_of_parent(signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():  # it ended before the kernel was asked
        os.kill(os.getpid(), signal.SIGKILL)


def _ask_for_at_end_of_parent(number: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


@contextlib.contextmanager
def named_as_starter() -> Iterator[None]:
    """Lets processes that are started here know by whom, for :func:`ending_with_starter`. Not from a
    thread: for the kernel that is the parent, and it may end before the process does."""
    if threading.current_thread() is threading.main_thread():
        os.environ[STARTER] = str(os.getpid())
    try:
        yield
    finally:
        os.environ.pop(STARTER, None)


@contextlib.contextmanager
def ending_with_starter() -> Iterator[None]:
    """Within its block the kernel kills this process as soon as the one that started it ends, where
    that has given its name."""
    starter = os.environ.pop(STARTER, None)
    if starter is None or sys.platform != "linux":
        yield
        return
    _ask_for_at_end_of_parent(signal.SIGKILL)
    if os.getppid() != int(starter):  # it ended before the kernel was asked
        os.kill(os.getpid(), signal.SIGKILL)
    yield
    _ask_for_at_end_of_parent(0)


def _leave_fork_server() -> None:
    """Gives up what keeps the fork server alive, so that it ends when the process that started it does:
    for the kernel it is the parent."""
    server: Any = forkserver._forkserver
    if server._forkserver_alive_fd is not None:
        os.close(server._forkserver_alive_fd)
        server._forkserver_alive_fd = server._forkserver_address = None


def in_worker(make: Callable[[], T], session: int) -> T:
    """Makes an environment; in another process than ``session``, so that this one ends with that, and
    leaves to that what a signal to a whole job asks for."""
    if os.getpid() != session:
        end_with_parent()
        for number in LEFT_TO_SESSION:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
    return make()


def be_given_up_first() -> None:
    """When memory is short this process goes, and not the one that can start it again."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(GIVEN_UP_FIRST), encoding="ascii")
