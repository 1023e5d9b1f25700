"""Ctrl-C and SIGTERM ask for an orderly end; a second one insists."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable


class StopSignal:
    """Within its block, SIGTERM and SIGINT are remembered in ``received`` instead of raising.

    ``first`` is called with the first signal, ``again`` with every later one. Outside the main thread,
    where Python takes no signal handlers, nothing is changed. A block within its own is part of it.
    """

    def __init__(
        self, first: Callable[[], None] | None = None, again: Callable[[], None] | None = None
    ):
        self.first, self.again = first, again
        self.received: signal.Signals | None = None
        self.depth = 0

    def __call__(self) -> bool:
        """Whether a signal has come."""
        return self.received is not None

    def __enter__(self) -> StopSignal:
        self.depth += 1
        if self.depth > 1:
            return self
        self.before = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self.before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_) -> None:
        self.depth -= 1
        if self.depth:
            return
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame) -> None:
        action = self.first if self.received is None else self.again
        self.received = signal.Signals(number)
        if action:
            action()
