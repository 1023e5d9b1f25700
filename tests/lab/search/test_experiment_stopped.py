"""A search that a full disk stops is to be resumed, and says so; then it comes to the same values."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from slm_lightning import api
from slm_lightning.errors import StorageError
from slm_lightning.lab.running.job import Job, Outcome
from slm_lightning.lab.running.reasons import failure
from slm_lightning.lab.search.experiment import Experiment
from slm_lightning.tracking import Record
from tests.conftest import isolate
from tests.lab.searching import search_spec
from tests.support import Lab, write_spec

pytestmark = pytest.mark.usefixtures("no_pictures")
SPEC = search_spec(trials=3, batch=2)
Values = list[tuple[str, str, str]]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, empty_record: Path) -> Values:
    """What the search comes to when its disk has room."""
    root = tmp_path_factory.mktemp("unbroken") / "mlruns"
    shutil.copytree(empty_record, root)
    with pytest.MonkeyPatch.context() as monkeypatch:
        isolate(monkeypatch, root)
        return values(Record(), api.search(SPEC, confirm=2, say=lambda text: None).run_id)


def values(record: Record, run_id: str) -> Values:
    tags = [run.tags for run in record.children(run_id)]
    return [(tag["slm.drawn"], tag["slm.values"], tag["slm.seed"]) for tag in tags]


def stopping(monkeypatch: pytest.MonkeyPatch, trials: set[int]) -> None:
    """Sessions of these trials end as by a full disk."""
    on_end = Experiment._on_end

    def full(self: Experiment, job: Job, outcome: Outcome) -> None:
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        on_end(self, job, failure(error, job, "cpu") if job.trial in trials else outcome)

    monkeypatch.setattr(Experiment, "_on_end", full)


@pytest.mark.parametrize("trials", [{1}, {0, 1, 2}, {3}], ids=["one", "all", "the confirmation"])
def test_stopped_by_a_full_disk_and_resumed(
    trials: set[int],
    unbroken: Values,
    record: Record,
    lab: Lab,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as full:
        stopping(full, trials)
        answer = lab("search", write_spec(tmp_path / "spec.json", SPEC), "--confirm", 2)
    assert answer.code == StorageError.exit_code
    (search,) = record.runs(kind="experiment")
    assert "No space left on device" in answer.err
    assert f"to go on: slm-lightning resume {search.run_id[:8]}" in answer.err
    assert (search.status, search.tags["slm.status"]) == ("KILLED", "stopped")
    begun = record.children(search.run_id)
    confirmed = any(run.tags["slm.mode"] == "confirm" for run in begun)
    assert confirmed == (trials == {3}), "what is confirmed is the best of all"

    assert lab("resume", search.run_id).code == 0
    assert {run.status for run in record.runs(limit=None)} == {"FINISHED"}
    assert values(record, search.run_id) == unbroken
    resumed = [run.run_id for run in record.children(search.run_id)]
    assert resumed[: len(begun)] == [run.run_id for run in begun], "none was begun again"
