"""How long a step of an environment may take, and what becomes of the process where it takes longer."""

from __future__ import annotations

import faulthandler
import signal

_armed = False


def let_steps_kill() -> None:
    """From now on a step that takes too long ends this process by SIGALRM; another one watches it.

    The kernel does it, because a step that is stuck in C may keep Python from running. Where it was
    stuck is left on stderr.
    """
    global _armed
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    faulthandler.register(signal.SIGALRM, file=2, chain=True)
    _armed = True


class StepLimit:
    """Around what may take ``seconds``, 0 for ever; without a meaning in a process that nobody
    watches."""

    def __init__(self, seconds: float):
        self.seconds = seconds if _armed else 0.0

    def __enter__(self) -> None:
        if self.seconds:
            signal.setitimer(signal.ITIMER_REAL, self.seconds)

    def __exit__(self, *_: object) -> None:
        if self.seconds:
            signal.setitimer(signal.ITIMER_REAL, 0)
