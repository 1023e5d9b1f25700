"""A policy that is handed on: what it holds, that it plays the same, and what of it is refused."""

from __future__ import annotations

import json
import math
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from slm_lightning import export, load, run
from slm_lightning.errors import IntegrityError, RefusedError, UsageError
from slm_lightning.foreign import look_over
from slm_lightning.tracking import Record
from tests.support import Lab, checkpoint, tiny

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture
def bundle(finished_record: Record, tmp_path: Path) -> Path:
    """A policy as ``export`` writes it, outside the record."""
    return export("tiny_t0_s0", tmp_path / "policy")


def test_it_holds_the_policy_and_nothing_else(bundle: Path, finished_record: Record) -> None:
    assert {path.name for path in bundle.iterdir()} == {
        *("policy.safetensors", "spec_resolved.json", "bundle.json"),
    }
    session = finished_record.find("tiny_t0_s0")
    best = checkpoint(finished_record, session.run_id, "best")
    stored = load_file(bundle / "policy.safetensors")
    assert stored.keys() == best["state_dict"].keys()
    assert all(torch.equal(value, best["state_dict"][key]) for key, value in stored.items())
    about = json.loads((bundle / "bundle.json").read_text())
    assert (about["format"], about["name"], about["checkpoint"]) == (1, "tiny_t0_s0", "best")
    assert (about["run_id"], about["frame"]) == (session.run_id, best["frame"])
    assert about["commit"] == session.tags["mlflow.source.git.commit"]


