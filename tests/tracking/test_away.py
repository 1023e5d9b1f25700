"""Runs that begin while the MLflow server is away, are slow to be taken, or are delivered by sync."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import pytest

from slm_lightning.errors import StorageError
from slm_lightning.tracking import Courier, Record, record, store, sync
from tests.support import Lab
from tests.tracking.support import Relay, points, start, write


@pytest.fixture
def remote(relay: Relay, tmp_path: Path) -> Record:
    return Record(tmp_path / "mlruns", uri=relay.address)


def begin_away(remote: Record) -> tuple[str, str]:
    """A trial with one session, begun without a server."""
    trial = start(remote, "away_t0", kind="trial", tags={"slm.env": "CartPole-v1"})
    return trial, start(remote, "away_t0_s0", parent=trial, params={"agent.gamma": 0.99})


def test_a_run_that_begins_without_its_server_is_created_later(
    remote: Record, relay: Relay, tmp_path: Path
) -> None:
    relay.cut()
    trial, session = begin_away(remote)
    assert remote.get(session).parent == trial and remote.get(trial).name == "away_t0"
    (tmp_path / "spec.json").write_text("{}")
    remote.log_artifacts(trial, tmp_path / "spec.json")
    rows = [{"frame": i, "total_reward": i / 3} for i in range(30)]
    write(remote.folder(session), *rows)
    assert remote.finish(session, "FINISHED") == 32, "30 rows, the run itself and its status"
    assert remote.finish(trial, "FINISHED") == 3
    relay.mend()

    later = Record(remote.root, remote.uri)
    assert sorted(done.delivered for done in sync(later)) == [3, 32]
    assert [*(remote.root / "runs").iterdir()] == []
    found, above = later.find(session[:8]), later.find(trial)
    assert (found.parent, found.params["agent.gamma"]) == (above.run_id, "0.99")
    assert (found.status, above.status, above.tags["slm.env"]) == (
        "FINISHED",
        "FINISHED",
        "CartPole-v1",
    )
    assert points(later, found.run_id, "total_reward") == [
        (r["frame"], r["total_reward"]) for r in rows
    ]
    assert later.artifacts(above.run_id) == ["spec.json"]
    assert sync(later) == []


def test_a_run_that_was_begun_without_its_server_goes_on_with_it(remote: Record, relay: Relay) -> None:
    relay.cut()
    trial, session = begin_away(remote)
    relay.mend()
    remote.pause(0)
    write(remote.folder(session), {"frame": 1, "loss": 1.0})
    assert remote.deliver(session) == 0
    another = start(remote, "away_t0_s1", parent=trial)
    assert remote.finish(another, "KILLED") == remote.finish(session, "KILLED") == 0
    assert remote.finish(trial, "KILLED") == 0
    above = remote.find(trial)
    below = [child.name for child in remote.children(above.run_id)]
    assert sorted(below) == ["away_t0_s0", "away_t0_s1"]
    kept = remote.working_folder(remote.find(session).run_id)
    assert (kept / "metrics.jsonl").exists(), "what a resume needs lies where it looks for it"
    resumed = Record(remote.root, remote.uri)
    resumed.hold(kept.name)
    write(kept, {"frame": 2, "loss": 2.0})
    assert resumed.finish(kept.name, "FINISHED") == 0
    assert points(resumed, kept.name, "loss") == [(1, 1.0), (2, 2.0)]


def test_a_run_whose_creation_was_not_confirmed_is_created_once(
    remote: Record, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = remote.client.create_run

    def cut_off(*arguments: object, **options: object) -> None:
        create(*arguments, **options)
        relay.cut()
        remote.client.get_experiment("0")  # raises as the answer would have been lost

    monkeypatch.setattr(remote.client, "create_run", cut_off)
    trial = start(remote, "away_t0", kind="trial", params={"agent.gamma": 0.99})
    monkeypatch.undo()
    relay.mend()
    remote.pause(0)
    assert remote.finish(trial, "FINISHED") == 0
    (found,) = [run for run in remote.runs() if run.tags.get("slm.id") == trial]
    assert (found.status, found.params) == ("FINISHED", {"agent.gamma": "0.99"})


def test_an_experiment_needs_its_server(remote: Record, relay: Relay) -> None:
    relay.cut()
    with pytest.raises(StorageError, match="does not answer"):
        start(remote, "search", kind="experiment")
    assert not remote.root.exists()


def test_nobody_but_the_courier_waits_for_a_slow_server(
    remote: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "SLOW", 0.0)
    run_id = start(remote)
    write(remote.folder(run_id), *({"frame": i, "loss": float(i)} for i in range(5)))
    remote.set_tags(run_id, {"first": "sent"})
    remote.set_tags(run_id, {"second": "waits"})
    assert remote.finish(run_id, "FINISHED") == 7
    assert "second" not in remote.get(run_id).tags
    assert [done.delivered for done in sync(Record(remote.root, remote.uri))] == [7]
    assert remote.get(run_id).tags["second"] == "waits"


def test_a_courier_delivers_at_the_pace_of_a_slow_server(
    remote: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "SLOW", 0.0)
    run_id = start(remote)
    with Courier(remote, [run_id], interval=0.01):
        write(remote.folder(run_id), {"frame": 1, "loss": 1.0}, {"frame": 2, "loss": 2.0})
        remote.set_tags(run_id, {"slm.status": "done"})
    assert points(remote, run_id, "loss") == [(1, 1.0), (2, 2.0)]


def test_sync_tells_what_it_did(
    remote: Record, relay: Relay, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", relay.address)
    monkeypatch.setenv("SLM_MLRUNS", str(remote.root))
    relay.cut()
    trial, session = begin_away(remote)
    for run_id in (session, trial):
        write(remote.folder(run_id), {"frame": 1, "loss": 1.0})
        remote.finish(run_id, "FINISHED")
    refused = lab("sync")
    assert refused.code == 6
    assert "does not answer; 6 values and files wait in" in refused.err
    relay.mend()
    assert "6 values wait" in lab("list").err
    done = lab("sync")
    assert (done.code, done.err) == (0, "")
    assert sorted(line.split() for line in done.out.splitlines()) == sorted(
        [["run", "delivered", "waiting"], [trial[:8], "3", "0"], [session[:8], "3", "0"]]
    )
    assert "nothing waits" in lab("sync").out
    assert lab("list").err == ""


def test_a_server_that_fails_at_every_request_stops_nothing(
    remote: Record, relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    relay.failing.set()
    with caplog.at_level(logging.WARNING):
        trial, session = begin_away(remote)
        write(remote.folder(session), {"frame": 1, "loss": 1.0})
        assert remote.finish(session, "FINISHED") == 3
        assert remote.finish(trial, "FINISHED") == 2
    assert caplog.records == [], "nobody has to know yet"
    relay.failing.clear()
    assert len(sync(Record(remote.root, remote.uri))) == 2
    assert points(remote, remote.find(session).run_id, "loss") == [(1, 1.0)]


def test_a_server_that_hangs_at_the_start_keeps_nobody_long(
    remote: Record, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PROBE_SECONDS", 0.2)
    relay.choked.set()
    begun = threading.Event()
    worker = threading.Thread(target=lambda: (begin_away(remote), begun.set()), daemon=True)
    worker.start()
    assert begun.wait(10)
    assert time.monotonic() < remote._away_until
