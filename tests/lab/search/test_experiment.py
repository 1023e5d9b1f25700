"""Experiments from their specs to their record: what is in it, how trials end, and what is the best."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest

from slm_lightning import api
from slm_lightning.errors import StorageError, UsageError
from slm_lightning.lab.search.experiment_result import SearchResult
from slm_lightning.lab.search.storage import open_storage
from slm_lightning.tracking import Record
from tests.conftest import isolate
from tests.lab.searching import LAM, LR, WIDTHS, search_spec
from tests.support import Lab, numbers, write_spec

pytestmark = pytest.mark.usefixtures("no_pictures")
DIVERGES = 1e30


def searching(*arguments: Any, **options: Any) -> SearchResult:
    given = {key: options.pop(key) for key in ("confirm", "where") if key in options}
    spec = search_spec(*arguments, **options)
    return api.search(spec, say=lambda text: None, **given)


def statuses(record: Record, run_id: str) -> list[str]:
    return [run.tags["slm.status"] for run in record.children(run_id)]


def study_of(record: Record, run_id: str) -> optuna.Study:
    return optuna.load_study(study_name=run_id, storage=open_storage(None, record.root))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, empty_record: Path) -> Path:
    root = tmp_path_factory.mktemp("searched") / "mlruns"
    shutil.copytree(empty_record, root)
    return root


@pytest.fixture(scope="module")
def search(root: Path) -> SearchResult:
    """Four trials of two sessions."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        isolate(monkeypatch, root)
        monkeypatch.setattr("slm_lightning.lab.graphs.write_png", lambda figs: False)
        return searching(trials=4, sessions=2, batch=2)


