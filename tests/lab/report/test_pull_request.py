"""The text of a result pull request."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slm_lightning.lab import graphs
from slm_lightning.lab.report.pull_request import pull_request, write_pull_request
from slm_lightning.lab.result import Result
from slm_lightning.lab.trial import Trial
from slm_lightning.lab.wording import number
from slm_lightning.registry import REGISTRY
from slm_lightning.spec.load import load_spec
from slm_lightning.spec.resolve import resolve
from slm_lightning.tracking import ORIGIN, PUBLISHED, Record, RunInfo
from tests.lab.search_record import GAMMA, LAYERS, LR, RecordedSearch
from tests.support import Lab, tiny, write_spec

GRAPH = "graphs/trial.png"


def rows_of(text: str, head: str) -> list[list[str]]:
    """The rows of the table whose head begins so."""
    lines = text[text.index(f"| {head} |") :].splitlines()
    table = [line for line in lines[: lines.index("")] if not line.startswith("| ---")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table[1:]]


def begun(record: Record, **sections: dict) -> RunInfo:
    """A trial that was recorded, and not run."""
    raw = load_spec(tiny(**sections))
    trial = Trial.create(raw, resolve(raw, REGISTRY), record)
    trial.give_up("stopped")
    return record.get(trial.run_id)


def test_a_trial(finished: Result, finished_record: Record, tmp_path: Path) -> None:
    base = write_spec(tmp_path / "base.json", tiny(algorithm={"gamma": 0.9}))
    text = pull_request(finished_record, finished_record.get(finished.run_id), base)
    scalars, (first, second) = finished.scalars, finished.sessions
    assert text.startswith("# tiny_t0: ActorCritic in CartPole-v1\n")
    assert f"total_reward_ma **{number(scalars['score'])}** (" in text
    assert "SLM Lab's A2C scored 496.7 there after 200\u202f000 frames" in text
    assert "; here a session has spent 1\u202f984." in text
    assert rows_of(text, "key") == [["`agent.algorithm.gamma`", "0.9", "0.99"]]
    found = rows_of(text, "session")
    for row, session in zip(found, (first, second)):
        assert row[1:3] == [number(session.scalars[name]) for name in ("score", "eval_score")]
    assert found[2][1].startswith(f"{number(scalars['score'])} (")
    commit = finished_record.get(finished.run_id).tags["mlflow.source.git.commit"]
    assert f"git checkout {commit}\n" in text and "slm-lightning run spec.json" in text
    assert f"slm-lightning reproduce {finished.run_id}" in text
    assert "Not published yet" in text


def test_the_graphs_lie_beside_it(record: Record, tmp_path: Path) -> None:
    run = begun(record)
    assert f"]({GRAPH})" not in write_pull_request(record, run).read_text()
    (tmp_path / "trial.png").write_bytes(b"a picture")
    record.log_artifacts(run.run_id, tmp_path / "trial.png", "graphs")
    path = write_pull_request(record, run)
    assert f"]({GRAPH})" in path.read_text()
    assert (path.parent / GRAPH).read_bytes() == b"a picture"


def test_the_hypothesis_is_that_of_the_spec(record: Record) -> None:
    said = begun(record, meta={"hypothesis": "a | b\nis better"})
    assert "## Hypothesis\n\na \\| b is better\n" in pull_request(record, said)
    assert "`meta.hypothesis`" in pull_request(record, begun(record))


def test_the_base_is_the_file_of_the_command(record: Record, tmp_path: Path) -> None:
    run = begun(record, net={"hid_layers": [32]})
    assert "`--base SPEC` names one" in pull_request(record, run)
    specs = write_spec(tmp_path / "specs.json", {**tiny("other"), **tiny(meta={"seed": 9})})
    record.set_tags(run.run_id, {"mlflow.source.name": f"slm-lightning run {specs} tiny --seed 3"})
    text = pull_request(record, record.get(run.run_id))
    assert rows_of(text, "key") == [
        ["`agent.net.hid_layers`", "[16]", "[32]"],
        ["`meta.seed`", "9", "3"],
    ]
    assert f"`{specs}`" in text


def test_what_is_published_is_linked(
    finished: Result, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begun(record)
    record.set_tags(run.run_id, {PUBLISHED: "not published: the Hub does not answer"})
    assert "Not published yet" in pull_request(record, record.get(run.run_id))
    record.set_tags(run.run_id, {PUBLISHED: "hf://me/tiny@0123abc"})
    text = pull_request(record, record.get(run.run_id))
    assert "[hf://me/tiny@0123abc](https://huggingface.co/me/tiny/tree/0123abc)" in text
    assert "slm-lightning reproduce hf://me/tiny@0123abc" in text
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example.org/")
    text = pull_request(record, record.get(run.run_id))
    spec = "http://hub.example.org/me/tiny/resolve/0123abc/spec.json"
    assert f"curl --create-dirs -Lo spec.json {spec}\n" in text and "huggingface.co" not in text


def test_only_files_that_are_there_are_named(finished: Result, finished_record: Record) -> None:
    run = finished_record.get(finished.run_id)
    text = pull_request(finished_record, run)
    is_dirty = "provenance/git.diff" in finished_record.artifacts(run.run_id)
    assert ("provenance/git.diff" in text) == is_dirty
    assert "`spec.json`" in text


def test_a_run_that_was_pulled(record: Record) -> None:
    """Its command says nothing of the files here."""
    run = begun(record)
    command = "slm-lightning run '/home/me/spec.json"
    record.set_tags(run.run_id, {ORIGIN: "hf://you/tiny@0123abc", "mlflow.source.name": command})
    text = pull_request(record, record.get(run.run_id))
    assert "The spec file of the recorded command is not here" in text
    assert "[hf://you/tiny@0123abc](https://huggingface.co/you/tiny/tree/0123abc)" in text


def test_a_search(record: Record, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "write_png", lambda figs: False)
    search = RecordedSearch(record, confirm=4, max_trial=3)
    for i in range(3):
        search.add(i)
    search.add(3, confirms=search.best, sessions=4)
    run_id = search.finish()
    answer = lab("report", run_id[:8], "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    text = Path(found["files"]["pull_request.md"]).read_text()
    assert found["verdict"] in text
    assert {row[0] for row in rows_of(text, "searched")} == {
        f"`{path}`" for path in (LR, GAMMA, LAYERS)
    }
    best = rows_of(text, "trial")
    assert [row[0] for row in best[:3]] == [str(trial["trial"]) for trial in found["best"]]
    assert best[3][0] == f"{search.best}, with fresh seeds"
    assert "slm-lightning search spec.json --confirm 4" in text
    winner = found["best"][0]
    trial = pull_request(record, record.get(winner["run_id"]))
    assert len(rows_of(trial, "drawn by its search")) == len(winner["drawn"])
    assert "pull request:" in lab("report", winner["run_id"][:8]).out
