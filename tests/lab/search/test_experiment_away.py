"""A search whose MLflow server is away for a while is resumed with all that it has trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from slm_lightning import api
from slm_lightning.lab.search.experiment import Experiment
from slm_lightning.lab.search.storage import open_storage
from slm_lightning.tracking import Record
from slm_lightning.tracking.draft import ID
from slm_lightning.tracking.ui import server
from tests.lab.search.test_experiment_stopped import stopping
from tests.lab.searching import search_spec
from tests.tracking.support import Relay, free_port

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    with server(Record(tmp_path / "server"), free_port()) as running:
        relay = Relay(running.address)
        yield relay
        relay.cut()


@pytest.mark.slow
def test_a_trial_that_began_without_its_server_is_gone_on_with(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", relay.address)
    begin = Experiment._begin

    def away(self: Experiment, number: int) -> None:
        if number == 1:
            relay.cut()
        begin(self, number)
        if number == 1:
            relay.mend()
            self.record.pause(0)

    with monkeypatch.context() as broken:
        broken.setattr(Experiment, "_begin", away)
        stopping(broken, {1})
        search = api.search(search_spec(trials=2, batch=1), say=lambda text: None)
    assert search.status == "stopped"
    record = Record()
    before = record.children(search.run_id)
    sessions = [record.children(trial.run_id) for trial in before]
    study = Experiment.reopen(record.get(search.run_id), record, open_storage(None, record.root)).study
    assert study.run_of(1) == before[1].tags[ID] != before[1].run_id, "it is known by the lab's own id"
    record.finish(search.run_id, "KILLED")

    assert api.resume(search.run_id, say=lambda text: None).status == "done"
    after = record.children(search.run_id)
    assert [run.run_id for run in after] == [run.run_id for run in before]
    assert [[run.run_id for run in record.children(trial.run_id)] for trial in after] == [
        [run.run_id for run in runs] for runs in sessions
    ]
    assert {run.status for run in record.runs(limit=None)} == {"FINISHED"}
    assert study.run_of(1) == before[1].run_id
    assert not list((record.root / "runs").iterdir())
