"""From the Hub back: into an empty record, with the same numbers; and nothing that could run."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pandas as pd
import pytest

from slm_lightning import compare, load, publish, pull, reproduce
from slm_lightning.errors import MissingError, RefusedError
from slm_lightning.lab.changes import Change
from slm_lightning.lab.reproduce.original import Original
from slm_lightning.lab.reproduce.workshop import workshop
from slm_lightning.tracking import Record
from tests.hub.repositories import FakeHub
from tests.support import Lab

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(scope="module")
def repository(finished: Any, finished_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is published of the finished trial."""
    folder = tmp_path_factory.mktemp("publication") / "repository"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("SLM_MLRUNS", str(finished_root))
        monkeypatch.setattr("slm_lightning.lab.graphs.write_png", lambda figs: False)
        publish("tiny_t0", dry_run=folder, episodes=1)
    return folder


@pytest.fixture
def files(repository: Path) -> dict[str, bytes]:
    found = (path for path in repository.rglob("*") if path.is_file())
    return {path.relative_to(repository).as_posix(): path.read_bytes() for path in found}


def test_it_comes_back_with_the_same_numbers(
    hub: FakeHub, files: dict[str, bytes], record: Record, finished_root: Path, lab: Lab
) -> None:
    hub.add("me/policy", files)
    answer = lab("pull", "me/policy", "--json")
    assert answer.code == 0, answer.err
    (told,) = json.loads(answer.out)
    trial, origin = record.get(told["run_id"]), Record(finished_root)
    before = origin.find("tiny_t0")
    assert (trial.status, trial.metrics) == ("FINISHED", before.metrics)
    assert abs((trial.start - before.start).total_seconds()) < 0.01 and trial.end == before.end
    assert trial.tags["slm.origin"].startswith("hf://me/policy@")
    for mine, theirs in zip(record.children(trial.run_id), origin.children(before.run_id)):
        assert mine.metrics.items() >= {k: theirs.metrics[k] for k in ("score", "strength")}.items()
        histories = [record.history(mine.run_id), origin.history(theirs.run_id)]
        pd.testing.assert_frame_equal(*histories, check_exact=True)
    assert "bit" not in answer.err
    assert lab("pull", "hf://me/policy", "--json").out == answer.out
    assert len(record.top(None)) == 1


def test_what_was_published_again_is_there_already(
    hub: FakeHub, files: dict[str, bytes], record: Record
) -> None:
    repo = hub.add("me/policy", files)
    (run,) = pull("me/policy", say=lambda text: None)
    repo.commit("main", sealed({**files, "results.json": b'{"later": true}'}))
    said: list[str] = []
    (again,) = pull("me/policy", say=said.append)
    assert again.run_id == run.run_id and "has the numbers of hf://me/policy@" in said[0]
    worse = changed(files, lambda runs: runs[0].update(name="another"))
    repo.commit("main", {**worse, "notes.md": b""})
    (other,) = pull("me/policy", say=lambda text: None)
    assert other.name == "another" and len(record.top(None)) == 2


def test_one_that_is_refused_does_not_stop_the_others(
    hub: FakeHub, files: dict[str, bytes], record: Record, lab: Lab
) -> None:
    hub.add("me/a", {**files, "README.md": b"---\ntags: [slm-lightning]\n---\n", "model.pt": b""})
    for name in ("me/b", "me/c"):
        hub.add(name, {**files, "README.md": b"---\ntags: [slm-lightning]\n---\n"})
    answer = lab("pull", "me/*")
    assert answer.code == 8 and "hf://me/a is not taken: " in answer.err
    assert len(record.top(None)) == 2


def test_a_revision_that_is_not_there(hub: FakeHub, files: dict[str, bytes], lab: Lab) -> None:
    hub.add("me/policy", files)
    answer = lab("pull", "me/policy@deadbeef")
    assert answer.code == 2 and "me/policy at " in answer.err and "no such branch" in answer.err


def test_it_is_replayed_compared_and_not_gone_on_with(
    hub: FakeHub, files: dict[str, bytes], record: Record, repository: Path, lab: Lab
) -> None:
    hub.add("me/policy", files)
    returns = load(str(repository)).play(3).tolist()
    answer = lab("enjoy", "hf://me/policy", "--episodes", 3, "--json")
    assert answer.code == 0, answer.err
    played = json.loads(answer.out)
    assert (played["name"], played["returns"]) == ("policy", returns)
    assert not record.top(None)
    (run,) = pull("*/pol*", say=lambda text: None)
    assert load(run.run_id).play(3).tolist() == returns
    hub.add("lab/other", files)
    (other,) = pull("lab/other", say=lambda text: None)
    compared = compare(f"mine={run.run_id}", f"theirs={other.run_id}")
    assert [len(each.seeds) for each in compared.contenders] == [2, 2]
    for command in (("resume",), ("publish", "--dry-run", "somewhere")):
        answer = lab(command[0], run.run_id, *command[1:])
        assert (answer.code, answer.out) == (2, "") and "pulled from hf://me/policy@" in answer.err


