"""A search that is killed and resumed tries the same settings, to the same values, as one that never
was; and no two processes work on one."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from slm_lightning import search
from slm_lightning.lab.search.storage import open_storage
from slm_lightning.tracking import Record
from tests.conftest import isolate
from tests.lab.searching import search_spec
from tests.support import PATIENCE, Lab, start_lab, wait_until, write_spec

pytestmark = pytest.mark.usefixtures("without_browser")
SPEC = search_spec(trials=5, sessions=2, batch=2)
Told = list[tuple[object, ...]]


def told(root: Path) -> Told:
    """All that the study says of its trials."""
    storage = open_storage(None, root)
    (summary,) = optuna.get_all_study_summaries(storage)
    study = optuna.load_study(study_name=summary.study_name, storage=storage)
    return [(t.number, t.state.name, t.params, t.values) for t in study.get_trials()]


@pytest.fixture
def without_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches end as where no browser is installed, which saves seconds."""
    monkeypatch.setenv("BROWSER_PATH", os.devnull)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, empty_record: Path) -> Told:
    """What the search comes to when nobody disturbs it."""
    root = tmp_path_factory.mktemp("unbroken") / "mlruns"
    shutil.copytree(empty_record, root)
    with pytest.MonkeyPatch.context() as monkeypatch:
        isolate(monkeypatch, root)
        monkeypatch.setenv("BROWSER_PATH", os.devnull)
        assert search(SPEC, say=lambda text: None).status == "done"
    return told(root)


def kill(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def assert_complete(record: Record, unbroken: Told) -> None:
    assert told(record.root) == unbroken
    assert {run.status for run in record.runs(limit=None)} == {"FINISHED"}
    assert len(record.runs(kind="experiment")) == 1
    assert len(record.runs(kind="trial")) == 5
    assert len(record.runs(kind="session")) == 10
    assert not list((record.root / "runs").iterdir())


def rows_written(record: Record) -> list[Path]:
    return list(record.root.glob("runs/*/metrics.jsonl"))


def trials_told(record: Record) -> int:
    return sum(state == "COMPLETE" for _, state, *_ in told(record.root))


MOMENTS: dict[str, Callable[[Record], object]] = {
    "its first trial is made": lambda record: record.runs(kind="trial"),
    "three trials are told": lambda record: trials_told(record) >= 3,
}


def test_killed_at_two_moments(record: Record, unbroken: Told, tmp_path: Path, lab: Lab) -> None:
    process = start_lab("search", write_spec(tmp_path / "spec.json", SPEC), cwd=tmp_path)
    for what, moment in MOMENTS.items():
        wait_until(lambda moment=moment: moment(record), what)
        kill(process)
        process = start_lab("resume", "tiny", cwd=tmp_path)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert_complete(record, unbroken)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_killed_ten_times(record: Record, unbroken: Told, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    process = start_lab("search", write_spec(tmp_path / "spec.json", SPEC), cwd=tmp_path)
    wait_until(lambda: record.runs(kind="experiment"), "it is begun")
    for _ in range(10):
        try:
            process.wait(chance.uniform(0, 12))
        except subprocess.TimeoutExpired:
            kill(process)
            process = start_lab("resume", "tiny", cwd=tmp_path)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert_complete(record, unbroken)


def test_stopped_and_resumed(record: Record, unbroken: Told, tmp_path: Path, lab: Lab) -> None:
    """Not resumed as long as it runs."""
    process = start_lab("search", write_spec(tmp_path / "spec.json", SPEC), cwd=tmp_path)
    wait_until(lambda: rows_written(record), "a session writes")
    refused = lab("resume", "tiny")
    assert refused.code == 9
    assert "is in use by process" in refused.err
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 75
    assert "to go on: slm-lightning resume" in err
    (experiment,) = record.runs(kind="experiment")
    assert (experiment.status, experiment.tags["slm.status"]) == ("KILLED", "stopped")
    assert not [run for run in record.runs() if run.status == "RUNNING"]
    assert experiment.metrics["trials_done"] < 5
    answer = lab("resume", experiment.run_id)
    assert answer.code == 0, answer.err
    assert_complete(record, unbroken)
    experiment = record.get(experiment.run_id)
    assert (experiment.metrics["trials_done"], experiment.metrics["trials_stopped"]) == (5, 0)
    assert not [run.name for run in record.runs() if run.tags.get("slm.reason")], "all are done"


@pytest.mark.slow
def test_four_searches_start_at_once_on_empty_stores(tmp_path: Path) -> None:
    spec = write_spec(tmp_path / "spec.json", search_spec(trials=1, batch=1))
    processes = [start_lab("search", spec, cwd=tmp_path) for _ in range(4)]
    for process in processes:
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
    record = Record()
    experiments = record.runs(kind="experiment")
    assert len(experiments) == 4
    for experiment in experiments:
        assert len(record.children(experiment.run_id)) == 1
