"""The record on an MLflow server: the same, and what happens when the server does not answer."""

from __future__ import annotations

import logging
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from slm_lightning.errors import StorageError
from slm_lightning.tracking import Courier, Record, courier, store
from slm_lightning.tracking.pages import links
from slm_lightning.tracking.ui import serve
from tests.tracking.support import Relay, points, start, write


@pytest.fixture
def remote(relay: Relay, tmp_path: Path) -> Record:
    return Record(tmp_path / "mlruns", uri=relay.address)


def test_a_server_takes_the_whole_record(
    server_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server_address)
    record = Record(tmp_path / "mlruns")
    assert record.uri == server_address
    trial = start(record, "whole_t0", kind="trial")
    tags = {"slm.session": "0"}
    run_id = start(record, "whole_t0_s0", parent=trial, tags=tags, params={"agent.gamma": 0.99})
    rows = [{"frame": i, "total_reward": i / 3, "lr": 0.1} for i in range(60)]
    folder = record.folder(run_id)
    write(folder, *rows)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "ckpt-best.ckpt").write_bytes(b"\0weights")
    (folder / "spec.json").write_text("{}")
    record.log_artifacts(run_id, folder / "checkpoints", "checkpoints")
    record.log_artifacts(run_id, folder / "spec.json")
    assert record.finish(run_id, "FINISHED") == 0
    assert not folder.exists()

    run = record.find(run_id[:12])
    assert (run.status, run.parent, run.params) == ("FINISHED", trial, {"agent.gamma": "0.99"})
    assert not (record.root / "mlflow.db").exists()
    assert [child.run_id for child in record.children(trial)] == [run_id]
    assert record.artifacts(run_id) == ["checkpoints/ckpt-best.ckpt", "spec.json"]
    assert record.download(run_id, "checkpoints/ckpt-best.ckpt").read_bytes() == b"\0weights"
    assert sorted(p.name for p in record.download(run_id, "checkpoints").iterdir()) == [
        "ckpt-best.ckpt"
    ]
    history = record.history(run_id)
    assert history["total_reward"].tolist() == [row["total_reward"] for row in rows]
    assert history["lr"].tolist() == [0.1] * 60
    page = links(record, run_id)["run"]
    assert page.startswith(f"{server_address}/#/experiments/{run.experiment_id}/runs/{run_id}?")


def test_the_table_is_read_through_the_server(remote: Record, tmp_path: Path) -> None:
    run_id = start(remote)
    (tmp_path / "metrics.csv").write_text("frame,loss\n1,0.5\n")
    remote.log_artifacts(run_id, tmp_path / "metrics.csv", "tables")
    assert remote.history(run_id).to_dict("list") == {"frame": [1], "loss": [0.5]}


