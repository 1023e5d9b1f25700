"""The command that says how the lab, its machine and its stores are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from slm_lightning.lab import doctor
from slm_lightning.tracking import Record
from tests.support import REPOSITORY, Lab


def findings(answer: Any) -> dict[tuple[str, str], dict[str, str]]:
    """What ``doctor --json`` found, by part and name."""
    return {(each["part"], each["name"]): each for each in json.loads(answer)}


def test_a_healthy_lab(record: Record, lab: Lab) -> None:
    run_id = record.create_run(experiment="ppo", name="ppo_t0", kind="trial")
    record.finish(run_id, "FINISHED")
    answer = lab("doctor", "--json")
    found = findings(answer.out)
    assert answer.code == 0
    assert {each["state"] for each in found.values()} <= {"ok", "warning"}
    assert found["libraries", "torch"]["value"] == metadata.version("torch")
    assert found["record", "database"]["value"].endswith("runs: 1")
    assert found["record", "folder"]["value"] == str(record.root)
    assert found["record", "waiting"]["value"] == "nothing"
    text = lab("doctor").out
    assert [line for line in text.splitlines() if line and line[0] != " "][:-1] == [
        "lab",
        "libraries",
        "machine",
        "tools",
        "record",
        "studies",
    ]


def test_without_a_compiler_it_says_what_brings_one(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long trainings are compiled, and would be so much slower."""
    monkeypatch.setenv("CXX", "/none")
    found = findings(lab("doctor", "--json").out)["tools", "compiler"]
    assert (found["state"], found["value"]) == ("warning", "no C++ compiler")
    assert "apt-get install g++" in found["advice"]


def test_what_a_dead_process_left_is_named(record: Record, lab: Lab) -> None:
    run_id = record.create_run(experiment="ppo", name="ppo_t0", kind="trial")
    (record.folder(run_id) / "metrics.jsonl").write_text('{"frame": 1, "loss": 1.0}\n')
    found = findings(lab("doctor", "--json").out)
    assert ("record", "left") not in found, "this process works on it"
    record._folder(run_id).release()
    found = findings(lab("doctor", "--json").out)
    assert found["record", "left"]["value"].startswith("1 runs are RUNNING")
    assert found["record", "waiting"]["value"] == "1 values of 1 runs"
    assert found["record", "waiting"]["advice"] == "slm-lightning sync"


@pytest.mark.parametrize("damage", ["garbage", "cut", "page"])
def test_a_damaged_database_is_a_problem(record: Record, lab: Lab, damage: str) -> None:
    record.create_run(experiment="ppo", name="ppo_t0", kind="trial")
    for end in ("-wal", "-shm"):
        record.database.with_name(record.database.name + end).unlink(missing_ok=True)
    whole = record.database.read_bytes()
    broken = {
        "garbage": b"no database" * 1000,
        "cut": whole[: len(whole) // 2],
        "page": whole[:8192] + os.urandom(8192) + whole[16384:],
    }
    record.database.write_bytes(broken[damage])
    answer = lab("doctor")
    assert answer.code == 6
    assert "✗ database" in answer.out and "put a backup of" in answer.out


def test_a_damaged_study_is_a_problem(record: Record, lab: Lab) -> None:
    (record.root / "optuna.db").write_bytes(b"no database" * 1000)
    answer = lab("doctor")
    assert answer.code == 6 and "✗ storage" in answer.out


def test_versions_other_than_tested_are_named(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "CONSTRAINTS", tmp_path / "constraints.txt")
    doctor.CONSTRAINTS.write_text("Optuna==4.9.9\n")
    answer = lab("doctor")
    assert f"! optuna  {metadata.version('optuna')}" in answer.out
    assert "pip install optuna==4.9.9" in answer.out


def test_a_missing_library_is_a_problem(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    required = metadata.requires("slm-lightning")
    monkeypatch.setattr(metadata, "requires", lambda name: [*required, "no-such-library>=2"])
    answer = lab("doctor")
    assert answer.code == 3
    assert "✗ no-such-library  missing" in answer.out


def test_a_part_that_fails_hides_no_other(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise OSError("token=hunter2")

    monkeypatch.setattr(doctor, "_dependencies", fail)
    answer = lab("doctor")
    assert answer.code == 3
    assert "OSError: token=[redacted]" in answer.out
    assert "machine" in answer.out and "record" in answer.out


def test_it_works_where_nothing_else_does(tmp_path: Path) -> None:
    """No git, no home, no server, no display, a record that is a file, and secrets everywhere."""
    (tmp_path / "mlruns").write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "slm_lightning", "doctor"],
        cwd=tmp_path,
        env={
            "PATH": "",
            "PYTHONPATH": str(REPOSITORY),
            "MLFLOW_TRACKING_URI": "http://me:hunter2@127.0.0.1:9",
            "SLM_STORAGE": "postgresql://me:hunter2@127.0.0.1:9/studies",
            "SLM_API_KEY": "hunter2",
        },
        text=True,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 6, done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    assert "✗ server" in done.stdout and "✗ writable" in done.stdout and "! git" in done.stdout
    assert done.stderr == ""
