"""The client against a server that speaks as the Hub does, and against all that goes wrong there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from slm_lightning.errors import (
    IntegrityError,
    LabError,
    MissingError,
    RefusedError,
    StorageError,
    UsageError,
)
from slm_lightning.hub import Address, Hub
from tests.hub.account import READER, WRITER
from tests.hub.repositories import FakeHub

CARD = "---\ntags:\n- slm-lightning\n---\nours\n"
HERE = Address("me/policy", "model")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {
        "README.md": CARD.encode(),
        "spec.json": b"{}",
        "policy.safetensors": bytes(range(256)) * 4000,
    }
    files["graphs/trial.png"] = b"a picture"
    for name, content in files.items():
        path = tmp_path / "repository" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "repository"


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def settle(read: Callable[[str], bytes]) -> tuple[str, Sequence[str]]:
    """The card as it is in the folder; of a former publication, one file goes."""
    return CARD, ["old.json"]


def upload(folder: Path, address: Address = HERE, private: bool = False) -> Address:
    return Hub().upload(folder, address, "a message", settle, private)


class TestUpload:
    def test_all_files_go_in_one_commit_and_come_back_as_they_were(
        self, hub: FakeHub, folder: Path, tmp_path: Path
    ) -> None:
        done = upload(folder)
        repo = hub.repos["model", "me/policy"]
        assert len(repo.branches["main"]) == 2 and not repo.private
        assert {k: v for k, v in repo.files.items() if k != ".gitattributes"} == contents(folder)
        assert len(hub.large) == 2
        listing = Hub().look(Address("me/policy"))
        assert listing.address == done and listing.files["graphs/trial.png"] == 9
        Hub().fetch(listing, tmp_path / "back")
        assert contents(tmp_path / "back") == dict(repo.files)
        assert not any(path.is_symlink() for path in (tmp_path / "back").rglob("*"))

    def test_the_same_again_is_no_commit(self, hub: FakeHub, folder: Path) -> None:
        assert upload(folder) == upload(folder)
        assert len(hub.repos["model", "me/policy"].branches["main"]) == 2

    def test_files_of_others_stay(self, hub: FakeHub, folder: Path) -> None:
        hub.add("me/policy", {"notes.md": b"theirs", "old.json": b"{}", "spec.json": b"[]"})
        upload(folder)
        files = hub.repos["model", "me/policy"].files
        assert (
            files["notes.md"] == b"theirs" and "old.json" not in files and files["spec.json"] == b"{}"
        )

    def test_to_a_branch(self, hub: FakeHub, folder: Path) -> None:
        hub.add("me/policy", {"spec.json": b"[]"})
        for _ in range(2):
            upload(folder, HERE._replace(revision="v2"))
        repo = hub.repos["model", "me/policy"]
        assert repo.files == {"spec.json": b"[]"}
        assert repo.branches["v2"][-1][1]["spec.json"] == b"{}"

    def test_to_a_dataset(self, hub: FakeHub, folder: Path) -> None:
        upload(folder, HERE._replace(kind="dataset"))
        assert list(hub.repos) == [("dataset", "me/policy")]
        assert Hub().look(Address("me/policy")).address.kind == "dataset"

    def test_private(self, hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        upload(folder, private=True)
        assert hub.repos["model", "me/policy"].private
        assert Hub().look(HERE).files
        monkeypatch.delenv("HF_TOKEN")
        with pytest.raises(UsageError, match="has no me/policy that you may see"):
            Hub().look(HERE)

    def test_a_public_one_takes_nothing_private(self, hub: FakeHub, folder: Path) -> None:
        hub.add("me/policy", {})
        with pytest.raises(RefusedError, match="is public, and was to be private"):
            upload(folder, private=True)
        assert hub.repos["model", "me/policy"].files == {} and not hub.large


class TestWhatPasses:
    @pytest.mark.parametrize("status", [409, 412, 429, 500, 503, None])
    def test_is_tried_again(self, hub: FakeHub, folder: Path, status: int | None) -> None:
        fault = hub.fail("POST", "/commit/", status, times=2)
        upload(folder)
        assert fault.done == 2
        assert hub.repos["model", "me/policy"].files["spec.json"] == b"{}"

    def test_a_commit_of_somebody_else_in_between(
        self, hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub.add("me/policy", {})
        repo = hub.repos["model", "me/policy"]
        once = iter([True])

        def settled(read: Callable[[str], bytes]) -> tuple[str, Sequence[str]]:
            if next(once, False):
                repo.commit("main", {**repo.files, "theirs.md": b"theirs"})
            return CARD, []

        Hub().upload(folder, HERE, "a message", settled)
        assert repo.files["theirs.md"] == b"theirs" and repo.files["spec.json"] == b"{}"
        assert hub.count("POST", "/commit/") == 2

    @pytest.mark.parametrize("status", [500, None])
    def test_a_large_file_that_breaks_off(self, hub: FakeHub, folder: Path, status: int | None) -> None:
        hub.fail("PUT", "/large/", status, times=2)
        upload(folder)
        assert hub.repos["model", "me/policy"].files["policy.safetensors"] == bytes(range(256)) * 4000

    def test_a_download_that_breaks_off_goes_on(
        self, hub: FakeHub, folder: Path, tmp_path: Path
    ) -> None:
        upload(folder)
        fault = hub.fail("GET", "/resolve/.*safetensors", None)
        listing = Hub().look(HERE)
        try:
            Hub().fetch(listing, tmp_path / "back")
        except StorageError:
            Hub().fetch(listing, tmp_path / "back")
        assert fault.done == 1
        assert (tmp_path / "back/policy.safetensors").read_bytes() == bytes(range(256)) * 4000


class TestWhatDoesNot:
    @pytest.mark.parametrize("status", [412, 429, 500, None])
    def test_is_said_and_can_be_repeated(self, hub: FakeHub, folder: Path, status: int | None) -> None:
        before = contents(folder)
        fault = hub.fail("POST", "/commit/", status, times=99)
        with pytest.raises(StorageError, match="nothing could be sent to me/policy") as failed:
            upload(folder)
        assert failed.value.exit_code == 6 and "what is here is as it was" in failed.value.hint
        assert contents(folder) == before
        large = hub.count("PUT", "/large/")
        fault.times = 0
        upload(folder)
        assert hub.count("PUT", "/large/") == large, "large files that are there are not sent again"

    @pytest.mark.parametrize("path", ["/preupload/", "/info/lfs/", "/large/", "/api/validate-yaml"])
    def test_wherever_it_is(self, hub: FakeHub, folder: Path, path: str) -> None:
        hub.fail("PUT" if "large" in path else "POST", path, 500, times=99)
        with pytest.raises(StorageError) as failed:
            upload(folder)
        assert WRITER not in str(failed.value)
        assert hub.repos["model", "me/policy"].files.keys() == {".gitattributes"}

    @pytest.mark.parametrize(
        ("status", "kind", "code"),
        [(401, MissingError, 3), (403, MissingError, 3), (404, UsageError, 2)],
    )
    def test_no_right(
        self, hub: FakeHub, folder: Path, status: int, kind: type[LabError], code: int
    ) -> None:
        hub.fail("POST", "/commit/", status, times=99)
        with pytest.raises(kind) as failed:
            upload(folder)
        assert failed.value.exit_code == code
        assert hub.count("POST", "/commit/") == 1

    def test_a_card_that_the_hub_does_not_take(self, hub: FakeHub, folder: Path) -> None:
        with pytest.raises(StorageError, match="Invalid metadata in README"):
            Hub().upload(folder, HERE, "a message", lambda read: ("---\nmodel-index: 3\n---\n", []))
        assert not hub.large


class TestAccess:
    def test_is_there(self, hub: FakeHub) -> None:
        Hub().check_access("me/policy")
        Hub().check_access("lab/policy")

    @pytest.mark.parametrize(
        ("token", "repo", "why"),
        [
            (None, "me/policy", "there is no token"),
            ("hf_strangerstranger", "me/policy", "does not let this token"),
            (READER, "me/policy", "the token of me may read and not write"),
            (WRITER, "other/policy", "me is not a member of other"),
        ],
    )
    def test_is_not(
        self, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, token: str | None, repo: str, why: str
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", token) if token else monkeypatch.delenv("HF_TOKEN")
        with pytest.raises(MissingError, match=why) as refused:
            Hub().check_access(repo)
        assert "hf auth login" in refused.value.hint
        assert not token or token not in str(refused.value) + refused.value.hint

    def test_nobody_answers(self, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
        for ask in (lambda: Hub().check_access("me/policy"), lambda: Hub().look(HERE)):
            with pytest.raises(MissingError, match=r"the Hub at http://127.0.0.1:1 cannot be reached"):
                ask()

    def test_it_is_forbidden_to_ask(self, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(MissingError, match="HF_HUB_OFFLINE forbids"):
            Hub().check_access("me/policy")
        assert not hub.requests


class TestFetch:
    @pytest.mark.parametrize(
        "name",
        [
            *("../up.json", "/etc/passwd", "a/../../b.json", "a//b.json", "weights.pt", "a/x.pkl"),
            *("run.py", "x\n.json", ".hidden.json", "a/b/c/d/e.json", "pages.html", "model.zip"),
        ],
    )
    def test_nothing_of_a_hostile_repository(self, hub: FakeHub, tmp_path: Path, name: str) -> None:
        hub.add("evil/policy", {"spec.json": b"{}", name: b"x"})
        with pytest.raises(RefusedError, match="nothing was fetched") as refused:
            Hub().fetch(Hub().look(Address("evil/policy")), tmp_path / "back")
        assert refused.value.exit_code == 8
        assert not hub.count("GET", "/resolve/") and not (tmp_path / "back").exists()

    def test_nor_of_one_that_is_too_large(self, hub: FakeHub, tmp_path: Path) -> None:
        hub.add("evil/policy", {f"{i}.json": b"" for i in range(101)})
        with pytest.raises(RefusedError, match="more than 100 files"):
            Hub().fetch(Hub().look(Address("evil/policy")), tmp_path / "back")


class TestEntries:
    def test_only_the_labs_and_what_fits(self, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
        card = {"README.md": CARD.encode()}
        hub.add("me/ppo-pong", card)
        hub.add("me/ppo-search", card, kind="dataset", private=True)
        hub.add("other/ppo-pong", card)
        hub.add("me/llm", {"README.md": b"no card"})

        def names(pattern: str) -> list[str]:
            return sorted(str(entry.address) for entry in Hub().entries(pattern))

        assert names("me/*") == ["hf://datasets/me/ppo-search", "hf://me/ppo-pong"]
        assert names("*pong") == ["hf://me/ppo-pong", "hf://other/ppo-pong"]
        assert names("*/llm") == []
        monkeypatch.delenv("HF_TOKEN")
        assert names("me/*") == ["hf://me/ppo-pong"]

    def test_a_card_that_cannot_be_read_hides_no_other(self, hub: FakeHub) -> None:
        hub.add("me/ppo-pong", {"README.md": CARD.encode()})
        odd = "---\ntags: [slm-lightning]\nignore_metadata_errors: false\n---\n"
        hub.add("evil/odd", {"README.md": odd.encode()})
        assert sorted(entry.address.repo for entry in Hub().entries()) == ["evil/odd", "me/ppo-pong"]
        with pytest.raises(IntegrityError, match="the card of evil/odd cannot be read"):
            Hub().look(Address("evil/odd"))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("hf://me/x", Address("me/x")),
        ("me/x", Address("me/x")),
        ("hf://datasets/me/x@v1", Address("me/x", "dataset", "v1")),
        ("hf://models/me/x", Address("me/x", "model")),
    ],
)
def test_an_address(text: str, address: Address) -> None:
    assert Address.parse(text) == address
    assert Address.parse(str(address)) == address._replace(
        kind=address.kind if "models" not in text else None
    )


@pytest.mark.parametrize("text", ["hf://me", "me", "hf://a/b/c", "hf://../x y", "hf://"])
def test_no_address(text: str) -> None:
    with pytest.raises(UsageError, match="is no repository of the Hub"):
        Address.parse(text)