def test_ui_on_a_server_is_its_page(remote: Record, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = start(remote, "ppo_t0", kind="trial")
    serve(remote, open_browser=False)
    serve(remote, open_browser=False, run_id=run_id)
    charts, run = capsys.readouterr().out.splitlines()
    page = f"{remote.uri}/#/experiments/{remote.get(run_id).experiment_id}/runs"
    assert charts.startswith(f"charts  {page}?") and run.startswith(f"run     {page}/{run_id}?")


def test_a_server_that_goes_away_stops_nothing_and_gets_everything_later(
    remote: Record, relay: Relay, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    run_id = start(remote)
    folder = remote.folder(run_id)
    write(folder, {"frame": 1, "total_reward": 1.0})
    assert remote.deliver(run_id) == 0

    relay.cut()
    write(folder, {"frame": 2, "total_reward": 2.0}, {"frame": 3, "total_reward": 3.0})
    passing = tmp_path / "passing"
    passing.mkdir()
    (passing / "graph.html").write_text("<html>")
    with caplog.at_level(logging.WARNING):
        assert remote.deliver(run_id) == 2
        remote.log_metrics(run_id, {"strength": 0.5}, step=3)
        remote.set_tags(run_id, {"slm.status": "done"})
        remote.log_artifacts(run_id, passing, "graphs")
        (passing / "graph.html").unlink()
        remote.set_status(run_id, "FINISHED")
        assert remote.deliver(run_id) == 6
    assert len(caplog.records) == 1
    assert "the server does not answer. Training goes on" in caplog.text

    relay.mend()
    remote.pause(0)
    assert remote.deliver(run_id) == 0
    assert points(remote, run_id, "total_reward") == [(1, 1.0), (2, 2.0), (3, 3.0)]
    run = remote.get(run_id)
    assert (run.status, run.tags["slm.status"], run.metrics["strength"]) == ("FINISHED", "done", 0.5)
    assert remote.download(run_id, "graphs/graph.html").read_text() == "<html>"
    assert remote.finish(run_id, "FINISHED") == 0
    assert not folder.exists()


def test_a_run_that_ended_without_its_server_is_delivered_by_the_next_one(
    remote: Record, relay: Relay
) -> None:
    run_id = start(remote)
    relay.cut()
    write(remote.folder(run_id), {"frame": 1, "loss": 1.0})
    assert remote.finish(run_id, "FINISHED") == 2
    relay.mend()
    later = Record(remote.root, remote.uri)
    start(later)
    assert later.get(run_id).status == "FINISHED"
    assert points(later, run_id, "loss") == [(1, 1.0)]
    assert not later.working_folder(run_id).exists()


@pytest.mark.parametrize("write_first", ["log_artifacts", "set_status", "set_tags", "log_metrics"])
def test_whatever_comes_first_when_the_server_is_gone_waits(
    remote: Record, relay: Relay, tmp_path: Path, write_first: str
) -> None:
    run_id = start(remote)
    relay.cut()
    (tmp_path / "a.txt").write_text("here")
    argument = {
        "log_artifacts": tmp_path / "a.txt",
        "set_status": "FAILED",
        "set_tags": {"a": "b"},
        "log_metrics": {"a": 1.0},
    }
    getattr(remote, write_first)(run_id, argument[write_first])
    assert remote.pending(run_id) == 1
    relay.mend()
    remote.pause(0)
    assert remote.deliver(run_id) == 0
    run = remote.get(run_id)
    arrived = [remote.artifacts(run_id), run.status, run.tags.get("a"), run.metrics.get("a")]
    assert [["a.txt"], "FAILED", "b", 1.0][list(argument).index(write_first)] in arrived


def test_a_call_half_written_by_a_crash_does_no_harm(remote: Record, relay: Relay) -> None:
    run_id = start(remote)
    relay.cut()
    remote.set_tags(run_id, {"a": "b"})
    with (remote.working_folder(run_id) / ".record" / "outbox.jsonl").open("a") as file:
        file.write('["set_tags", {"ta')
    remote.set_tags(run_id, {"c": "d"})
    relay.mend()
    assert Record(remote.root, remote.uri).deliver(run_id) == 0
    assert {"a": "b", "c": "d"}.items() <= remote.get(run_id).tags.items()


def test_runs_of_other_machines_are_not_swept(remote: Record, tmp_path: Path) -> None:
    run_id = start(remote)
    other = Record(tmp_path / "another machine", uri=remote.uri)
    start(other)
    assert other.get(run_id).status == "RUNNING"


def test_a_dead_server_is_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        uri = f"http://user:secret@127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(StorageError, match=r"MLflow server at .* does not answer") as refused:
            Record(tmp_path, uri=uri).runs()
        assert "secret" not in str(refused.value)
        assert "MLFLOW_TRACKING_URI" in refused.value.hint
        nobody.listen()
        monkeypatch.setattr(store, "PROBE_SECONDS", 0.2)
        with pytest.raises(StorageError, match="does not answer"):
            Record(tmp_path, uri=uri).runs()


class TestCourier:
    def test_delivers_while_it_runs(self, record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
        run_id = start(record)
        delivered = threading.Event()
        deliver = Record.deliver

        def watched(self: Record, run_id: str, **how: bool) -> int:
            pending = deliver(self, run_id, **how)
            if points(record, run_id, "loss"):
                delivered.set()
            return pending

        monkeypatch.setattr(Record, "deliver", watched)
        with Courier(record, interval=0.01) as courier:
            write(record.folder(run_id), {"frame": 1, "loss": 1.0})
            courier.add(run_id)
            assert delivered.wait(60)
            assert courier.pending == 0

    def test_delivers_what_is_left_when_it_ends(self, record: Record) -> None:
        run_id = start(record)
        with Courier(record, [run_id], interval=3600):
            write(record.folder(run_id), {"frame": 1, "loss": 1.0})
        assert points(record, run_id, "loss") == [(1, 1.0)]

    def test_a_run_ends_though_another_is_delivered_meanwhile(
        self, record: Record, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run_id = start(record)
        set_status = record.set_status

        def while_the_courier_works(run_id: str, status: Any, at: float | None = None) -> None:
            taken, done = threading.Event(), threading.Event()

            def work() -> None:
                with record._turn:
                    taken.set()
                    done.wait(60)

            thread = threading.Thread(target=work)
            thread.start()
            assert taken.wait(60)
            set_status(run_id, status, at)  # gives up after a second
            assert record.pending(run_id) == 1
            done.set()
            thread.join()

        monkeypatch.setattr(record, "set_status", while_the_courier_works)
        assert record.finish(run_id, "FINISHED") == 0
        assert record.get(run_id).status == "FINISHED"
        assert not record.working_folder(run_id).exists()

    def test_ends_although_the_server_hangs(
        self,
        remote: Record,
        relay: Relay,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(courier, "EXIT_SECONDS", 0.2)
        run_id = start(remote)
        relay.choked.set()
        with Courier(remote, [run_id], interval=0.01):
            write(remote.folder(run_id), {"frame": 1, "loss": 1.0}, {"frame": 2, "loss": 2.0})
            remote.set_tags(run_id, {"slm.status": "done"})
        assert remote.waiting() == {run_id: 3}
        assert remote.finish(run_id, "FINISHED") == 4
        assert (remote.working_folder(run_id) / "metrics.jsonl").exists()
