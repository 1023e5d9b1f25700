"""A set that is run: what is missing and no more, whatever becomes of single rows."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from slm_lightning.lab.benchmark.results import Trials
from slm_lightning.lab.benchmark.sets import read_sets
from slm_lightning.lab.result import Result
from slm_lightning.lab.trial import Trial
from slm_lightning.tracking import ORIGIN, Record
from tests.lab.benchmark.support import SHORT, two_specs, write_set
from tests.support import Lab, faulty, start_lab, tiny, wait_until, write_spec

pytestmark = pytest.mark.usefixtures("no_pictures", "record")


def trials() -> list[str]:
    return sorted(run.run_id for run in Record().runs(kind="trial"))


@pytest.fixture
def done(finished: Result, finished_root: Path, record: Record) -> Result:
    """The finished trial, in a record of the test's own."""
    with closing(sqlite3.connect(Record(finished_root).database)) as database:
        database.execute("pragma wal_checkpoint(truncate)")
    shutil.copytree(finished_root, record.root, dirs_exist_ok=True)
    return finished


def test_what_is_missing_is_run_and_no_more(lab: Lab, tmp_path: Path, done: Result) -> None:
    """A row that is there under another name is left alone, one that was interrupted goes on."""
    renamed = write_spec(tmp_path / "renamed.json", tiny("renamed"))
    path = write_set(tmp_path, [str(renamed), str(two_specs(tmp_path)[1])])
    row = read_sets([path])[0].rows[1]
    begun = Trial.create(row.raw, row.spec, Record())
    begun.give_up("stopped")
    answer = lab("benchmark", "run", path, "--json")
    assert answer.code == 0, answer.err
    there, went_on = json.loads(answer.out)["rows"]
    assert (there["row"], there["status"]) == ("CartPole-v1/A2C", "there")
    assert there["run_id"] == done.run_id and there["score"] == pytest.approx(done.scalars["score"])
    assert (went_on["row"], went_on["status"]) == ("CartPole-v1/REINFORCE", "done")
    assert f"goes on as run {begun.run_id[:8]}" in answer.err
    assert "is there" in answer.err and "(2 of 2)" in answer.err
    assert trials() == sorted([done.run_id, begun.run_id])


def test_a_row_is_run_again_where_that_is_asked(lab: Lab, tmp_path: Path, done: Result) -> None:
    spec = write_spec(tmp_path / "done.json", tiny("done"))
    path = write_set(tmp_path, [str(spec), str(two_specs(tmp_path)[1])])
    answer = lab("benchmark", "run", path, "--only", "*/A2C", "--again", "--json")
    (row,) = json.loads(answer.out)["rows"]
    assert row["status"] == "done" and trials() == sorted([done.run_id, row["run_id"]])
    assert row["score"] == pytest.approx(done.scalars["score"]), "of the same setting"


def test_a_run_of_somebody_else_is_no_result_and_does_not_go_on(tmp_path: Path) -> None:
    row = read_sets([write_set(tmp_path, [str(two_specs(tmp_path)[0])])])[0].rows[0]
    pulled = Trial.create(row.raw, row.spec, Record())
    pulled.give_up("stopped")
    assert [run.run_id for run in Trials(Record()).of(row)] == [pulled.run_id]
    Record().set_tags(pulled.run_id, {ORIGIN: "hf://me/policy@0"})
    assert not Trials(Record()).of(row)


def test_a_row_that_fails_does_not_stop_the_others(lab: Lab, tmp_path: Path) -> None:
    good, _ = two_specs(tmp_path)
    bad = write_spec(tmp_path / "bad.json", tiny("bad", env={**SHORT, **faulty("raise", at=100)}))
    nowhere = tiny("lost", env={"name": "Nowhere-v7"})
    nowhere["lost"]["search"] = {"agent.algorithm.gamma__uniform": [0.9, 0.99]}
    lost = write_spec(tmp_path / "lost.json", nowhere)
    named = [{"spec": str(spec), "label": spec.stem} for spec in (lost, bad)]
    path = write_set(tmp_path, [*named, str(good)])
    answer = lab("benchmark", "run", path, "--json")
    assert answer.code == 3, "that of the first that failed"
    found = {row["row"].split("/")[-1]: row for row in json.loads(answer.out)["rows"]}
    assert {label: row["status"] for label, row in found.items()} == {
        "lost": "refused",
        "bad": "failed",
        "A2C": "done",
    }
    assert "Nowhere-v7" in found["lost"]["reason"] and "session 1" in found["bad"]["reason"]
    assert "Traceback" not in answer.err
    assert "note: Nowhere-v7/lost: a row is one trial, so its section search is not read" in answer.err


def test_a_pattern_that_fits_nothing(lab: Lab, tmp_path: Path) -> None:
    path = write_set(tmp_path, [str(two_specs(tmp_path)[0])])
    answer = lab("benchmark", "run", path, "--only", "Pendulum*")
    assert answer.code == 2 and "CartPole-v1/A2C" in answer.err and not trials()


@pytest.mark.slow
def test_a_benchmark_that_is_terminated_goes_on_to_the_same_numbers(lab: Lab, tmp_path: Path) -> None:
    spec = write_spec(tmp_path / "long.json", tiny("long", env={"max_frame": 20_000}))
    path = write_set(tmp_path, [str(spec)])
    process = start_lab("benchmark", "run", path, cwd=tmp_path)
    journals = Path(os.environ["SLM_MLRUNS"], "runs")
    wait_until(lambda: len([*journals.glob("*/metrics.jsonl")]) == 2, "both sessions have rows")
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75 and f"slm-lightning benchmark run {path}" in said
    (stopped,) = trials()
    assert lab("benchmark", "run", path).code == 0
    assert trials() == [stopped]
    assert lab("run", spec, "--json").code == 0
    one, other = (
        [Record().history(s.run_id)["state"].iloc[-1] for s in Record().children(run)]
        for run in trials()
    )
    assert one == other
