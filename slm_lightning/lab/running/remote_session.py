"""The driver's side of a session on another machine: a conversation with its seat."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from slm_lightning.errors import MissingError, StorageError
from slm_lightning.lab.running.copies import Copies
from slm_lightning.lab.running.job import Job, Outcome, Reached
from slm_lightning.lab.running.launch import Killed
from slm_lightning.lab.running.seat import CHUNK, Place

Resources = dict[str, float]
"""In Ray's terms: ``CPU``, ``GPU``, and ``memory`` in bytes."""


@dataclass(eq=False)
class Held:
    """An actor, and what it holds of its node; idle since ``since``, never yet where that is 0."""

    actor: Any
    resources: Resources
    since: float = 0.0


class Cluster(Protocol):
    """Who has the actors. ``lost`` is what a question raises when its actor cannot answer."""

    lost: type[Exception]

    def held_for(self, job: Job) -> Held:
        """An actor with what ``job`` needs: an idle one, or one that starts when there is room."""

    def take_back(self, held: Held, is_alive: bool) -> None:
        """Keeps an actor for the next session, or forgets one that is lost."""

    def check(self, place: Place) -> None:
        """Raises MissingError where other code runs there, which would give other numbers."""

    def devices(self, job: Job) -> tuple[str, ...]:
        """The devices of a session as its actor sees them."""


class RemoteSession:
    """A session on its way; it waits for the answer to its ``question``.

    What comes from a signal, maybe in the midst of a call to Ray, is only remembered for ``obey``.
    """

    def __init__(self, engine: Cluster, job: Job):
        self.engine, self.job = engine, job
        self.held: Held | None = None
        self.begun = self.is_asked = self.is_told = self.is_killed = False
        self.reached: Reached | None = None
        self._end: Outcome | Killed | None = None
        self._life = self._live()
        self.question: Any = next(self._life)

    def end(self) -> Outcome | Killed | None:
        return self._end

    def ask_to_stop(self) -> None:
        self.is_asked = True

    def kill(self) -> None:
        self.is_killed = True

    def obey(self) -> None:
        """Does what it has been told since the last time."""
        if self.is_killed:
            self._finish(Killed("SIGKILL"), is_alive=self.begun)
        elif self.is_asked and not self.begun:
            self._finish(Outcome("stopped", "not started"), is_alive=False)
        elif self.is_asked and not self.is_told:
            assert self.held is not None
            self.held.actor.stop.remote()
            self.is_told = True

    def answer(self, value: Any) -> None:
        """Goes on with the answer, an exception where there is none."""
        go_on = self._life.throw if isinstance(value, Exception) else self._life.send
        try:
            self.question = go_on(value)
        except StopIteration as stop:
            self._finish(stop.value, is_alive=True)
        except self.engine.lost as error:
            self._finish(Killed(_how(error)), is_alive=False)
        except OSError as error:
            said = error.strerror or str(error)
            sentence = f"what a session writes cannot be kept in {self.job.folder}: {said}"
            raise StorageError(
                sentence, "make room there; then slm-lightning resume goes on"
            ) from error

    def _finish(self, end: Outcome | Killed, is_alive: bool) -> None:
        self._life.close()
        self._end = end
        if self.held is not None:
            self.engine.take_back(self.held, is_alive)

    def _live(self) -> Generator[Any, Any, Outcome | Killed]:
        """Yields every question, from the first to the last."""
        actor = yield from self._sit()
        copies = Copies(self.job.folder)
        puts = [actor.put.remote(name, data) for name, data in copies.parts()]
        job = replace(self.job, devices=self.engine.devices(self.job))
        self.begun = True
        copies.known = yield actor.begin.remote(job, *puts)
        while True:
            news = yield actor.poll.remote(copies.marks(), copies.is_due)
            self.reached = news.reached or self.reached
            copies.grow(news.tails)
            if news.files is not None:
                with copies.taking(news.files) as asides:
                    for name, aside in asides.items():
                        yield from _fetch(actor, name, aside)
            if news.end is not None:
                return news.end

    def _sit(self) -> Generator[Any, Any, Any]:
        """Takes an actor; another one where it is lost before the session has begun."""
        while True:
            self.held = self.engine.held_for(self.job)
            try:
                place = yield self.held.actor.open.remote()
            except self.engine.lost as error:
                if getattr(error, "actor_init_failed", False):
                    _refuse_bare_node(error)
                    raise
                self.engine.take_back(self.held, is_alive=False)
                continue
            self.engine.check(place)
            return self.held.actor


def _fetch(actor: Any, name: str, path: Path) -> Generator[Any, Any, None]:
    with path.open("wb") as file:
        data = None
        while data is None or len(data) == CHUNK:
            data = yield actor.read.remote(name, file.tell())
            file.write(data)


def _how(error: Exception) -> str:
    """What has ended a session, in a few words."""
    said = str(getattr(error, "cause", None) or error).strip().splitlines()
    return ": ".join([type(error).__name__, *said[:1]])


def _refuse_bare_node(error: Exception) -> None:
    """Raises MissingError where an actor did not start because its node lacks a package."""
    last = str(error).strip().splitlines()[-1].strip()
    if last.startswith(("ModuleNotFoundError", "ImportError")):
        raise MissingError(
            f"a node cannot run sessions: {last}",
            "install slm-lightning and its dependencies on every node of the cluster",
        ) from error
