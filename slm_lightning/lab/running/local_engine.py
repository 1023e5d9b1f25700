"""Sessions as processes of this machine: one each, or several that train its model together.

Processes come from a fork server that has imported lightning once, so a session starts at once where
a fresh interpreter takes seconds. A process that dies is seen by its sentinel, never missed.
"""

from __future__ import annotations

import contextlib
import faulthandler
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
import types
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from slm_lightning.errors import LostEnvError, LostWorkerError
from slm_lightning.lab.running.admission import Machine
from slm_lightning.lab.running.job import Job, Outcome, Reached
from slm_lightning.lab.running.launch import Killed
from slm_lightning.lab.running.signals import as_a_session, held_back
from slm_lightning.processes import be_given_up_first, end_with_parent, named_as_starter
from slm_lightning.redact import RedactedStream, conceal, redact

PARTING_SECONDS = 5.0
"""How long the workers of a session may take to end when one of them has failed."""
SAFE_PATH, OURS = "PYTHONSAFEPATH", "slm-lightning"
HUNG = "SIGALRM"
"""How a process ends in which a step of an environment takes too long."""
STOP_SECONDS = 5.0
"""How long a session that is asked to stop may take; then what it did since its last checkpoint is
dropped."""
_PRELOADED = "slm_lightning.lab.running.fork_server"


class Lost(NamedTuple):
    """A worker cannot go on because another one has ended."""

    message: str


class Worker(NamedTuple):
    """A process, and the pipe it reports through."""

    process: BaseProcess
    pipe: Connection

    @property
    def sources(self) -> list[Any]:
        """What is ready when it has something to say, or has ended."""
        return [self.pipe, self.process.sentinel]


@dataclass(eq=False)
class LocalSession:
    """A session on its way: the workers that still run, and how the others ended."""

    job: Job
    workers: list[Worker]
    ended: list[Outcome | Killed | Lost] = field(default_factory=list)

    def hear(self, ready: Set[Any]) -> Iterator[Reached]:
        """Takes what the ``ready`` have to say; yields how far the session is."""
        for worker in [worker for worker in self.workers if not ready.isdisjoint(worker.sources)]:
            message = _read(worker)
            if isinstance(message, Reached):
                yield message
            else:
                self.workers.remove(worker)
                if message == Killed(HUNG):
                    seconds = self.job.spec["env"]["step_timeout"]
                    message = Outcome("failed", f"{overdue(seconds)}; session.log says where")
                self.ended.append(message)

    def end(self) -> Outcome | Killed | None:
        """How the session ended; None while it runs. One worker that fails ends it, and what the others
        then say of their loss is no reason."""
        reasons = [end for end in self.ended if not isinstance(end, Lost)]
        for end in reasons:
            if isinstance(end, Killed) or end.exit_code or end.status == "failed":
                self._part()
                return end
        if self.workers:
            return None
        if len(reasons) < len(self.ended):
            return Outcome("failed", "its workers have lost each other")
        return reasons[0]

    def ask_to_stop(self) -> None:
        for worker in self.workers:
            worker.process.terminate()
        late = threading.Timer(STOP_SECONDS, self.kill)
        late.daemon = True
        late.start()

    def kill(self) -> None:
        for worker in tuple(self.workers):
            worker.process.kill()

    def _part(self) -> None:
        """Ends the workers that are left, but lets the first save its best policy."""
        deadline = time.monotonic() + PARTING_SECONDS
        for worker in self.workers:
            worker.process.join(max(deadline - time.monotonic(), 0))
            worker.process.kill()
            worker.process.join()
            worker.pipe.close()
        self.workers.clear()


class LocalEngine:
    """Sessions of this machine, as many at once as ``machine`` carries."""

    def __init__(self, machine: Machine):
        self.machine = machine

    def fits(self, job: Job, running: Sequence[Any]) -> bool:
        return self.machine.carries([*(run.job for run in running), job])

    def start(self, job: Job) -> LocalSession:
        return start_session(job)

    def wait(self, running: Sequence[Any]) -> Iterator[tuple[Any, Reached]]:
        ready = set(wait([s for run in running for worker in run.workers for s in worker.sources]))
        for run in running:
            for reached in run.hear(ready):
                yield run, reached

    def close(self) -> None:
        pass


