"""Runs jobs, as many at once as an engine carries, and loses none of them.

The engine says what it can carry and starts sessions: as processes of this machine (``local_engine``)
or on a cluster (``ray_engine``). The launcher decides which job comes next, starts again what was
killed, and hears of every end.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from slm_lightning.lab.running.job import Job, Outcome, Reached
from slm_lightning.lab.running.signals import StopSignal

RESTARTS = 3
"""How often a session whose process was killed goes on from its last checkpoint."""
STOPPING = "stopping after this round; once more to stop at once\n"


@dataclass(frozen=True)
class Killed:
    """A session ended without a word, or because a process that it needs did; ``how`` is the signal's
    name, the exit code, or what was lost."""

    how: str
    who: str = "its process"


class Running(Protocol):
    """A session on its way."""

    job: Job

    def end(self) -> Outcome | Killed | None:
        """How it ended; None while it runs."""

    def ask_to_stop(self) -> None:
        """Lets it finish its round and save itself."""

    def kill(self) -> None:
        """Ends it at once; it says nothing more."""


class Engine(Protocol):
    """Where sessions run."""

    def fits(self, job: Job, running: Sequence[Running]) -> bool:
        """Whether ``job`` can be started beside those ``running``; asked only where some are."""

    def start(self, job: Job) -> Running:
        """Starts a session, which goes on from the checkpoint in its folder where there is one."""

    def wait(self, running: Sequence[Running]) -> Iterator[tuple[Running, Reached]]:
        """Waits until something happens; yields which sessions have come how far."""

    def close(self) -> None:
        """Gives back what it holds."""


class Launcher:
    """The jobs of one trial, or of all trials of an experiment.

    ``on_progress(job, reached)`` follows each session, ``on_end(job, outcome)`` sees it end, and may
    ``add`` further jobs or ``cancel`` some. A session that is killed goes on from its last checkpoint,
    at most three times.
    """

    def __init__(
        self,
        engine: Engine,
        on_progress: Callable[[Job, Reached], None],
        on_end: Callable[[Job, Outcome], None],
    ):
        self.engine, self.on_progress, self.on_end = engine, on_progress, on_end
        self.waiting = deque[Job]()
        self.running = list[Running]()
        self.deaths = Counter[str]()
        self.reached = dict[str, Reached]()
        self.stop = StopSignal(first=self._heard, again=self._kill)

    def add(self, jobs: Iterable[Job]) -> None:
        """Jobs to run, in this order, behind those that wait."""
        self.waiting.extend(jobs)

    def cancel(self, job: Job) -> None:
        """Takes ``job`` back, running or not; nothing more is heard of it."""
        self.waiting = deque(other for other in self.waiting if other is not job)
        for run in [run for run in self.running if run.job is job]:
            run.kill()
            self.running.remove(run)

    def run(self) -> StopSignal:
        """Runs all jobs. SIGTERM, SIGUSR1 or Ctrl-C lets running sessions finish their round; a second
        one kills them. Returns the signal block, which tells whether one came."""
        with self.stop, contextlib.ExitStack() as whatever_happens:
            whatever_happens.callback(self._kill)  # nothing is left running when this process fails
            while self.running or (self.waiting and not self.stop()):
                self._start()
                if self.running:
                    self._listen()
        while self.waiting:
            self.on_end(self.waiting.popleft(), Outcome("stopped", "not started"))
        return self.stop

    def _start(self) -> None:
        while self.waiting and not self.stop() and self._fits(self.waiting[0]):
            self.running.append(self.engine.start(self.waiting.popleft()))
            if self.stop():  # it came while that one was not yet among those to be asked
                self._ask_to_stop()

    def _fits(self, job: Job) -> bool:
        return not self.running or self.engine.fits(job, self.running)

    def _listen(self) -> None:
        for run, reached in self.engine.wait(list(self.running)):
            self.reached[run.job.folder] = reached
            self.on_progress(run.job, reached)
        for run in list(self.running):
            end = run.end()
            if end is None or run not in self.running:  # another's end has cancelled it
                continue
            self.running.remove(run)
            if isinstance(end, Killed) and not self.stop() and self.deaths[run.job.folder] < RESTARTS:
                self.deaths[run.job.folder] += 1
                self.on_progress(run.job, self._restarted(run.job, end))
                self.waiting.appendleft(run.job)
            else:
                self._start()  # first, so that no core waits while the end is recorded
                self.on_end(run.job, self._outcome(end))

    def _restarted(self, job: Job, end: Killed) -> Reached:
        """Where the session was, with what the user should know."""
        reached = self.reached.get(job.folder, Reached(0, math.nan))
        time = f"restart {self.deaths[job.folder]} of {RESTARTS}"
        warning = f"{end.who} died ({end.how}); it goes on from its last checkpoint, {time}"
        return reached._replace(warning=warning)

    def _outcome(self, end: Outcome | Killed) -> Outcome:
        if isinstance(end, Outcome):
            return end
        if self.stop():
            return Outcome("stopped", "killed while stopping")
        if end.who != Killed.who:
            return Outcome("failed", f"{end.who} died: {end.how}, after {RESTARTS} restarts")
        return Outcome("failed", f"its process died {RESTARTS + 1} times, at last by {end.how}")

    def _heard(self) -> None:
        if self.running:
            with contextlib.suppress(OSError):
                os.write(2, STOPPING.encode())  # a print may be under way that the signal interrupted
        self._ask_to_stop()

    def _ask_to_stop(self) -> None:
        for run in self.running:
            run.ask_to_stop()

    def _kill(self) -> None:
        for run in self.running:
            run.kill()
