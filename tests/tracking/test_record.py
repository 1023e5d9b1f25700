"""Writing the record into the default store."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sqlite3
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from slm_lightning.errors import LockedError, StorageError
from slm_lightning.tracking import Record, flatten
from slm_lightning.tracking.journal import Cursor
from tests.tracking.support import points, start, write


def test_nothing_is_created_before_the_first_run(tmp_path: Path) -> None:
    record = Record(tmp_path / "mlruns")
    record.sweep()
    assert record.runs() == []
    assert not record.root.exists()


def test_the_store_lies_where_the_environment_says(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLM_MLRUNS")
    assert Record().uri == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    monkeypatch.setenv("SLM_MLRUNS", "elsewhere")
    assert Record().uri == f"sqlite:///{tmp_path}/elsewhere/mlflow.db"
    assert Record(tmp_path / "here").root == tmp_path / "here"
    own = f"sqlite:///{root.rename(tmp_path / 'own')}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", own)
    record = Record()
    run_id = start(record)
    assert (record.uri, record.root) == (own, tmp_path / "elsewhere")
    assert record.get(run_id).artifact_uri.startswith(f"{tmp_path}/elsewhere/artifacts/")


def test_a_new_store_is_ignored_by_git(empty_database: Path, root: Path) -> None:
    assert empty_database.with_name(".gitignore").read_text() == "*\n"
    start(Record(root))
    assert not (root / ".gitignore").exists(), "a folder that was there is its user's"


def test_a_path_may_hold_any_character(tmp_path: Path, root: Path) -> None:
    strange = tmp_path / "a b?%20#ü"
    root.rename(strange)
    run_id = start(Record(strange))
    assert Record(strange).find(run_id).name == "ppo_t0"


def test_runs_nest_and_carry_tags_and_params(record: Record) -> None:
    study = start(record, "ppo", kind="experiment")
    trial = start(record, "ppo_t0", kind="trial", parent=study, tags={"slm.trial": "0"})
    spec = {
        "agent": {"algorithm": {"gamma": 0.99, "name": "PPO"}, "net": {"hid": [64, 64]}},
        "search": {},
    }
    session = start(record, "ppo_t0_s0", parent=trial, params=flatten(spec))
    found = record.get(session)
    assert (found.kind, found.parent, found.status) == ("session", trial, "RUNNING")
    assert found.experiment == "ppo_cartpole"
    assert found.end is None
    assert found.params == {
        "agent.algorithm.gamma": "0.99",
        "agent.algorithm.name": "PPO",
        "agent.net.hid": "[64, 64]",
        "search": "{}",
    }
    assert [run.run_id for run in record.children(study)] == [trial]
    assert record.get(trial).tags["slm.trial"] == "0"
    assert record.get(study).parent is None


def test_hundreds_of_params_and_long_ones_fit(record: Record) -> None:
    run_id = start(record, params={f"p{i}": i for i in range(250)} | {"long": "x" * 9000})
    params = record.get(run_id).params
    assert len(params) == 251
    assert params["long"] == "x" * 5999 + "…"


def test_secrets_stay_out(record: Record) -> None:
    run_id = start(
        record,
        tags={"note": "used hf_abcdefghij0123456789"},
        params={"env.api_token": "hunter2", "env.url": "https://me:pw@host/x"},
    )
    record.set_tags(run_id, {"why": "token=abc123"})
    stored = record.database.read_bytes() + record.database.with_name("mlflow.db-wal").read_bytes()
    assert b"[redacted]" in stored
    for secret in (b"hf_abcdefghij", b"hunter2", b"me:pw", b"abc123"):
        assert secret not in stored


def test_rows_become_points_by_frame_at_their_own_time(record: Record) -> None:
    run_id = start(record)
    write(
        record.folder(run_id),
        {"frame": 500, "loss": 1.0},
        {"frame": 1000, "loss": float("nan"), "a@b": 3},
    )
    assert record.deliver(run_id) == 0
    assert points(record, run_id, "loss") == [(500, 1.0)]
    assert points(record, run_id, "a_b") == [(1000, 3.0)]
    (point,) = record.client.get_metric_history(run_id, "loss")
    assert point.timestamp == 1_700_000_500_000


def test_nothing_is_sent_twice(record: Record, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = start(record)
    write(record.folder(run_id), {"frame": 1, "total_reward": 5.0})
    record.deliver(run_id)
    sent = []
    monkeypatch.setattr(Record, "_send", lambda self, run_id, points: sent.extend(points))
    record.deliver(run_id)
    Record(root).deliver(run_id)
    assert sent == []
    write(record.folder(run_id), {"frame": 2, "total_reward": 6.0})
    Record(root).deliver(run_id)
    assert [point.frame for point in sent] == [2]


def test_a_process_killed_between_sending_and_noting_it_leaves_no_doubles(
    record: Record, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    run_id = start(record)
    rows = [{"frame": i, "total_reward": i / 3, "lr": 0.1} for i in range(10)]
    write(record.folder(run_id), *rows)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Cursor, "save", die)
        record.deliver(run_id)
    assert len(points(record, run_id, "total_reward")) == 10, "it was sent"
    assert Record(root).deliver(run_id, final=True) == 0
    assert points(record, run_id, "total_reward") == [
        (row["frame"], row["total_reward"]) for row in rows
    ]
    assert points(record, run_id, "lr") == [(0, 0.1), (9, 0.1)]


def test_a_torn_last_line_is_no_pending_row(record: Record) -> None:
    run_id = start(record)
    write(record.folder(run_id), {"frame": 1, "loss": 1.0}, {"frame": 2, "loss": 2.0}, end="")
    assert record.deliver(run_id) == 0
    assert points(record, run_id, "loss") == [(1, 1.0)]


def test_scalars_tags_and_artifacts(record: Record, tmp_path: Path) -> None:
    run_id = start(record)
    record.log_metrics(run_id, {"strength": 0.5, "bad": float("nan")}, step=1000)
    record.set_tags(run_id, {"slm.status": "done"})
    folder = record.folder(run_id)
    (folder / "graphs").mkdir()
    (folder / "graphs" / "session.html").write_text("<html>")
    (tmp_path / "spec.json").write_text("{}")
    record.log_artifacts(run_id, folder)
    record.log_artifacts(run_id, tmp_path / "spec.json")
    record.log_artifacts(run_id, folder / "graphs", "more/graphs")
    run = record.get(run_id)
    assert run.metrics == {"strength": 0.5}
    assert points(record, run_id, "strength") == [(1000, 0.5)]
    assert run.tags["slm.status"] == "done"
    assert record.artifacts(run_id) == ["graphs/session.html", "more/graphs/session.html", "spec.json"]


def test_an_artifact_is_replaced_whole(record: Record, tmp_path: Path) -> None:
    run_id = start(record)
    (tmp_path / "a.txt").write_text("old")
    record.log_artifacts(run_id, tmp_path / "a.txt")
    reader = record.download(run_id, "a.txt").open()
    (tmp_path / "a.txt").write_text("new")
    record.log_artifacts(run_id, tmp_path / "a.txt")
    assert reader.read() == "old", "an open file stays as it was"
    assert record.download(run_id, "a.txt").read_text() == "new"
    assert record.artifacts(run_id) == ["a.txt"]


def test_what_mlflow_refuses_is_an_error(record: Record, tmp_path: Path) -> None:
    run_id = start(record)
    with pytest.raises(StorageError, match="log_artifacts"):
        record.log_artifacts(run_id, tmp_path / "missing")
    record.client.delete_run(run_id)
    with pytest.raises(StorageError, match="'active' state"):
        record.set_tags(run_id, {"a": "b"})


def test_a_clean_finish_leaves_no_working_folder(record: Record) -> None:
    run_id = start(record)
    write(record.folder(run_id), {"frame": 1, "lr": 0.1}, {"frame": 2, "lr": 0.1})
    assert record.finish(run_id, "FINISHED") == 0
    assert not record.working_folder(run_id).exists()
    assert points(record, run_id, "lr") == [(1, 0.1), (2, 0.1)]
    run = record.get(run_id)
    assert run.status == "FINISHED"
    assert run.end is not None and run.end >= run.start
    assert record.deliver(run_id) == 0


@pytest.mark.parametrize("status", ["FAILED", "KILLED"])
def test_another_end_keeps_what_a_resume_needs(record: Record, status: str) -> None:
    run_id = start(record)
    write(record.folder(run_id), {"frame": 1, "loss": 1.0})
    record.finish(run_id, status)
    assert record.get(run_id).status == status
    assert (record.working_folder(run_id) / "metrics.jsonl").exists()
    record.hold(run_id)
    record.set_status(run_id, "RUNNING")
    resumed = record.get(run_id)
    assert (resumed.status, resumed.end) == ("RUNNING", None)
    write(record.folder(run_id), {"frame": 2, "loss": 2.0})
    record.finish(run_id, "FINISHED")
    assert record.get(run_id).status == "FINISHED"
    assert points(record, run_id, "loss") == [(1, 1.0), (2, 2.0)]


def test_a_run_has_one_owner(record: Record, root: Path) -> None:
    run_id = start(record)
    other = Record(root)
    with pytest.raises(
        LockedError, match=f"run {run_id} is in use by process {os.getpid()} on "
    ) as caught:
        other.hold(run_id)
    assert caught.value.exit_code == 9
    record.hold(run_id)
    record.finish(run_id, "KILLED")
    other.hold(run_id)


def test_a_sweep_leaves_live_runs_alone(record: Record, root: Path) -> None:
    run_id = start(record)
    record.sweep()
    Record(root).sweep()
    assert record.get(run_id).status == "RUNNING"


def test_a_sweep_settles_what_a_dead_process_left(record: Record, root: Path) -> None:
    """Its death is what closes the lock: the same is done here by hand."""
    running, late, bare = start(record, "running"), start(record, "late"), start(record, "bare")
    record.finish(late, "FINISHED")
    write(record.folder(late), {"frame": 1, "loss": 1.0})
    write(record.folder(running), {"frame": 1, "lr": 1.0}, {"frame": 2, "lr": 1.0})
    for run_id in (running, bare):
        record._folder(run_id).release()
    record._folder(bare).remove()
    Record(root).sweep()
    assert record.get(running).status == record.get(bare).status == "KILLED"
    assert points(record, running, "lr") == [(1, 1.0), (2, 1.0)]
    assert record.working_folder(running).exists()
    assert record.get(late).status == "FINISHED"
    assert points(record, late, "loss") == [(1, 1.0)]
    assert not record.working_folder(late).exists()
    record.hold(running)


def test_a_deleted_run_troubles_no_sweep(
    record: Record, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = start(record)
    write(record.folder(run_id), {"frame": 1, "loss": 1.0})
    record._folder(run_id).release()
    record.client.delete_run(run_id)
    with caplog.at_level(logging.WARNING):
        start(Record(root))
    assert caplog.records == []


def _work(root: Path, barrier: Barrier, number: int) -> None:
    barrier.wait()
    record = Record(root)
    run_id = start(record, f"cold_t{number}")
    write(record.folder(run_id), {"frame": number, "loss": 1.0})
    record.deliver(run_id)
    if number == 0:
        os._exit(1)
    record.finish(run_id, "FINISHED")


@pytest.mark.parametrize("count", [6, pytest.param(20, marks=pytest.mark.slow)])
def test_processes_start_one_store_at_once_and_one_dies(tmp_path: Path, count: int) -> None:
    root = tmp_path / "mlruns"
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(count)
    processes = [context.Process(target=_work, args=(root, barrier, i)) for i in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [1] + [0] * (count - 1)
    record = Record(root)
    record.sweep()
    runs = {run.name: run for run in record.runs()}
    ends = [runs[f"cold_t{i}"].status for i in range(count)]
    assert ends == ["KILLED"] + ["FINISHED"] * (count - 1)
    assert {run.experiment for run in runs.values()} == {"ppo_cartpole"}
    assert [points(record, runs[f"cold_t{i}"].run_id, "loss") for i in range(count)] == [
        [(i, 1.0)] for i in range(count)
    ]
    with sqlite3.connect(record.database) as connection:
        assert connection.execute("pragma journal_mode").fetchone() == ("wal",)


def test_a_store_that_does_not_open_says_so_at_once(tmp_path: Path, root: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StorageError, match=r"record at .*file/mlruns cannot be used: .*Not a directory"
    ) as no:
        start(Record(tmp_path / "file" / "mlruns"))
    assert no.value.exit_code == 6
    assert "writable" in no.value.hint
    (root / "mlflow.db").write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError, match="file is not a database"):
        Record(root)
    with pytest.raises(StorageError, match="file store, which MLflow no longer writes"):
        Record(root, uri="file:./mlruns")


def test_a_database_that_breaks_later_is_a_storage_error(record: Record) -> None:
    run_id = start(record)
    with sqlite3.connect(record.database) as connection:
        connection.execute("drop table runs")
    write(record.folder(run_id), {"frame": 1, "loss": 1.0})
    assert record.deliver(run_id) == 1
    with pytest.raises(StorageError, match="no such table: runs"):
        record.get(run_id)


def test_a_deleted_experiment_is_named(record: Record) -> None:
    run_id = start(record)
    record.client.delete_experiment(record.get(run_id).experiment_id)
    with pytest.raises(StorageError, match='experiment "ppo_cartpole" was deleted'):
        start(record)