def test_it_plays_as_the_record_does(
    lab: Lab, finished_record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    returns = load("tiny_t0_s1", "last").play(3).tolist()
    answer = lab("export", "tiny_t0_s1", tmp_path / "new" / "policy", "--checkpoint", "last")
    assert (answer.code, answer.err) == (0, "")
    monkeypatch.setenv("SLM_MLRUNS", str(tmp_path / "elsewhere"))
    answer = lab("enjoy", tmp_path / "new" / "policy", "--episodes", 3, "--json")
    assert json.loads(answer.out)["returns"] == returns
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["policy"]


class TestExportRefuses:
    def test_a_folder_that_is_there(self, bundle: Path, lab: Lab) -> None:
        before = {path: path.read_bytes() for path in bundle.iterdir()}
        answer = lab("export", "tiny_t0", bundle)
        assert (answer.code, answer.out) == (2, "") and "exists already" in answer.err
        assert {path: path.read_bytes() for path in bundle.iterdir()} == before

    def test_a_folder_that_cannot_be_made(self, finished_record: Record, lab: Lab) -> None:
        answer = lab("export", "tiny_t0", "/proc/none/policy")
        assert (answer.code, answer.out) == (6, "")
        assert answer.err.startswith("error: /proc/none/policy cannot be written: ")

    def test_a_bundle(self, bundle: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="is a bundle already"):
            export(str(bundle), tmp_path / "again")

    def test_an_environment_of_ones_own(self, record: Record, tmp_path: Path) -> None:
        env = {"name": "Mine-v0", "entry_point": "tests.envs.probes:Counter", "length": 3}
        run(tiny(env={**env, "max_frame": 64}, meta={"max_session": 1}), say=lambda text: None)
        with pytest.raises(RefusedError, match="which a bundle cannot carry") as refused:
            export("tiny_t0", tmp_path / "policy")
        assert 'needs env.entry_point "tests.envs.probes:Counter"' in str(refused.value)
        assert not (tmp_path / "policy").exists()


def respec(bundle: Path, change: Callable[[dict], object]) -> None:
    """Changes the spec of a bundle as somebody would who makes bundles by hand."""
    from slm_lightning.lab import bundle as files

    path = bundle / "spec_resolved.json"
    spec = json.loads(path.read_text())
    change(spec)
    path.write_text(json.dumps(spec))
    about = json.loads((bundle / "bundle.json").read_text())
    about["sha256"] = {name: files._sha256(bundle / name) for name in about["sha256"]}
    (bundle / "bundle.json").write_text(json.dumps(about))


CODE = {
    "entry_point": lambda spec: spec["env"].update(entry_point="evil_module:Env"),
    "a module in the name": lambda spec: spec["env"].update(name="evil_module:CartPole-v1"),
    "an import": lambda spec: spec["env"].update(make="evil_module:make"),
    "a dotted path": lambda spec: spec["env"].update(maker="evil_module.make"),
    "an expression": lambda spec: spec["env"].update(reward="__import__('evil_module')"),
    "a file": lambda spec: spec["env"].update(xml_file="../evil.xml"),
    "deep inside": lambda spec: spec["env"].update(options={"a": [1, {"b": "evil_module:x"}]}),
    "a key": lambda spec: spec["env"].update(options={"evil_module:x": 1}),
}


@pytest.mark.parametrize("change", CODE.values(), ids=CODE)
def test_a_spec_from_elsewhere_names_no_code(
    change: Callable[[dict], object],
    bundle: Path,
    lab: Lab,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (bundle.parent / "evil_module.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')\n")
    monkeypatch.chdir(bundle.parent)
    respec(bundle, change)
    answer = lab("enjoy", bundle)
    assert (answer.code, answer.out) == (8, "")
    assert answer.err.startswith("error: env.") and "may name code" in answer.err
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("text", ["4x4", "dense", "default reward", "UP-LEFT"])
def test_words_are_no_code(text: str, bundle: Path) -> None:
    """What is left is the environment's to judge."""
    respec(bundle, lambda spec: spec["env"].update(map_name=text))
    with pytest.raises(Exception, match="map_name: neither a key of env"):
        load(str(bundle))


class TestDamage:
    @pytest.mark.parametrize("name", ["policy.safetensors", "spec_resolved.json"])
    def test_a_changed_byte(self, name: str, bundle: Path) -> None:
        data = bytearray((bundle / name).read_bytes())
        data[len(data) // 2] ^= 1
        (bundle / name).write_bytes(data)
        with pytest.raises(IntegrityError, match="is not the file that was exported"):
            load(str(bundle))

    @pytest.mark.parametrize(
        "text", ["", "[]", '{"format": 1, "format": 1}', '{"format": NaN}', "[" * 100_000]
    )
    def test_a_description_that_is_none(self, text: str, bundle: Path) -> None:
        (bundle / "bundle.json").write_text(text)
        with pytest.raises(IntegrityError):
            load(str(bundle))

    def test_another_format(self, bundle: Path) -> None:
        (bundle / "bundle.json").write_text('{"format": 2}')
        with pytest.raises(IntegrityError, match="format 2; this version reads 1"):
            load(str(bundle))

    def test_a_missing_file(self, bundle: Path) -> None:
        (bundle / "policy.safetensors").unlink()
        with pytest.raises(UsageError, match=r"has no policy\.safetensors"):
            load(str(bundle))

    def test_other_weights(self, bundle: Path) -> None:
        save_file({"agent.x": torch.zeros(1)}, bundle / "policy.safetensors")
        respec(bundle, lambda spec: None)
        with pytest.raises(IntegrityError, match="does not fit its spec"):
            load(str(bundle))

    def test_a_header_that_lies(self, bundle: Path) -> None:
        header = b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'
        data = len(header).to_bytes(8, "little") + header
        (bundle / "policy.safetensors").write_bytes(data)
        respec(bundle, lambda spec: None)
        with pytest.raises(IntegrityError, match="holds no weights"):
            load(str(bundle))


def sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def many(folder: Path, count: int) -> None:
    for i in range(count):
        (folder / f"{i}.json").touch()


INTRUDERS: dict[str, Callable[[Path], object]] = {
    "is a link": lambda folder: (folder / "notes.txt").symlink_to("/etc/passwd"),
    "is a link, which may lead anywhere": lambda folder: (folder / "more").symlink_to(folder.parent),
    "is a hard link": lambda folder: os.link(folder.parent / "secret.txt", folder / "notes.txt"),
    "is not a regular file": lambda folder: os.mkfifo(folder / "pipe.json"),
    "holds more than 100 files": lambda folder: many(folder, 101),
    "holds more than 2 GiB": lambda folder: sparse(folder / "big.json", 2**31 + 1),
    "is nested deeper": lambda folder: (folder / "a/b/c/d/e").mkdir(parents=True),
    "is of a kind": lambda folder: (folder / "run.exe").touch(),
    "has a name": lambda folder: (folder / ".bashrc").touch(),
}


@pytest.mark.parametrize("why", INTRUDERS)
def test_what_may_not_lie_beside_it(why: str, bundle: Path, lab: Lab) -> None:
    (bundle.parent / "secret.txt").write_text("of somebody else")
    INTRUDERS[why](bundle)
    answer = lab("enjoy", bundle)
    assert (answer.code, answer.out) == (8, "")
    assert why in answer.err and "nothing of the folder was opened" in answer.err
    assert len(answer.err.splitlines()) == 2


def test_a_socket_is_not_opened(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bundle)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("talk.json")
        with pytest.raises(RefusedError, match="is not a regular file"):
            look_over(bundle)


def test_pictures_and_words_may_lie_beside_it(bundle: Path) -> None:
    (bundle / "graphs").mkdir()
    for name in ("README.md", "LICENSE", ".gitattributes", "replay.mp4", "graphs/trial.png"):
        (bundle / name).write_bytes(b"...")
    assert math.isfinite(load(str(bundle)).play(1)[0])
