"""Sessions on a Ray cluster, by the same code as on one machine.

Each runs in an actor that holds its share of a node (``seat``). What it writes comes back to the
driver's folder. So the machines need no common disk, the driver alone writes the record and the study,
and a session whose node is lost goes on elsewhere from the last checkpoint that arrived.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from slm_lightning.errors import MissingError, UsageError
from slm_lightning.lab.running.admission import usable_cores
from slm_lightning.lab.running.job import Job, Reached
from slm_lightning.lab.running.remote_session import Held, RemoteSession, Resources
from slm_lightning.lab.running.seat import Place, Seat, code

WAIT_SECONDS = 1.0
IDLE_SECONDS = 60.0
"""How long an actor is kept for the next session."""
PARTING_SECONDS = 10.0
"""How long actors may take to clean up at the end."""
PROBE_SECONDS = 5.0
"""How long a cluster may take to answer."""
STORE_BYTES = 512 * 2**20
"""Ray's memory for messages on a cluster of this machine's own."""
SURROUNDINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""Nothing is told to Ray's makers, and sessions without a GPU do not care which there are."""

log = logging.getLogger(__name__)


class RayEngine:
    """The cluster at ``address``, else at ``RAY_ADDRESS``; ``local`` starts one on this machine. At
    most ``cores`` of it are taken at once.

    Raises MissingError where Ray is not installed or no cluster answers, UsageError without an address.
    """

    def __init__(self, address: str | None = None, cores: float | None = None):
        self.ray = _connected(address, cores)
        self.cores = cores or math.inf
        self.lost = self.ray.exceptions.RayError
        self.code = code()
        self.seat = self.ray.remote(Seat)
        self.sessions: list[RemoteSession] = []
        self.idle: list[Held] = []
        self.seen: dict[str, Resources] = {}
        """What each node has, or had before it was lost, by its id."""

    def fits(self, job: Job, running: Sequence[Any]) -> bool:
        """Whether the nodes that are there have enough for all together. A session for which no single
        one has room waits in Ray's queue."""
        wanted = [self.resources(each) for each in (*(run.job for run in running), job)]
        there = self._look_around()
        return _total(wanted, "CPU") <= self.cores and all(
            _total(wanted, key) <= _total(there, key) for key in ("CPU", "GPU", "memory")
        )

    def start(self, job: Job) -> RemoteSession:
        self._settle()
        self._look_around()
        self.sessions.append(RemoteSession(self, job))
        return self.sessions[-1]

    def wait(self, running: Sequence[Any]) -> Iterator[tuple[Any, Reached]]:
        self._settle()
        asking = {run.question: run for run in running if run.end() is None}
        if not asking:
            return
        self.ray.wait(list(asking), timeout=WAIT_SECONDS)
        ready, _ = self.ray.wait(list(asking), num_returns=len(asking), timeout=0)
        for question in ready:
            run = asking[question]
            run.answer(self._answer_to(question))
            if run.reached is not None:
                yield run, run.reached
                run.reached = None

    def close(self) -> None:
        """Ends what still runs, gives everything back and leaves the cluster."""
        for session in self.sessions:
            session.kill()
        self._settle()
        self._dismiss(self.idle)
        self.ray.shutdown()

    def devices(self, job: Job) -> tuple[str, ...]:
        share = job.needs.gpus if self.resources(job)["GPU"] else 0.0
        ranks = range(len(job.devices))
        return tuple(f"cuda:{int(rank * share + 1e-9)}" if share else "cpu" for rank in ranks)

    def held_for(self, job: Job) -> Held:
        wanted = self.resources(job)
        for held in self.idle:
            if held.resources == wanted:
                self.idle.remove(held)
                return held
        self._dismiss(self.idle)
        options = {"num_cpus": wanted["CPU"], "num_gpus": wanted["GPU"], "memory": wanted["memory"]}
        return Held(self.seat.options(**options, scheduling_strategy="SPREAD").remote(), wanted)

    def take_back(self, held: Held, is_alive: bool) -> None:
        if is_alive:
            held.actor.clear.remote()
            held.since = time.monotonic()
            self.idle.append(held)
        else:
            self.ray.kill(held.actor)

    def check(self, place: Place) -> None:
        different = [
            f"{name} {version} instead of {self.code[name]}"
            for name, version in place.code.items()
            if version != self.code[name]
        ]
        if different:
            sentence = f"node {place.host} has {', '.join(different)}"
            raise MissingError(sentence, "install the same on every node of the cluster")

    def _settle(self) -> None:
        """Passes on what sessions have been told, and gives up actors that have long been idle."""
        for session in self.sessions:
            if session.end() is None:
                session.obey()
        self.sessions = [session for session in self.sessions if session.end() is None]
        late = time.monotonic() - IDLE_SECONDS
        self._dismiss([held for held in self.idle if held.since < late])

    def _dismiss(self, actors: Sequence[Held]) -> None:
        """Lets actors clean up and end."""
        partings = [held.actor.close.remote() for held in actors]
        if partings:
            self.ray.wait(partings, num_returns=len(partings), timeout=PARTING_SECONDS)
        for held in actors:
            self.ray.kill(held.actor)
        self.idle = [held for held in self.idle if held not in actors]

    def _answer_to(self, question: Any) -> Any:
        try:
            return self.ray.get(question)
        except self.lost as error:
            return error

    def _look_around(self) -> list[Resources]:
        """What the nodes have that are there now."""
        there = {node["NodeID"]: node["Resources"] for node in self.ray.nodes() if node["Alive"]}
        self.seen |= there
        return list(there.values())

    def resources(self, job: Job) -> Resources:
        """What a session takes of a node: what it needs, and a whole node where none has that much."""
        count = len(job.devices)
        gpus = job.needs.gpus * count if any(node.get("GPU") for node in self.seen.values()) else 0.0
        wanted = {
            "CPU": job.needs.cpus * count,
            "GPU": gpus if gpus <= 1 else math.ceil(gpus - 1e-9),
            "memory": float(job.needs.memory),
        }
        nodes = [node for node in self.seen.values() if node.get("CPU")]
        if not nodes or any(_carries(node, wanted) for node in nodes):
            return wanted
        largest = max(nodes, key=lambda node: (node.get("GPU", 0), node["CPU"], node.get("memory", 0)))
        return {key: min(value, largest.get(key, 0.0)) for key, value in wanted.items()}


