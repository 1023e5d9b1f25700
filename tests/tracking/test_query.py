"""Reading the record from the default store."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pandas as pd
import pytest
from mlflow.entities import Run

from slm_lightning.errors import StorageError, UsageError
from slm_lightning.tracking import Record
from tests.tracking.support import start, write


@pytest.fixture
def trial(record: Record) -> str:
    """A trial with eleven sessions, created in no particular order."""
    trial = start(record, "ppo_t0", kind="trial", tags={"slm.trial": "0"})
    for s in (10, 2, 0, 1, 3, 4, 5, 6, 7, 8, 9):
        tags = {"slm.trial": "0", "slm.session": str(s)}
        run_id = start(record, f"ppo_t0_s{s}", parent=trial, tags=tags)
        record.log_metrics(run_id, {"total_reward_ma": 100.0 + s})
    return trial


def test_children_come_in_the_order_of_their_numbers(record: Record, trial: str) -> None:
    assert [run.name for run in record.children(trial)] == [f"ppo_t0_s{s}" for s in range(11)]


def test_runs_come_newest_first(record: Record, trial: str) -> None:
    other = record.create_run(experiment="dqn_pong", name="dqn_t0", kind="trial")
    record.client.create_run("0", run_name="somebody else's")
    assert [run.name for run in record.runs(kind="trial")] == ["dqn_t0", "ppo_t0"]
    assert len(record.runs()) == 13
    assert [run.run_id for run in record.runs(limit=1)] == [other]
    assert [run.name for run in record.runs("ppo_cartpole", "trial")] == ["ppo_t0"]
    assert record.runs("unknown") == []


def test_a_run_is_found_by_id_beginning_or_name(record: Record, trial: str) -> None:
    for handle in (trial, trial[:8], "ppo_t0"):
        assert record.find(handle).run_id == trial
    assert record.find("ppo_t0_s1").metrics == {"total_reward_ma": 101.0}


def test_a_name_that_fits_several_runs_lists_them(record: Record, trial: str) -> None:
    again = start(record, "ppo_t0_s1")
    first = record.children(trial)[1].run_id
    with pytest.raises(UsageError, match='"ppo_t0_s1" fits 2 runs') as caught:
        record.find("ppo_t0_s1")
    assert caught.value.exit_code == 2
    lines = caught.value.hint.splitlines()[1:]
    assert [line.split()[0] for line in lines] == [again[:8], first[:8]]
    assert lines[1].endswith("total_reward_ma 101")
    assert str(record.get(again).start.astimezone().year) in lines[0]


def test_the_beginning_of_two_ids_lists_both(record: Record) -> None:
    """Ids are drawn by MLflow; these two are made to share their beginning."""
    runs = [start(record) for _ in range(2)]
    shared = [f"abcd{run_id[4:]}" for run_id in runs]
    with sqlite3.connect(record.database) as connection:
        for old, new in zip(runs, shared, strict=True):
            connection.execute("update runs set run_uuid = ? where run_uuid = ?", (new, old))
            connection.execute("update tags set run_uuid = ? where run_uuid = ?", (new, old))
    with pytest.raises(UsageError, match='"abcd" fits 2 runs'):
        record.find("abcd")
    assert record.find(shared[0][:12]).run_id == shared[0]


def test_an_unknown_run_names_the_closest(record: Record, trial: str) -> None:
    with pytest.raises(UsageError, match='no run "ppo_t0_s77"') as caught:
        record.find("ppo_t0_s77")
    assert "closest:" in caught.value.hint
    assert "ppo_t0_s7 " in caught.value.hint
    wrong = trial[:7] + ("0" if trial[7] != "0" else "1")
    with pytest.raises(UsageError) as caught:
        record.find(wrong)
    assert trial[:8] in caught.value.hint
    for handle in ("", "abc", "'; drop table runs", 'a"b', "%", "ffff"):
        with pytest.raises(UsageError):
            record.find(handle)


def test_an_empty_record_says_so(tmp_path: Path) -> None:
    record = Record(tmp_path / "none")
    with pytest.raises(UsageError) as caught:
        record.find("abcd")
    assert caught.value.hint == "nothing is recorded there yet"
    assert not record.root.exists()


ROWS = [
    {"frame": 500, "total_reward": 10.0, "lr": 0.1, "loss": 3.0},
    {"frame": 1000, "total_reward": 10.0, "lr": 0.1},
    {"frame": 1500, "total_reward": 20.0, "lr": 0.1, "loss": 1.0, "eval/return": 50.0},
    {"frame": 2000, "total_reward": 30.0, "lr": 0.2, "loss": 1.0},
]


def test_history_of_a_running_session_is_its_journal(record: Record) -> None:
    run_id = start(record)
    write(record.folder(run_id), *ROWS)
    write(
        record.folder(run_id),
        {"frame": 2000, "eval/return": 60.0},
        {"frame": 2500, "loss": 9.0},
        end="",
    )
    history = record.history(run_id)
    assert list(history.columns) == ["frame", "total_reward", "lr", "loss", "eval/return"]
    assert history["frame"].tolist() == [500, 1000, 1500, 2000]
    assert history["loss"].isna().tolist() == [False, True, False, False]
    assert history.loc[3, ["total_reward", "eval/return"]].tolist() == [30.0, 60.0]


def test_history_from_mlflow_alone(record: Record) -> None:
    run_id = start(record)
    write(record.folder(run_id), *ROWS)
    record.finish(run_id, "FINISHED")
    record.log_metrics(run_id, {"strength": 7.0}, step=2000)
    history = record.history(run_id).set_index("frame")
    assert history["total_reward"].to_dict() == {500: 10, 1000: 10, 1500: 20, 2000: 30}
    assert history["lr"].to_dict() == {500: 0.1, 1000: 0.1, 1500: 0.1, 2000: 0.2}
    assert history["strength"].dropna().to_dict() == {2000: 7.0}


def test_history_of_a_finished_session_is_its_table(record: Record, tmp_path: Path) -> None:
    run_id = start(record)
    table = pd.DataFrame({"frame": [200, 100], "loss": [0.1, 1 / 3]})
    table.to_csv(tmp_path / "metrics.csv", index=False)
    record.log_artifacts(run_id, tmp_path / "metrics.csv", "tables")
    history = record.history(run_id)
    assert history["frame"].tolist() == [100, 200]
    assert history["loss"].tolist() == [1 / 3, 0.1]


def test_history_of_a_run_without_rows_is_empty(record: Record) -> None:
    history = record.history(start(record))
    assert len(history) == 0
    assert list(history.columns) == ["frame"]


def test_artifacts_are_read_in_place(record: Record, tmp_path: Path) -> None:
    run_id = start(record)
    (tmp_path / "ckpt-best.ckpt").write_bytes(b"weights")
    record.log_artifacts(run_id, tmp_path / "ckpt-best.ckpt", "checkpoints")
    path = record.download(run_id, "checkpoints/ckpt-best.ckpt")
    place = record.root / "artifacts" / "ppo_cartpole" / run_id / "artifacts"
    assert path == place / "checkpoints" / "ckpt-best.ckpt"
    assert record.download(run_id, "checkpoints").is_dir()
    for missing in ("checkpoints/ckpt-last.ckpt", "../../../../mlflow.db", "/etc/passwd"):
        with pytest.raises(UsageError, match="has no artifact"):
            record.download(run_id, missing)


def test_a_record_that_was_moved_is_still_readable(record: Record, tmp_path: Path) -> None:
    run_id = start(record)
    (tmp_path / "a.txt").write_text("here")
    record.log_artifacts(run_id, tmp_path / "a.txt")
    moved = tmp_path / "moved"
    shutil.copytree(record.root, moved)
    shutil.rmtree(record.root)
    record = Record(moved)
    assert record.artifacts(run_id) == ["a.txt"]
    assert record.download(run_id, "a.txt").read_text() == "here"


def test_what_runs_no_more_is_not_running(record: Record) -> None:
    """The death of its process is what opens the lock of a run: here it is opened by hand."""
    mine, theirs = start(record), start(record)
    other = Record(record.root)
    assert {run.status for run in other.runs()} == {"RUNNING"}
    record._folder(theirs).release()
    assert (other.get(mine).status, other.get(theirs).status) == ("RUNNING", "KILLED")
    shutil.rmtree(record.working_folder(theirs))
    assert other.get(theirs).status == "KILLED"
    record.finish(mine, "FAILED")
    assert other.get(mine).status == "FAILED"


def test_an_id_that_is_nowhere_is_a_storage_error(record: Record) -> None:
    with pytest.raises(StorageError, match="not found"):
        record.get("0" * 32)


def test_a_run_that_is_being_created_runs(record: Record) -> None:
    """It is in the store before it has an owner."""
    run_id = start(record)
    other = Record(record.root)
    record._folder(run_id).release()
    with record.lock("runs"):
        assert other.get(run_id).status == other.runs()[0].status == "RUNNING"
    assert other.get(run_id).status == "KILLED"


def test_a_run_that_ends_while_it_is_read_was_not_killed(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = start(record)
    other = Record(record.root)
    read = other.client.get_run

    def end_behind(run_id: str) -> Run:
        monkeypatch.undo()
        run = read(run_id)
        record.finish(run_id, "FINISHED")
        return run

    monkeypatch.setattr(other.client, "get_run", end_behind)
    assert other.get(run_id).status == "FINISHED"
