"""MLflow's own UI on the store of the lab."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import webbrowser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NamedTuple
from urllib.error import URLError

from slm_lightning.errors import StorageError
from slm_lightning.tracking.pages import links
from slm_lightning.tracking.query import Reader

HOST = "127.0.0.1"
FIRST_PORT = 5000
PORTS = 20
START_SECONDS = 120
"""How long MLflow's server may take to answer; it is usually there in 5."""


def serve(
    record: Reader, port: int | None = None, open_browser: bool = True, run_id: str | None = None
) -> None:
    """Runs the UI until Ctrl-C; prints the pages of run ``run_id``, default the newest, and opens the
    first where there is a display. Of a remote store they are only shown: its server runs already.

    ``port``: default the first free one of 20 from 5000. Raises ``StorageError`` where it is in use.
    """
    if record.is_server:
        _show(links(record, run_id), open_browser)
        return
    default = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with server(record, port) as running:
            _show(links(record, run_id, running.address), open_browser)
            print("Ctrl-C stops the server.", flush=True)
            running.process.wait()
    except KeyboardInterrupt:
        return
    finally:
        signal.signal(signal.SIGTERM, default)
    raise StorageError("MLflow's server ended by itself")


class Server(NamedTuple):
    """A server that answers at ``address``."""

    address: str
    process: subprocess.Popen[bytes]


@contextmanager
def server(record: Reader, port: int | None = None) -> Iterator[Server]:
    """An MLflow server on the store of ``record``. One worker and no job runner: 0.5 GB of memory
    instead of 1.2. Raises ``StorageError``."""
    _ = record.client  # creates the store
    port = _free_port() if port is None else port
    if not _is_free(port):
        raise StorageError(f"port {port} is in use", hint="choose another --port, or leave it out")
    command = [sys.executable, "-m", "mlflow", "server"]
    command += ["--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--artifacts-destination", str(record.root / "artifacts")]
    settings = {
        "MLFLOW_BACKEND_STORE_URI": record.uri,  # may hold a password, so no argument
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONSAFEPATH": "1",
    }
    # nothing of the user's working directory is to be imported, and uvicorn does so from its own
    place = record.root if record.is_local else None
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command,
            cwd=place,
            env={**os.environ, **settings},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            address = f"http://{HOST}:{port}"
            if not _answers(address, process):
                log.seek(0)
                last = (log.read().strip().splitlines() or ["no output"])[-1]
                raise StorageError(f"MLflow's server did not start: {last}")
            yield Server(address, process)
        finally:
            _stop(process)


def _show(links: Mapping[str, str], open_browser: bool) -> None:
    for name, link in links.items():
        print(f"{name:<6}  {link}", flush=True)
    has_display = (
        sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    if open_browser and has_display:
        webbrowser.open(next(iter(links.values())))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    for port in range(FIRST_PORT, FIRST_PORT + PORTS):
        if _is_free(port):
            return port
    raise StorageError(
        f"ports {FIRST_PORT} to {FIRST_PORT + PORTS - 1} are all in use", hint="choose one with --port"
    )


def _answers(address: str, process: subprocess.Popen[bytes]) -> bool:
    """Waits for the server; False where it has ended or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with (
            suppress(URLError, OSError),
            urllib.request.urlopen(f"{address}/health", timeout=2) as answer,
        ):
            if answer.status == 200:
                return True
        time.sleep(0.1)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the server and the processes it started."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, kind)
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