def start_session(job: Job) -> LocalSession:
    """Starts the processes of a session."""
    job.meeting.unlink(missing_ok=True)  # that of an earlier start would confuse the workers
    return LocalSession(job, [_start_worker(job, rank) for rank in range(len(job.devices))])


def warm_up() -> None:
    """Starts the fork server, so that it imports while the caller still reads and checks specs. No
    signal to all processes of a terminal, or of a job of Slurm, is for it."""
    with held_back(), installed_only():
        resource_tracker.ensure_running()  # first, because it lets some signals through
    with held_back(), hidden_main(), installed_only(), named_as_starter():
        _context()
        forkserver.ensure_running()


def _start_worker(job: Job, rank: int) -> Worker:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    with hidden_main(), installed_only():
        process = _context().Process(
            target=_enter, args=(job, rank, theirs), name=f"session-{job.session}-{rank}"
        )
        with held_back():
            process.start()
    theirs.close()
    return Worker(process, ours)


def _read(worker: Worker) -> Reached | Outcome | Killed | Lost:
    """One message of a process: its progress, or the last there is."""
    try:
        message = worker.pipe.recv() if worker.pipe.poll() else None
    except (EOFError, OSError):  # killed before, or in the middle of a message
        message = None
    if not isinstance(message, Reached):
        worker.process.join(PARTING_SECONDS)
        worker.process.kill()  # what it had to say is said
        worker.process.join()
        worker.pipe.close()
    return Killed(how_ended(worker.process.exitcode or 0)) if message is None else message


def overdue(seconds: float) -> str:
    """What is said of a process that ended by ``HUNG``."""
    return f"a step took longer than {seconds:g} s (env.step_timeout)"


def how_ended(exitcode: int) -> str:
    """The name of the signal that ended a process, or its exit code."""
    return signal.Signals(-exitcode).name if exitcode < 0 else f"exit {exitcode}"


def _enter(job: Job, rank: int, pipe: Connection) -> None:
    """First function of a worker's process."""
    begin_process()
    conceal(job.spec)
    _write_output_to(Path(job.folder) / "session.log")
    outcome: Outcome | Lost | Killed
    try:
        outcome = _run(job, rank, pipe)
    except LostWorkerError as error:
        outcome = Lost(str(error))
    except LostEnvError as error:
        outcome = Killed(error.how, error.who)
    except BaseException as error:
        from slm_lightning.lab.running.reasons import failure

        outcome = failure(error, job, job.devices[rank])
    if isinstance(outcome, Outcome):
        outcome = outcome._replace(message=redact(outcome.message))
    pipe.send(outcome)


def _run(job: Job, rank: int, pipe: Connection) -> Outcome:
    import torch

    from slm_lightning.envs.step_limit import let_steps_kill
    from slm_lightning.lab.running.worker import run_session

    let_steps_kill()
    torch.set_num_threads(1)  # sessions side by side must not fight over cores

    latest = Reached(0, math.nan)

    def report(frame: int, score: float) -> None:
        nonlocal latest
        latest = Reached(frame, score)
        if rank == 0:
            pipe.send(latest)

    def warn(sentence: str) -> None:
        print(sentence, flush=True)
        if rank == 0:
            pipe.send(latest._replace(warning=sentence))

    return run_session(job, report, rank, warn)


def begin_process() -> None:
    """What a process that the fork server has started does first: it takes a process group of its own,
    since a Ctrl-C in the terminal is for the lab, which then asks it; and it ends with the lab."""
    os.setpgid(0, 0)
    if os.environ.get(SAFE_PATH) == OURS:  # it was for the fork server, not for what we may start
        del os.environ[SAFE_PATH]
    _watch_parent()
    end_with_parent()
    be_given_up_first()
    as_a_session()


def _watch_parent() -> None:
    """The lab is not the process that forked us, so the kernel says nothing of its end."""
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
    sys.stdout, sys.stderr = RedactedStream(sys.stdout), RedactedStream(sys.stderr)
    faulthandler.enable(file=2)


def _context() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_PRELOADED])
    return context


@contextlib.contextmanager
def installed_only() -> Iterator[None]:
    """Keeps interpreters that are started here from importing files of the working directory in place
    of what is installed. Where they have to look is told them then."""
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = before or OURS
    try:
        yield
    finally:
        del os.environ[SAFE_PATH]
        if before is not None:
            os.environ[SAFE_PATH] = before


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
