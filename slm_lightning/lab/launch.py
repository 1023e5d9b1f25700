"""Runs jobs as local processes: one per session, as many at once as the machine carries.

Processes come from a fork server that has imported lightning once, so a session starts at once where
a fresh interpreter takes seconds. A session that dies is seen by its sentinel, never missed.
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import traceback
import types
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal, NamedTuple

from slm_lightning.errors import DivergedError, LabError
from slm_lightning.lab.job import Job
from slm_lightning.lab.signals import StopSignal

Status = Literal["done", "stopped", "failed", "diverged"]
RESTARTS = 3
"""How often a session whose process was killed goes on from its last checkpoint."""
_WORKER = "slm_lightning.lab.worker"


class Outcome(NamedTuple):
    """How a session ended; ``message`` says why when it did not finish."""

    status: Status
    message: str = ""


class Reached(NamedTuple):
    """How far a session is."""

    frame: int
    total_reward_ma: float


class Running(NamedTuple):
    """A session's process, and the pipe it reports through."""

    job: Job
    process: BaseProcess
    pipe: Connection


@dataclass(frozen=True)
class Killed:
    """The process of a session ended without a word."""

    exitcode: int

    @property
    def how(self) -> str:
        """The signal's name, or the exit code."""
        return signal.Signals(-self.exitcode).name if self.exitcode < 0 else f"exit {self.exitcode}"


def warm_up() -> None:
    """Starts the fork server, so that it imports while the caller still reads and checks specs. A
    Ctrl-C in the terminal is not for it."""
    resource_tracker.ensure_running()  # first, because it unblocks the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with hidden_main():
            _context()
            forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run_jobs(
    jobs: Sequence[Job],
    at_once: int,
    on_progress: Callable[[int, int, float], None],
    on_end: Callable[[Job, Outcome], None],
) -> StopSignal:
    """Runs all jobs, ``at_once`` at a time.

    ``on_progress(session, frame, total_reward_ma)`` follows each session, ``on_end(job, outcome)`` sees
    it end. A session whose process is killed goes on from its last checkpoint, at most three times.
    SIGTERM or Ctrl-C lets running sessions finish their round; a second one kills them. Returns the
    signal block, which tells whether one came.
    """
    waiting, running = deque(jobs), list[Running]()
    deaths: Counter[int] = Counter()

    def ask_to_stop() -> None:
        for run in running:
            run.process.terminate()

    def kill() -> None:
        for run in running:
            run.process.kill()

    stop = StopSignal(first=ask_to_stop, again=kill)
    with stop, contextlib.ExitStack() as whatever_happens:
        whatever_happens.callback(kill)  # nothing is left running when this process fails
        while running or (waiting and not stop()):
            while waiting and len(running) < at_once and not stop():
                running.append(_start(waiting.popleft()))
                if stop():  # it came while that one was not yet among those to be asked
                    ask_to_stop()
            if not running:
                break
            ready = wait([source for run in running for source in (run.pipe, run.process.sentinel)])
            for run in [r for r in running if r.pipe in ready or r.process.sentinel in ready]:
                message = _read(run)
                if isinstance(message, Reached):
                    on_progress(run.job.session, *message)
                    continue
                running.remove(run)
                if isinstance(message, Killed) and not stop() and deaths[run.job.session] < RESTARTS:
                    deaths[run.job.session] += 1
                    waiting.appendleft(run.job)
                    continue
                on_end(run.job, _outcome(message, stop))
    for job in waiting:
        on_end(job, Outcome("stopped", "not started"))
    return stop


def _start(job: Job) -> Running:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    with hidden_main():
        process = _context().Process(target=_enter, args=(job, theirs), name=f"session-{job.session}")
        process.start()
    theirs.close()
    return Running(job, process, ours)


def _read(run: Running) -> Reached | Outcome | Killed:
    """One message of a session: its progress, or the last there is."""
    try:
        message = run.pipe.recv() if run.pipe.poll() else None
    except (EOFError, OSError):  # killed before, or in the middle of a message
        message = None
    if message is None or isinstance(message, Outcome):
        run.process.join()
        run.pipe.close()
    return Killed(run.process.exitcode or 0) if message is None else message


def _outcome(message: Outcome | Killed, stop: StopSignal) -> Outcome:
    if isinstance(message, Outcome):
        return message
    if stop():
        return Outcome("stopped", "killed while stopping")
    return Outcome("failed", f"its process died {RESTARTS + 1} times, at last by {message.how}")


def _enter(job: Job, pipe: Connection) -> None:
    """First function of a session's process."""
    os.setpgid(0, 0)  # a Ctrl-C in the terminal is for the parent, which then asks us
    _die_with_parent()
    _write_output_to(Path(job.folder) / "session.log")
    try:
        outcome = _run(job, pipe)
    except LabError as error:
        status: Status = "diverged" if isinstance(error, DivergedError) else "failed"
        outcome = Outcome(status, "; ".join(filter(None, [str(error), error.hint])))
    except BaseException as error:
        traceback.print_exc()
        outcome = Outcome("failed", f"{type(error).__name__}: {error}")
    pipe.send(outcome)


def _run(job: Job, pipe: Connection) -> Outcome:
    import torch

    from slm_lightning.lab.worker import run_session

    torch.set_num_threads(1)  # sessions side by side must not fight over cores
    finished = run_session(job, lambda frame, score: pipe.send(Reached(frame, score)))
    return Outcome("done") if finished else Outcome("stopped", "asked to stop")


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os.killpg(0, signal.SIGKILL)  # with the environments that have processes of their own

    threading.Thread(target=watch, daemon=True).start()


def _write_output_to(path: Path) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    faulthandler.enable(file=2)


def _context() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_WORKER])
    return context


@contextlib.contextmanager
def hidden_main() -> Iterator[None]:
    """Keeps multiprocessing from importing the user's script again in every session, which would run
    a script without an ``if __name__`` guard a second time."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
