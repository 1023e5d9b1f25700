"""Files that would run code, put in every place that the lab reads: none of them does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from lightning.pytorch.plugins import TorchCheckpointIO

from slm_lightning import export
from slm_lightning.callbacks import MetricLog
from slm_lightning.data.checkpoint_files import LAST
from slm_lightning.errors import IntegrityError, LabError, RefusedError, SpecError
from slm_lightning.foreign import look_over
from slm_lightning.lab.baselines import read_table
from slm_lightning.lab.bundle import open_bundle, read_weights
from slm_lightning.lab.replay import read_checkpoint
from slm_lightning.lab.result import Result
from slm_lightning.lab.running.job import Job
from slm_lightning.lab.running.rungs import Rungs
from slm_lightning.lab.running.worker import run_session
from slm_lightning.lab.search.storage import open_storage
from slm_lightning.spec.load import load_spec
from slm_lightning.tracking import Record, read_rows
from tests.conftest import make_spec
from tests.security.payloads import archives, files, programs, yaml_tags
from tests.support import REPOSITORY, Lab, wait_until

pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")

TORCH = (".pth", ".pt", ".ckpt")


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """What no payload may have made at the end of a test."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists()


def payloads(canary: Path) -> Iterator[tuple[str, bytes]]:
    """Suffix and content of every program in every kind of file."""
    for program in programs(canary).values():
        yield from files(program)


def test_the_payloads_are_live(tmp_path: Path) -> None:
    """A program that unpickles them runs every one."""
    command = [sys.executable, "-m", "tests.security.payloads", str(tmp_path)]
    subprocess.run(command, check=True, cwd=REPOSITORY, stdin=subprocess.DEVNULL, capture_output=True)
    count = len(programs(tmp_path))
    assert count >= 30
    wait_until(lambda: len(list(tmp_path.iterdir())) == count, "every canary sings")


def test_a_checkpoint_of_the_record(canary: Path, tmp_path: Path) -> None:
    for suffix, content in payloads(canary):
        path = tmp_path / f"ckpt-best{suffix}"
        path.write_bytes(content)
        with pytest.raises((RefusedError, IntegrityError)):
            read_checkpoint(path)


def test_a_checkpoint_to_go_on_from(canary: Path, tmp_path: Path) -> None:
    spec = make_spec("ActorCritic", {"name": "CartPole-v1", "max_frame": 64})
    rungs, storage = Rungs((), MetricLog(spec, tmp_path / "metrics.jsonl")), TorchCheckpointIO()
    ways = (rungs.missed_in, partial(storage.load_checkpoint, weights_only=True))
    path = tmp_path / "checkpoints" / LAST
    path.parent.mkdir()
    for suffix, content in payloads(canary):
        if suffix in TORCH:
            path.write_bytes(content)
            for load in ways:
                with pytest.raises(Exception):  # noqa: B017 - whatever PyTorch says
                    load(path)
    with pytest.raises(Exception):  # noqa: B017
        job = Job(spec.to_dict(), trial=0, session=0, folder=str(tmp_path), devices=("cpu",))
        run_session(job, lambda frame, score: None)


def test_a_bundle_with_one_beside_it(
    canary: Path, finished: Result, finished_record: Record, tmp_path: Path
) -> None:
    bundle = export(finished.run_id, tmp_path / "policy")
    tars = [(".tar", content) for content in archives()]
    for suffix, content in [*payloads(canary), *tars]:
        path = bundle / f"extra{suffix}"
        path.write_bytes(content)
        with pytest.raises(RefusedError, match=rf"extra{suffix}' could run code"):
            open_bundle(bundle)
        path.unlink()
    open_bundle(bundle)


def test_a_bundle_whose_files_are_some(canary: Path, tmp_path: Path) -> None:
    """Under the names of what is opened."""
    for _, content in payloads(canary):
        for name in ("policy.safetensors", "spec_resolved.json", "bundle.json"):
            (tmp_path / name).write_bytes(content)
        look_over(tmp_path)
        with pytest.raises(IntegrityError):
            open_bundle(tmp_path)
        with pytest.raises(IntegrityError):
            read_weights(tmp_path / "policy.safetensors")


def test_checkpoints_from_elsewhere_are_not_opened_at_all(
    canary: Path, finished: Result, finished_record: Record, tmp_path: Path, lab: Lab
) -> None:
    """A folder that looks like one of the record, with an honest checkpoint."""
    session = finished.sessions[0].run_id
    folder = tmp_path / "policy"
    (folder / "checkpoints").mkdir(parents=True)
    for name in ("spec_resolved.json", "checkpoints/ckpt-best.ckpt"):
        (folder / name).write_bytes(finished_record.download(session, name).read_bytes())
    answer = lab("enjoy", folder)
    assert (answer.code, answer.out) == (8, "")
    assert "ckpt-best.ckpt' could run code: .ckpt files are not opened" in answer.err
    assert "slm-lightning export" in answer.err


def test_a_spec(canary: Path, tmp_path: Path, lab: Lab) -> None:
    for suffix, content in payloads(canary):
        for name in (f"spec{suffix}", "spec.json", "spec.yaml"):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(SpecError):
                load_spec(tmp_path / name)
    for text in yaml_tags(canary):
        (tmp_path / "spec.yaml").write_text(text)
        with pytest.raises(SpecError):
            load_spec(tmp_path / "spec.yaml")
    answer = lab("run", tmp_path / "spec.yaml")
    assert (answer.code, answer.out) == (2, "") and "is not valid YAML" in answer.err


def test_tables_and_studies(canary: Path, tmp_path: Path) -> None:
    for _, content in payloads(canary):
        (tmp_path / "random_baselines.json").write_bytes(content)
        assert read_table(tmp_path / "random_baselines.json") == {}
        (tmp_path / "metrics.jsonl").write_bytes(content)
        assert read_rows(tmp_path / "metrics.jsonl") == []
    for _, content in files(programs(canary)["os.system"]):
        (tmp_path / "optuna.db").write_bytes(content)
        with pytest.raises(LabError):
            open_storage(None, tmp_path)


def test_nothing_was_left_anywhere() -> None:
    """Members of the archives above would have been written here."""
    assert not any(os.path.lexists(path) for path in ("/tmp/evil.py", "/tmp/escaped.txt"))
