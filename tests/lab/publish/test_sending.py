"""From the record to the Hub: by command, over what is there, and by itself after a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from slm_lightning import run as run_spec
from slm_lightning.lab.publish.sending import default_repo, publish_by_itself
from slm_lightning.tracking import PUBLISHED, Record
from tests.hub.account import READER, WRITER
from tests.hub.repositories import FakeHub
from tests.support import Lab, tiny, write_spec

pytestmark = pytest.mark.usefixtures("no_pictures")
PUBLISH = ("publish", "tiny_t0", "--repo", "me/policy", "--episodes", 1)


@pytest.fixture
def finished_record(finished_record: Record) -> Iterator[Record]:
    """The same, and afterwards the trial, which other tests share, is as it was."""
    yield finished_record
    finished_record.set_tags(finished_record.find("tiny_t0").run_id, {PUBLISHED: ""})


def everything(root: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file())


def test_it_is_there_and_said_so(hub: FakeHub, finished_record: Record, lab: Lab) -> None:
    answer = lab(*PUBLISH, "--json")
    assert answer.code == 0, answer.err
    done = json.loads(answer.out)
    repo = hub.repos["model", "me/policy"]
    assert set(done["files"]) == set(repo.files) - {".gitattributes"}
    head = repo.branches["main"][-1][0]
    assert done["address"] == f"hf://me/policy@{head}" and done["url"] == f"{hub.url}/me/policy"
    assert finished_record.find("tiny_t0").tags["slm.hub"] == done["address"]
    assert b"slm-lightning enjoy hf://me/policy" in repo.files["README.md"]
    listed = lab("list", "--remote")
    assert "hf://me/policy" in listed.out and "CartPole-v1, actorcritic" in listed.out
    for told in (answer.out, answer.err, listed.out, listed.err):
        assert WRITER not in told
    sent = b"".join(repo.files.values())
    assert WRITER.encode() not in sent + everything(finished_record.root)


def test_what_others_added_stays(hub: FakeHub, finished_record: Record, lab: Lab) -> None:
    assert lab(*PUBLISH).code == 0
    repo = hub.repos["model", "me/policy"]
    card = repo.files["README.md"].decode()
    card = card.replace("tags:\n", "license: mit\ntags:\n- their-tag\n", 1) + "\nTheir words.\n"
    manifest = json.loads(repo.files["publication.json"])
    manifest["files"]["graphs/former.png"] = "0"
    theirs = {"README.md": card.encode(), "notes.md": b"their notes", "graphs/former.png": b"ours"}
    theirs["publication.json"] = json.dumps(manifest).encode()
    repo.commit("main", {**repo.files, **theirs})
    assert lab(*PUBLISH).code == 0
    now = repo.files["README.md"].decode()
    assert repo.files["notes.md"] == b"their notes" and "graphs/former.png" not in repo.files
    assert "license: mit" in now and "- their-tag" in now and now.count("Their words.") == 1
    assert now.count("# ActorCritic on CartPole-v1") == 1 and now.count("- CartPole-v1\n") == 1


def test_to_a_branch_of_a_private_one(hub: FakeHub, finished_record: Record, lab: Lab) -> None:
    answer = lab(*PUBLISH, "--private", "--branch", "v2")
    assert answer.code == 0 and "slm-lightning enjoy hf://me/policy@v2\n" in answer.out
    repo = hub.repos["model", "me/policy"]
    assert repo.private and set(repo.files) == {".gitattributes"}
    there = repo.branches["v2"][-1][1]
    card = there["README.md"].decode()
    assert "policy.safetensors" in there
    for command in ("enjoy", "reproduce"):
        assert f"slm-lightning {command} hf://me/policy@v2\n" in card
    answer = lab(*PUBLISH, "--branch", "a b")
    assert answer.code == 2 and "'a b' is no branch" in answer.err


@pytest.mark.parametrize("token", ["", READER])
def test_without_the_right_nothing_is_prepared(
    hub: FakeHub, finished_record: Record, lab: Lab, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    before = everything(finished_record.root / "artifacts")
    answer = lab(*PUBLISH)
    assert (answer.code, answer.out) == (3, "") and "hf auth login" in answer.err
    assert not hub.repos and everything(finished_record.root / "artifacts") == before
    assert {path for _, path in hub.requests} <= {"/api/whoami-v2"}


def test_what_fails_says_so_and_leaves_all_as_it_was(
    hub: FakeHub, finished_record: Record, lab: Lab
) -> None:
    before = everything(finished_record.root / "artifacts")
    hub.fail("POST", "/commit/", 503, times=99)
    answer = lab(*PUBLISH)
    assert (answer.code, answer.out) == (6, "") and "it answers 503" in answer.err
    assert everything(finished_record.root / "artifacts") == before


class TestByItself:
    """``SLM_HUB_REPO`` and a token are all it takes."""

    def publish(self, record: Record) -> list[str]:
        said: list[str] = []
        publish_by_itself(record, record.find("tiny_t0").run_id, said.append)
        return said

    def test_where_the_environment_says_so(
        self, hub: FakeHub, finished_record: Record, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert self.publish(finished_record) == [] and not hub.requests
        monkeypatch.setenv("SLM_HUB_REPO", "me")
        monkeypatch.setenv("SLM_HUB_PRIVATE", "true")
        assert self.publish(finished_record) == [f"published: {hub.url}/me/tiny"]
        assert hub.repos["model", "me/tiny"].private
        monkeypatch.setenv("SLM_HUB_REPO", "me/other")
        assert default_repo(finished_record.find("tiny_t0")) == "me/other"

    def test_a_failure_is_visible_and_spoils_nothing(
        self, hub: FakeHub, record: Record, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SLM_HUB_REPO", "me")
        hub.fail("POST", "/api/repos/create", 500, times=99)
        spec = tiny(env={"max_frame": 128}, meta={"max_session": 1})
        answer = lab("run", write_spec(tmp_path / "spec.json", spec), "--json")
        run = record.find("tiny_t0")
        assert answer.code == 0 and json.loads(answer.out)["status"] == "done"
        assert "warning: not published: " in answer.err and "it answers 500" in answer.err
        assert f"to try again: slm-lightning publish {run.run_id[:8]}" in answer.err
        assert run.status == "FINISHED" and run.tags["slm.hub"].startswith("not published: ")
        hub.faults.clear()
        answer = lab("publish", "tiny_t0", "--episodes", 1)
        assert answer.code == 0 and "policy.safetensors" in hub.repos["model", "me/tiny"].files
        assert record.find("tiny_t0").tags["slm.hub"].startswith("hf://me/tiny@")

    def test_not_what_is_only_tried(
        self, hub: FakeHub, record: Record, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SLM_HUB_REPO", "me")
        run_spec(tiny(env={"max_frame": 64}), mode="dev", say=lambda text: None)
        assert not hub.requests
