"""What an MLflow server that is dead, slow or failing costs a run, and what is missing afterwards.

    python -m benchmarks.record_outage [--frames 60000] [--sessions 2] [--only dead slow]

The same trial runs on a server that is well, that is dead from the start, that answers after 5 s, that
answers each request with an error, and that is killed in the midst of the run. Frames per second are
those that the sessions themselves count, the wait at the end is that of the command behind its last
session. Then the server is well again, ``slm-lightning sync`` is called, and the curves on the server
are compared, point by point, with those of the run that nothing disturbed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

from mlflow import MlflowClient

from benchmarks.measure.arguments import count
from slm_lightning.tracking import Record
from slm_lightning.tracking.ui import server

LATENCY = 5.0
REQUESTS = 5
"""Writes that a server takes before it is killed: those of the beginning, and some rows."""
SPEC = Path(__file__).parent.parent / "specs" / "a2c" / "cartpole.json"
KEY = "total_reward_ma"
FAULTS = ("well", "dead", "slow", "failing", "killed", "well again")


class Fault(ThreadingHTTPServer):
    """A way to the server on which every request meets ``fault``."""

    daemon_threads = True

    def __init__(self, target: str, fault: str):
        self.target, self.fault = target.removeprefix("http://"), fault
        self.left = REQUESTS if fault == "killed" else -1
        super().__init__(("127.0.0.1", 0), Passage)
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()


class Passage(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Fault

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length) if length else None
        self.server.left -= "log-batch" in self.path
        if self.server.fault == "dead" or self.server.left == 0:
            self.server.fault, self.server.left = "dead", -1
            self.connection.close()
            self.close_connection = True
            return
        if self.server.fault == "failing":
            self._reply(500, "text/plain", b"")
            return
        if self.server.fault == "slow":
            time.sleep(LATENCY)
        there = HTTPConnection(self.server.target, timeout=60)
        headers = {key: self.headers[key] for key in self.headers if key.lower() != "host"}
        there.request(self.command, self.path, body, headers)
        answer = there.getresponse()
        self._reply(answer.status, answer.getheader("Content-Type", "text/plain"), answer.read())

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _reply(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...

    def handle(self) -> None:
        with suppress(OSError):  # the other side has not waited
            super().handle()


class Ran(NamedTuple):
    """What a run came to: frames per second of its sessions, seconds it took, its exit code, what it
    said was pending, and its curves afterwards."""

    fps: float
    seconds: float
    code: int
    pending: int
    curves: dict[str, list[tuple[int, float]]]


def lab(*arguments: str, root: Path, address: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "slm_lightning", *arguments],
        env={**os.environ, "SLM_MLRUNS": str(root), "MLFLOW_TRACKING_URI": address},
        text=True,
        capture_output=True,
        check=False,
    )


def measured(target: str, fault: str, root: Path, frames: int, sessions: int) -> Ran:
    """Runs the trial on a server with this fault, mends it, and delivers what waits."""
    way = Fault(target, "well" if fault == "well again" else fault)
    begun = time.perf_counter()
    done = lab(
        *("run", str(SPEC), "--sessions", str(sessions), "--set", f"env.max_frame={frames}", "--json"),
        *("--set", "meta.log_frequency=500"),
        root=root,
        address=way.address,
    )
    seconds = time.perf_counter() - begun
    result = json.loads(done.stdout)
    pending = re.search(r"mlflow: (\d+) pending", done.stderr)
    way.fault, way.left = "well", -1
    if pending:
        lab("sync", root=root, address=way.address)
    record = Record(root, way.address)
    runs = record.children(record.find(result["run_id"]).run_id)
    curves = {run.name: history(record.client, run.run_id) for run in runs}
    fps = statistics.mean(record.history(run.run_id)["fps"].mean() for run in runs)
    way.shutdown()
    return Ran(fps, seconds, done.returncode, int(pending[1]) if pending else 0, curves)


def history(client: MlflowClient, run_id: str) -> list[tuple[int, float]]:
    return sorted((point.step, point.value) for point in client.get_metric_history(run_id, KEY))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=count, default=60_000)
    parser.add_argument("--sessions", type=count, default=2)
    parser.add_argument("--only", nargs="*", choices=FAULTS, help="Beside the undisturbed run.")
    arguments = parser.parse_args()
    faults = ["well", *(f for f in FAULTS[1:] if not arguments.only or f in arguments.only)]
    with tempfile.TemporaryDirectory() as scratch, server(Record(Path(scratch, "server"))) as running:
        print("server       fps    of well  command  exit  pending  points  missing  doubles")
        undisturbed: Ran | None = None
        for number, fault in enumerate(faults):
            root = Path(scratch, str(number))
            ran = measured(running.address, fault, root, arguments.frames, arguments.sessions)
            undisturbed = undisturbed or ran
            points = [(name, p) for name, curve in ran.curves.items() for p in curve]
            wanted = {(name, p) for name, curve in undisturbed.curves.items() for p in curve}
            doubles = sum(n - 1 for n in Counter((name, p[0]) for name, p in points).values())
            print(
                f"{fault:<11}{ran.fps:6.0f}{ran.fps / undisturbed.fps:10.3f}{ran.seconds:8.1f} s"
                f"{ran.code:6}{ran.pending:9}{len(points):8}{len(wanted - set(points)):9}{doubles:9}",
                flush=True,
            )


if __name__ == "__main__":
    main()