def test_a_dataset_brings_the_policy_of_its_winner(
    hub: FakeHub, files: dict[str, bytes], repository: Path
) -> None:
    bundle = ("policy.safetensors", "spec_resolved.json", "bundle.json")
    hub.add("me/search", {f"winner/{name}": files[name] for name in bundle}, kind="dataset")
    assert load("hf://me/search").play(2).tolist() == load(str(repository)).play(2).tolist()


def test_the_changes_of_others_are_not_applied(
    hub: FakeHub, files: dict[str, bytes], record: Record, tmp_path: Path
) -> None:
    hub.add("me/policy", sealed({**files, "provenance/git.diff": b"+import os\n"}))
    (run,) = pull("me/policy", say=lambda text: None)
    original = Original.of(record, run)
    assert original.diff and original.diff.read_text() == "+import os\n"
    refused = pytest.raises(RefusedError, match="uncommitted changes, which are code of hf://me/pol")
    with refused, workshop(original, [], tmp_path / "shop"):
        pytest.fail("it was opened")


def test_packages_that_only_the_user_knows_are_not_asked_for(
    hub: FakeHub, files: dict[str, bytes], record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody may have put code of his under their names where pip looks."""
    here = [f"numpy=={version('numpy')}", "my-own-project==1.0"]
    monkeypatch.setattr(
        "slm_lightning.lab.reproduce.reproduction.Provenance.collect",
        lambda: SimpleNamespace(requirements="\n".join(here), machine={}),
    )
    then = b"numpy==0.1\nmy-own-project==99.0\n"
    hub.add("evil/policy", sealed({**files, "provenance/requirements.txt": then}))
    asked: list[Change] = []

    def workshop(original: Original, packages: list[Change], folder: Path) -> NoReturn:
        asked.extend(packages)
        raise MissingError("enough")

    monkeypatch.setattr("slm_lightning.lab.reproduce.reproduction.workshop", workshop)
    said: list[str] = []
    with pytest.raises(MissingError, match="enough"):
        reproduce("hf://evil/policy", say=said.append)
    assert [change.name for change in asked] == ["numpy"]
    assert "packages differ: my-own-project 99.0 -> 1.0" in said


def sealed(files: dict[str, bytes]) -> dict[str, bytes]:
    """The same with a manifest that fits."""
    manifest = json.loads(files["publication.json"])
    hashes = {k: hashlib.sha256(v).hexdigest() for k, v in files.items() if k != "publication.json"}
    return {**files, "publication.json": json.dumps({**manifest, "files": hashes}).encode()}


def changed(
    files: dict[str, bytes], change: Callable[[list[dict[str, Any]]], None]
) -> dict[str, bytes]:
    """The same with other runs in ``record.json``."""
    data = json.loads(files["record.json"])
    change(data["runs"])
    return sealed({**files, "record.json": json.dumps(data).encode()})


def table(files: dict[str, bytes], old: bytes, new: bytes) -> dict[str, bytes]:
    """The same with other rows."""
    assert old in files["metrics.csv"]
    return sealed({**files, "metrics.csv": files["metrics.csv"].replace(old, new, 1)})


def _code(runs: list[dict[str, Any]]) -> None:
    runs[0]["specs"]["spec_resolved.json"]["env"]["entry_point"] = "os:system"


def _written(runs: list[dict[str, Any]]) -> None:
    (spec,) = runs[0]["specs"]["spec.json"].values()
    spec["env"]["name"] = "os:Environment"


def _search(runs: list[dict[str, Any]]) -> None:
    runs[0]["specs"]["spec_resolved.json"]["search"] = {"env": {"entry_point__choice": ["os:system"]}}


HOSTILE: dict[str, tuple[int, Callable[[dict[str, bytes]], dict[str, bytes]]]] = {
    "a spec that names code": (8, lambda f: changed(f, _code)),
    "a spec that named code as it was written": (8, lambda f: changed(f, _written)),
    "a spec whose search draws code": (8, lambda f: changed(f, _search)),
    "a pickle beside": (8, lambda f: {**f, "extra/model.pt": b""}),
    "a damaged table": (7, lambda f: {**f, "metrics.csv": f["metrics.csv"] + b"1"}),
    "a file less": (7, lambda f: {k: v for k, v in f.items() if k != "record.json"}),
    "no manifest": (2, lambda f: {k: v for k, v in f.items() if k != "publication.json"}),
    "a manifest of nothing": (7, lambda f: {**f, "publication.json": b"[" * 100_000}),
    "a manifest of files elsewhere": (
        7, lambda f: {**f, "publication.json": f["publication.json"].replace(
            b'"metrics.csv"', b'"%s"' % (b"x" * 5000))}
    ),
    "an option for a commit": (
        7,
        lambda f: changed(f, lambda r: r[0]["tags"].update({"mlflow.source.git.commit": "--help"})),
    ),
    "a number that is none": (
        7, lambda f: changed(f, lambda r: r[1]["tags"].update({"slm.session": "../1"}))
    ),
    "a budget that is no number": (
        7, lambda f: changed(f, lambda r: r[0]["tags"].update({"slm.extended": "640 -> many"}))
    ),
    "a time before all others": (
        7, lambda f: changed(f, lambda r: r[0].update(start="0001-01-01T00:00:00"))
    ),
    "a name of two lines": (7, lambda f: changed(f, lambda r: r[0].update(name="a\nb"))),
    "a metric that leads elsewhere": (
        7, lambda f: changed(f, lambda r: r[0]["metrics"].update({"../a": 1.0}))
    ),
    "rows of no trial": (7, lambda f: table(f, b"trial,", b"trail,")),
    "a column for a terminal": (7, lambda f: table(f, b"opt_step", b"\x1b[2J")),
    "a machine for a terminal": (
        7, lambda f: sealed({**f, "provenance/machine.json": b'{"cpu": "\\u001b[2J"}'})
    ),
    "another kind of run": (7, lambda f: changed(f, lambda r: r[0].update(kind="model"))),
    "runs that hang nowhere": (7, lambda f: changed(f, lambda r: r[1].update(parent="0" * 32))),
    "no runs": (7, lambda f: changed(f, lambda r: r.clear())),
    "packages from elsewhere": (
        7, lambda f: sealed({**f, "provenance/requirements.txt": b"torch @ http://evil/torch.whl"})
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_refused(
    hub: FakeHub, files: dict[str, bytes], lab: Lab, empty_record: Path, tmp_path: Path, what: str
) -> None:
    code, spoil = HOSTILE[what]
    hub.add("evil/policy", spoil(files))
    answer = lab("pull", "evil/policy")
    assert (answer.code, answer.out) == (code, ""), answer.err
    assert answer.err.startswith("error: ") and "not foreseen" not in answer.err
    assert not (tmp_path / "mlruns" / "mlflow.db").exists()


@pytest.mark.parametrize("place", [0, 1])
def test_a_score_that_its_rows_do_not_show(
    hub: FakeHub, files: dict[str, bytes], record: Record, lab: Lab, place: int
) -> None:
    def forged(runs: list[dict[str, Any]]) -> None:
        runs[place]["metrics"]["score"] = 499.0

    hub.add("evil/policy", changed(files, forged))
    answer = lab("pull", "evil/policy")
    assert (answer.code, answer.out) == (7, "") and "score of tiny_t0" in answer.err
    assert "is 499.0; its rows give" in answer.err and not record.top(None)


def test_metrics_that_no_row_shows_are_left_behind(
    hub: FakeHub, files: dict[str, bytes], record: Record, finished_root: Path
) -> None:
    hub.add("evil/policy", changed(files, lambda runs: runs[0]["metrics"].update(best_score=499.0)))
    (run,) = pull("evil/policy", say=lambda text: None)
    assert run.metrics == Record(finished_root).find("tiny_t0").metrics


def test_a_terminal_gets_no_orders(
    hub: FakeHub, files: dict[str, bytes], record: Record, lab: Lab
) -> None:
    hub.add("evil/policy", changed(files, lambda runs: runs[0].update(name="nice\x1b[2Jname")))
    answer = lab("pull", "evil/policy")
    assert answer.code == 0 and "\x1b" not in answer.out + answer.err
    assert [run.name for run in record.top(None)] == ["nice[2Jname"]


def test_half_of_it_is_nothing(
    hub: FakeHub, files: dict[str, bytes], record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("me/policy", files)
    with monkeypatch.context() as broken:
        broken.setattr("slm_lightning.lab.publish.importing._Taking._end", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pull("me/policy", say=lambda text: None)
    assert not record.top(None) and not list(record.root.glob("runs/*"))
    shutil.rmtree(record.root / "artifacts", ignore_errors=True)
    assert pull("me/policy", say=lambda text: None)[0].status == "FINISHED"
