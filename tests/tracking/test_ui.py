"""The command that starts MLflow's UI, as a process of its own."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.error import URLError

import pytest

from slm_lightning.errors import StorageError
from slm_lightning.tracking import Record, ui
from slm_lightning.tracking.pages import links
from tests.tracking.support import free_port, start

SERVE = """
import sys
from pathlib import Path
from slm_lightning.tracking import Record, serve
serve(Record(Path(sys.argv[1])), int(sys.argv[2]), open_browser=False, run_id=sys.argv[3])
"""


def test_the_ui_answers_on_its_link_until_ctrl_c(record: Record) -> None:
    run_id = start(record)
    record.log_metrics(run_id, {"total_reward": 1.0})
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(record.root), str(free_port()), run_id],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    name, link = process.stdout.readline().split()
    address = link.partition("/#/")[0]
    query = f"{address}/ajax-api/2.0/mlflow/runs/get?run_id={run_id}"
    assert {name: link} == links(record, run_id, address)
    with urllib.request.urlopen(query, timeout=60) as answer:
        assert b'"total_reward"' in answer.read()
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    with pytest.raises(URLError):
        urllib.request.urlopen(query, timeout=60)


def test_a_busy_port_is_named(record: Record) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        with pytest.raises(StorageError, match=f"port {port} is in use") as caught:
            ui.serve(record, port)
        assert caught.value.exit_code == 6


def test_the_next_free_port_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        monkeypatch.setattr(ui, "FIRST_PORT", port)
        assert port < ui._free_port() <= port + 19
        monkeypatch.setattr(ui, "PORTS", 1)
        with pytest.raises(StorageError, match=f"ports {port} to {port} are all in use"):
            ui._free_port()


def test_a_browser_is_opened_where_there_is_a_display(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(ui.webbrowser, "open", opened.append)
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    ui._show({"page": "http://here", "run": "http://there"}, open_browser=True)
    assert opened == []
    monkeypatch.setenv("DISPLAY", ":0")
    ui._show({"page": "http://here", "run": "http://there"}, open_browser=False)
    assert opened == []
    ui._show({"page": "http://here", "run": "http://there"}, open_browser=True)
    assert opened == ["http://here"]
    assert capsys.readouterr().out == "page    http://here\nrun     http://there\n" * 3


def test_a_server_that_cannot_start_says_why(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ui.sys, "executable", "/bin/false")
    with pytest.raises(StorageError, match="server did not start: no output"), ui.server(record):
        pass


def test_a_store_that_is_no_database_starts_no_server(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError, match="not a database"):
        ui.serve(Record(tmp_path))
