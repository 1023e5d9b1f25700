"""Where MLflow's UI shows what is recorded."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from slm_lightning.tracking import Record, RunInfo, save_trials_view
from slm_lightning.tracking.pages import VIEW, VIEW_LIMIT, links
from tests.tracking.support import start

BASE = "http://h:1"


@pytest.fixture
def search(record: Record) -> RunInfo:
    return record.get(start(record, "ppo", kind="experiment"))


def view(record: Record, run: RunInfo) -> dict[str, object]:
    """The view of the trials of a search as MLflow keeps it."""
    kept = record.client.get_experiment(run.experiment_id).tags[VIEW + run.run_id]
    assert len(kept) <= VIEW_LIMIT
    assert json.loads(kept)["name"] == f"trials of {run.run_id[:8]}"
    return json.loads(json.loads(kept)["state"])


def test_of_an_empty_record_there_is_only_the_ui(tmp_path: Path) -> None:
    record = Record(tmp_path / "none")
    assert links(record) == {"MLflow": "http://127.0.0.1:5000"}
    assert not record.root.exists()


def test_a_trial_has_its_page_and_its_graph(record: Record, tmp_path: Path) -> None:
    trial = start(record, "ppo_t0", kind="trial")
    runs = f"{BASE}/#/experiments/{record.get(trial).experiment_id}/runs"
    page = f"{runs}/{trial}?workflowType=machine_learning"
    assert links(record, trial, BASE) == {"run": page}
    (tmp_path / "trial.html").touch()
    record.log_artifacts(trial, tmp_path / "trial.html", "graphs")
    graph = f"{runs}/{trial}/artifacts/graphs/trial.html?workflowType=machine_learning"
    assert links(record, trial, BASE) == {"run": page, "graph": graph}
    charts = f"{runs}?workflowType=machine_learning&compareRunsMode=CHART"
    assert links(record, base=BASE) == {"charts": charts}


def test_a_search_has_its_trials_and_in_the_end_its_page(
    record: Record, search: RunInfo, tmp_path: Path
) -> None:
    save_trials_view(record, search, ["a.lr"], {"score": "maximize"})
    found = links(record, base=BASE)
    assert list(found) == ["trials", "run"]
    assert found["trials"].endswith(f"&viewStateShareKey={search.run_id}")
    (tmp_path / "experiment.html").touch()
    record.log_artifacts(search.run_id, tmp_path / "experiment.html")
    found = links(record, search.run_id, BASE)
    assert list(found) == ["page", "trials", "run"], "the page is what to look at first"
    assert f"/runs/{search.run_id}/artifacts/experiment.html?" in found["page"]


def test_where_the_view_was_deleted_the_trials_are_still_found(record: Record, search: RunInfo) -> None:
    save_trials_view(record, search, ["a.lr"], {"score": "maximize"})
    record.client.delete_experiment_tag(search.experiment_id, VIEW + search.run_id)
    address = urlsplit(links(record, search.run_id, BASE)["trials"].replace("#/", ""))
    (rows,) = parse_qs(address.query)["searchFilter"]
    tags = {"slm.study": search.run_id}
    trial = start(record, "ppo_t0", kind="trial", parent=search.run_id, tags=tags)
    start(record, "ppo_t0_s0", parent=trial, tags=tags)
    (found,) = record.client.search_runs([search.experiment_id], rows)
    assert found.info.run_id == trial


def test_the_best_trial_is_the_first_row(record: Record, search: RunInfo) -> None:
    save_trials_view(record, search, ["a.lr", "b"], {"loss": "minimize", "score": "maximize"})
    laid_out = view(record, search)
    assert (laid_out["orderByKey"], laid_out["orderByAsc"]) == ("metrics.`loss`", True)
    columns = laid_out["selectedColumns"]
    assert isinstance(columns, list)
    assert columns[:4] == ["params.`a.lr`", "params.`b`", "metrics.`loss`", "metrics.`score`"]
    assert len(set(columns)) == len(columns) and columns[-1] == "tags.`slm.status`"


def test_a_view_of_many_parameters_has_as_many_as_fit(record: Record, search: RunInfo) -> None:
    drawn = [f"agent.algorithm.parameter_{i}" for i in range(200)]
    save_trials_view(record, search, drawn, {"score": "maximize"})
    columns = view(record, search)["selectedColumns"]
    assert isinstance(columns, list)
    shown = [name for name in columns if name.startswith("params.")]
    assert 20 < len(shown) < 200 and shown == [f"params.`{path}`" for path in drawn[: len(shown)]]
