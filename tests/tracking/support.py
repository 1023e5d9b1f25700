"""What the tests of the record share."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from slm_lightning.tracking import Record


def start(record: Record, name: str = "ppo_t0", **options: Any) -> str:
    return record.create_run(experiment="ppo_cartpole", name=name, **{"kind": "session", **options})


def write(folder: Path, *rows: dict[str, Any], end: str = "\n") -> None:
    """Appends rows to a journal as a session does."""
    text = "\n".join(json.dumps({"time": 1.7e9 + row["frame"], **row}) for row in rows)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(text + end)


def points(record: Record, run_id: str, key: str) -> list[tuple[int, float]]:
    """What MLflow has of a metric, by frame."""
    history = record.client.get_metric_history(run_id, key)
    return sorted((point.step, point.value) for point in history)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


FAILURE = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Relay(socketserver.ThreadingTCPServer):
    """A way to the server that can be cut (connections refused), choked (no answer), failing (each
    answer is an error of the server) and mended."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, target: str):
        host, port = target.removeprefix("http://").split(":")
        self.target = (host, int(port))
        self.choked, self.failing = threading.Event(), threading.Event()
        self.connections: list[socket.socket] = []
        super().__init__(("127.0.0.1", 0), Passage)
        self.place = self.server_address
        self.address = f"http://127.0.0.1:{self.place[1]}"
        self.mend(first=True)

    def cut(self) -> None:
        self.shutdown()
        self.server_close()
        self._hang_up()

    def mend(self, first: bool = False) -> None:
        if not first:
            self.socket = socket.socket()
            self.server_bind()
            self.server_activate()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def _hang_up(self) -> None:
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self.connections.clear()


class Passage(socketserver.BaseRequestHandler):
    server: Relay

    def handle(self) -> None:
        if self.server.failing.is_set():
            self.request.recv(65536)
            self.request.sendall(FAILURE)
            return
        there = socket.create_connection(self.server.target)
        self.server.connections += [self.request, there]
        threading.Thread(target=self.pump, args=(there, self.request), daemon=True).start()
        self.pump(self.request, there)

    def pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if not self.server.choked.is_set():
                    target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)