def _carries(node: Resources, wanted: Resources) -> bool:
    return all(node.get(key, 0.0) >= value for key, value in wanted.items())


def _total(many: Sequence[Resources], key: str) -> float:
    return sum(one.get(key, 0.0) for one in many)


def _connected(address: str | None, cores: float | None) -> Any:
    """Ray, connected to the cluster."""
    address = address or os.environ.get("RAY_ADDRESS")
    if not address:
        raise UsageError(
            "no address of a Ray cluster",
            "give --address HOST:PORT, set RAY_ADDRESS, or --address local",
        )
    for name, value in SURROUNDINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise MissingError("Ray is not installed", 'pip install "slm-lightning[ray]"') from error
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        own = {"num_cpus": math.ceil(cores or usable_cores()), "object_store_memory": STORE_BYTES}
        options |= {"include_dashboard": False, **own}
    elif address != "auto":
        _probe(address, ray)
    ray._private.worker.print_to_stdstream = _log  # what Ray has to say of its nodes
    with _own_signals():
        try:
            ray.init(address, **options)
        except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
            raise _unreachable(address, str(error)) from error
    return ray


def _probe(address: str, ray: Any) -> None:
    """One quick question: Ray itself waits for minutes and complains on the way."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or "/" in address:
        raise UsageError(f'"{address}" is no address of a Ray cluster', "give HOST:PORT, auto or local")
    try:
        socket.create_connection((host, int(port)), PROBE_SECONDS).close()
    except OSError as error:
        raise _unreachable(address, error.strerror or str(error)) from error
    try:
        if os.environ.get("RAY_AUTH_MODE") == "token" and not _has_token():
            raise ray.exceptions.AuthenticationError("no token")  # without one, Ray aborts the process
        ray._raylet.GcsClient(address=address)
    except ray.exceptions.AuthenticationError as error:
        raise MissingError(
            f"the Ray cluster at {address} does not know our token",
            "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to a copy of the token of its head",
        ) from error


def _has_token() -> bool:
    path = os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")
    return "RAY_AUTH_TOKEN" in os.environ or Path(path).expanduser().is_file()


def _unreachable(address: str, reason: str) -> MissingError:
    first = reason.strip().splitlines()[0] if reason.strip() else "no answer"
    sentence = f"the Ray cluster at {address} cannot be used: {first[:300]}"
    return MissingError(sentence, "start it with ray start --head, or correct the address")


@contextmanager
def _own_signals() -> Iterator[None]:
    """Leaves SIGTERM to those who have it: Ray takes it for itself."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _log(data: dict[str, Any], *_: Any, **__: Any) -> None:
    log.debug("\n".join(data["lines"]))