@pytest.fixture
def searched(search: SearchResult, root: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    """The record with ``search``."""
    monkeypatch.setenv("SLM_MLRUNS", str(root))
    return Record()


class TestRecord:
    def test_three_levels(self, search: SearchResult, searched: Record) -> None:
        experiment = searched.get(search.run_id)
        assert (experiment.name, experiment.kind, experiment.status) == (
            *("tiny", "experiment", "FINISHED"),
        )
        trials = searched.children(search.run_id)
        assert [trial.name for trial in trials] == [f"tiny_t{n}" for n in range(4)]
        for number, trial in enumerate(trials):
            assert (trial.kind, trial.status) == ("trial", "FINISHED")
            assert trial.tags["slm.study"] == search.run_id
            assert trial.tags["slm.trial"] == str(number)
            sessions = searched.children(trial.run_id)
            assert [s.name for s in sessions] == [f"tiny_t{number}_s{i}" for i in range(2)]
            assert {s.tags["slm.study"] for s in sessions} == {search.run_id}
            assert {s.tags["slm.trial"] for s in sessions} == {str(number)}
        assert not list((searched.root / "runs").iterdir())

    def test_what_was_drawn_are_params_and_the_score_is_a_metric(
        self, search: SearchResult, searched: Record
    ) -> None:
        for trial in searched.children(search.run_id):
            drawn = json.loads(trial.tags["slm.drawn"])
            assert drawn.keys() == {LR, LAM, WIDTHS}
            assert {path: json.loads(trial.params[path]) for path in drawn} == drawn
            assert json.loads(trial.tags["slm.values"]) == [trial.metrics["score"]]
        best = searched.get(search.run_id).metrics["score"]
        assert best == max(t.metrics["score"] for t in searched.children(search.run_id))

    def test_the_study_says_the_same(self, search: SearchResult, searched: Record) -> None:
        study = study_of(searched, search.run_id)
        assert {trial.state for trial in study.trials} == {optuna.trial.TrialState.COMPLETE}
        values = [[run.metrics["score"]] for run in searched.children(search.run_id)]
        assert [trial.values for trial in study.trials] == values

    def test_a_stored_trial_is_a_spec_that_gives_the_same_numbers(
        self, search: SearchResult, searched: Record
    ) -> None:
        trial = searched.children(search.run_id)[2]
        again = api.run(searched.download(trial.run_id, "spec.json"), say=lambda text: None)
        for session, new in zip(searched.children(trial.run_id), again.sessions):
            old = numbers(searched.history(session.run_id))
            new_table = numbers(searched.history(new.run_id))
            pd.testing.assert_frame_equal(old, new_table, check_exact=True)
        assert again.scalars["score"] == trial.metrics["score"]

    def test_seeds_differ_between_trials(self, search: SearchResult, searched: Record) -> None:
        seeds = {trial.tags["slm.seed"] for trial in searched.children(search.run_id)}
        assert len(seeds) == 4

    def test_artifacts_stay_small(self, search: SearchResult, searched: Record) -> None:
        trial = searched.children(search.run_id)[0]
        session = searched.children(trial.run_id)[0]
        assert "checkpoints/ckpt-best.ckpt" in searched.artifacts(session.run_id)
        for run in (trial, session):
            assert not [path for path in searched.artifacts(run.run_id) if "html" in path]
            assert "checkpoints/ckpt-last.ckpt" not in searched.artifacts(run.run_id)
        assert "experiment.html" in searched.artifacts(search.run_id)

    def test_a_trial_can_be_enjoyed(self, search: SearchResult, searched: Record, lab: Lab) -> None:
        best = search.findings.best[0]
        played = [lab("enjoy", run, "--episodes", 2, "--json") for run in (best.run_id, search.run_id)]
        assert [answer.code for answer in played] == [0, 0]
        of_trial, of_search = (json.loads(answer.out) for answer in played)
        assert of_trial == of_search
        assert of_search["name"].startswith(f"{best.name}_s")
        assert len(of_search["returns"]) == 2

    def test_how_many_run_at_once_changes_nothing(self, search: SearchResult, searched: Record) -> None:
        alone = searching(trials=4, sessions=2, batch=2, where=api.Where(parallel=1))
        for one, other in zip(searched.children(search.run_id), searched.children(alone.run_id)):
            assert one.tags["slm.drawn"] == other.tags["slm.drawn"]
            assert one.tags["slm.values"] == other.tags["slm.values"]
        assert search.run_id != alone.run_id


@pytest.mark.parametrize("pruner", [None, "halving"])
def test_a_confirmation_repeats_the_winner_with_fresh_seeds(record: Record, pruner: str | None) -> None:
    result = searching(trials=3, confirm=3, pruner=pruner)
    *trials, confirmation = record.children(result.run_id)
    winner = trials[int(confirmation.tags["slm.confirms"])]
    assert winner.metrics["score"] == max(trial.metrics["score"] for trial in trials)
    assert confirmation.tags["slm.drawn"] == winner.tags["slm.drawn"]
    assert confirmation.name == "tiny_confirm"
    assert confirmation.tags["slm.seed"] not in {trial.tags["slm.seed"] for trial in trials}
    assert len(record.children(confirmation.run_id)) == 3
    assert record.get(result.run_id).metrics["score"] == confirmation.metrics["score"]
    assert len(study_of(record, result.run_id).trials) == 3


def test_a_finished_search_is_confirmed_later(record: Record, lab: Lab) -> None:
    """Each number of sessions is a confirmation of its own, with other seeds, and is run once."""
    result = searching(trials=2)
    assert "nothing to do" in lab("resume", result.run_id).err
    for sessions in (2, 3, 3):
        assert lab("resume", result.run_id, "--confirm", sessions).code == 0
    first, second = (run for run in record.children(result.run_id) if run.tags["slm.mode"] == "confirm")
    assert {first.name, second.name} == {"tiny_confirm"}
    assert [len(record.children(run.run_id)) for run in (first, second)] == [2, 3]
    assert first.tags["slm.seed"] != second.tags["slm.seed"]


def test_a_trial_that_diverges_has_failed_and_the_search_goes_on(record: Record) -> None:
    result = searching({f"{LR}__choice": [0.01, DIVERGES]}, None, sampler="grid")
    assert sorted(statuses(record, result.run_id)) == ["diverged", "done"]
    (best,) = result.findings.best
    assert best.drawn == {LR: 0.01}
    states = {trial.state.name for trial in study_of(record, result.run_id).trials}
    assert states == {"COMPLETE", "FAIL"}
    assert (result.status, result.error()) == ("done", None)


def test_where_all_trials_fail_there_is_no_best(record: Record, lab: Lab, tmp_path: Path) -> None:
    spec = search_spec({f"{LR}__choice": [DIVERGES, 10 * DIVERGES]}, 2, sampler="grid")
    answer = lab("search", write_spec(tmp_path / "spec.json", spec))
    assert answer.code == 4
    assert "no trial came to its end" in answer.err
    assert "2 times: session 0 diverged" in answer.err
    run = record.find("tiny")
    assert (run.status, run.tags["slm.status"]) == ("FAILED", "failed")


def test_a_setting_that_cannot_run_is_a_failed_trial(record: Record) -> None:
    space = {
        "env.max_frame__choice": [640, 1984],
        "agent.algorithm.training_frequency__choice": [32, 512],
    }
    result = searching(space, None, sampler="grid")
    assert sorted(statuses(record, result.run_id)) == ["done", "done", "done", "failed"]
    (refused,) = (t for t in record.children(result.run_id) if t.tags["slm.status"] == "failed")
    assert "less than one round of 1024" in refused.tags["slm.reason"]
    assert refused.status == "FAILED"
    assert json.loads(refused.tags["slm.drawn"])["env.max_frame"] == 640


def test_halving_ends_sessions_at_a_rung_and_saves_frames(record: Record) -> None:
    pruner = {"name": "halving", "grace_period": 400, "reduction_factor": 2}
    result = searching(trials=8, pruner=pruner, batch=2)
    pruned = [run for run in record.children(result.run_id) if run.tags["slm.status"] == "pruned"]
    assert pruned
    for trial in pruned:
        (session,) = record.children(trial.run_id)
        last = record.history(session.run_id)["frame"].max()
        assert last in (400, 800, 1600)
        assert f"at frame {last} is below" in session.tags["slm.reason"]
        assert trial.status == "FINISHED"
    spent = sum(trial.frames for trial in result.findings.trials)
    assert spent < 8 * 1984
    assert not {trial.number for trial in result.findings.best} & {
        int(trial.tags["slm.trial"]) for trial in pruned
    }
    again = searching(trials=8, pruner=pruner, batch=2, where=api.Where(parallel=1))
    for one, other in zip(record.children(result.run_id), record.children(again.run_id)):
        assert one.tags["slm.values"] == other.tags["slm.values"]


def test_wilcoxon_gives_trials_up_after_few_sessions(record: Record) -> None:
    space = {f"{LR}__choice": [0.01, 1e-9]}
    result = searching(space, 5, 8, pruner={"name": "wilcoxon", "p_threshold": 0.3}, batch=1)
    pruned = [run for run in record.children(result.run_id) if run.tags["slm.status"] == "pruned"]
    assert pruned
    for trial in pruned:
        sessions = [run.tags["slm.status"] for run in record.children(trial.run_id)]
        done = sessions.index("pruned")
        assert sessions == ["done"] * done + ["pruned"] * (8 - done)
        assert trial.metrics["sessions"] == done
    assert all(trial.drawn == {LR: 0.01} for trial in result.findings.best[:1])


def test_several_objectives_give_a_front(record: Record) -> None:
    result = searching(trials=6, batch=2, objective={"score": "maximize", "entropy": "minimize"})
    assert len(result.findings.best[0].values) == 2
    study = study_of(record, result.run_id)
    assert {t.number for t in study.best_trials} == {t.number for t in result.findings.best}


def test_in_async_order_every_trial_is_run(record: Record) -> None:
    result = searching(trials=5, order="async", batch=3)
    assert statuses(record, result.run_id) == ["done"] * 5


def test_a_spec_without_a_search_is_refused(lab: Lab, tmp_path: Path) -> None:
    spec = search_spec()
    del spec["tiny"]["search"]
    answer = lab("search", write_spec(tmp_path / "spec.json", spec))
    assert answer.code == 2
    assert "search" in answer.err
    assert not Path(os.environ["SLM_MLRUNS"]).exists()


def test_the_mode_search_of_run_is_the_same(record: Record, lab: Lab, tmp_path: Path) -> None:
    path = write_spec(tmp_path / "spec.json", search_spec(trials=2))
    answer = lab("run", path, "--mode", "search", "--json")
    assert answer.code == 0
    found = json.loads(answer.out)
    assert record.get(found["run_id"]).kind == "experiment"


def test_the_spec_of_a_search_runs_as_a_trial_too(record: Record) -> None:
    result = api.run(search_spec(trials=2, sessions=1), say=lambda text: None)
    assert result.status == "done"
    assert record.get(result.run_id).kind == "trial"


def test_a_trial_of_one_distributed_model_cannot_be_confirmed(record: Record) -> None:
    spec = search_spec(trials=1)
    spec["tiny"]["meta"]["distributed"] = "synced"
    with pytest.raises(UsageError, match="trains one model"):
        api.search(spec, confirm=3, say=lambda text: None)
    assert record.runs() == []


def test_a_search_is_not_resumed_in_another_storage(
    search: SearchResult, searched: Record, lab: Lab, tmp_path: Path
) -> None:
    answer = lab("resume", search.run_id, "--confirm", 2, "--storage", f"sqlite:///{tmp_path}/other.db")
    assert answer.code == 2
    assert "not in the storage" in answer.err
    assert len(searched.children(search.run_id)) == 4


def test_a_record_that_does_not_answer_ends_a_search_that_can_be_resumed(
    search: SearchResult, searched: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Record.create_run
    calls = iter(range(100))

    def gone_after_a_while(self: Record, **options: Any) -> str:
        if next(calls) > 7:
            raise StorageError("the server has gone")
        return create(self, **options)

    with monkeypatch.context() as broken:
        broken.setattr(Record, "create_run", gone_after_a_while)
        with pytest.raises(StorageError, match="has gone"):
            searching(trials=4, sessions=2, batch=2)
    newest = searched.runs(kind="experiment", limit=1)[0]
    result = api.resume(newest.run_id, say=lambda text: None)
    assert result.status == "done"
    values = [
        [run.tags["slm.values"] for run in searched.children(run_id)]
        for run_id in (search.run_id, newest.run_id)
    ]
    assert values[0] == values[1]
    assert {run.status for run in searched.runs(limit=None)} == {"FINISHED"}


def test_an_objective_that_nobody_has_ends_the_search_with_its_first_trial(
    record: Record, lab: Lab, tmp_path: Path
) -> None:
    path = write_spec(tmp_path / "spec.json", search_spec(trials=6, objective="scoer"))
    answer = lab("search", path)
    assert answer.code == 2
    assert (
        'no session has the objective "scoer" (meta.search.objective), did you mean "score"?'
        in answer.err
    )
    assert {run.status for run in record.runs()} <= {"FINISHED", "FAILED", "KILLED"}


def test_a_trial_whose_objective_has_no_value_has_failed(record: Record) -> None:
    result = searching({f"{LR}__choice": [0.01, 0.02]}, 2, objective="consistency")  # of one session
    assert statuses(record, result.run_id) == ["failed", "failed"]
    reasons = {run.tags["slm.reason"] for run in record.children(result.run_id)}
    assert reasons == {"consistency: not a finite value"}
    assert result.status == "failed"
