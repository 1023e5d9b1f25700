"""Signals that ask for an end: an orderly one at first, and at once where they insist.

SIGTERM and SIGUSR1 (which Slurm sends before it takes a machine away) preempt, SIGINT is Ctrl-C. A
terminal that is closed (SIGHUP) is no reason to end anything.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

PREEMPTING = (signal.SIGTERM, signal.SIGUSR1)
ASKING = (*PREEMPTING, signal.SIGINT)
HEARD = (*ASKING, signal.SIGHUP)
"""All that a run has an answer to."""
PUT_OFF_SECONDS = 0.02
"""How often it is looked whether an import has ended."""


class Preempted(KeyboardInterrupt):
    """SIGTERM or SIGUSR1 came while no session could be asked to stop."""


class StopSignal:
    """Within its block, SIGTERM, SIGUSR1 and SIGINT are remembered in ``received`` instead of raising,
    and SIGHUP is ignored.

    ``first`` is called with the first signal, ``again`` with every later one. Outside the main thread,
    where Python takes no signal handlers, nothing is changed. A block within its own is part of it.
    """

    def __init__(
        self, first: Callable[[], None] | None = None, again: Callable[[], None] | None = None
    ):
        self.first, self.again = first, again
        self.received: signal.Signals | None = None
        self.insists = False
        """Whether a second one has come."""
        self.depth = 0
        self.handlers = contextlib.ExitStack()

    def __call__(self) -> bool:
        """Whether a signal has come."""
        return self.received is not None

    def obey(self) -> None:
        """Raises KeyboardInterrupt where a second signal has asked to leave all as it is."""
        if self.insists and self.received is not None:
            kind = Preempted if self.received in PREEMPTING else KeyboardInterrupt
            raise kind(self.received.name)

    def __enter__(self) -> StopSignal:
        self.depth += 1
        if self.depth == 1:
            self.handlers.enter_context(_handling(ASKING, self._receive))
            self.handlers.enter_context(deaf_to_hangup())
        return self

    def __exit__(self, *_) -> None:
        self.depth -= 1
        if self.depth == 0:
            self.handlers.close()

    def _receive(self, number: int, frame) -> None:
        self.insists = self.received is not None
        action = self.again if self.insists else self.first
        self.received = signal.Signals(number)
        if action:
            action()


@contextlib.contextmanager
def preemptible() -> Iterator[None]:
    """Within its block, SIGTERM and SIGUSR1 raise :class:`Preempted` and SIGINT KeyboardInterrupt,
    where no StopSignal hears them.

    In the midst of an import they are put off to its end: many modules swallow whatever is raised in
    those they import, or are then half made for good.
    """
    heard: list[signal.Signals] = []

    def hear(number: int, frame: Any) -> None:
        heard.append(signal.Signals(number))
        interrupt(number, frame)

    def interrupt(_: int, frame: Any) -> None:
        if _imports(frame):
            signal.setitimer(signal.ITIMER_REAL, PUT_OFF_SECONDS)
            return
        kind = Preempted if heard[0] in PREEMPTING else KeyboardInterrupt
        raise kind(heard[0].name)

    with _handling(ASKING, hear), _handling((signal.SIGALRM,), interrupt):
        try:
            yield
        finally:
            if heard:
                signal.setitimer(signal.ITIMER_REAL, 0)


def _imports(frame: Any) -> bool:
    """Whether an import is under way in ``frame`` or in one that has called it."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


@contextlib.contextmanager
def deaf_to_hangup() -> Iterator[None]:
    """Within its block a terminal may be closed: SIGHUP is ignored."""
    with _handling((signal.SIGHUP,), signal.SIG_IGN):
        yield


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Within its block all these signals wait; processes that are started in it never get them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def as_a_session() -> None:
    """Lets this process, started while signals were held back, hear them: SIGHUP is ignored, the others
    end it until a StopSignal says otherwise."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for number in ASKING:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)


@contextlib.contextmanager
def _handling(numbers: tuple[signal.Signals, ...], handler: Any) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
