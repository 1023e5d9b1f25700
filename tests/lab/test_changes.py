"""What has changed since a run began, and what a resume says of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from slm_lightning.lab.changes import Change, changed_machine, changed_packages, changes, of_the_lab
from slm_lightning.provenance import Provenance
from slm_lightning.tracking import Record
from tests.support import Lab, faulty, tiny, write_spec

pytestmark = pytest.mark.usefixtures("no_pictures")


def other(now: Provenance) -> Provenance:
    """Another commit, another PyTorch, another processor."""
    source = dataclasses.replace(now.source, commit="f" * 40)
    lines = [line for line in now.requirements.splitlines() if not line.lower().startswith("torch==")]
    requirements = "\n".join([*lines, "torch==1.0.0"])
    machine = now.machine | {"cpu": "Abacus"}
    return dataclasses.replace(now, source=source, requirements=requirements, machine=machine)


def test_resumed_by_other_code(
    lab: Lab, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tiny(env=faulty("stop", session=0), meta={"max_session": 1})
    assert lab("run", write_spec(tmp_path / "s.json", spec)).code == 75
    trial, now = record.find("tiny_t0"), Provenance.collect()
    assert changes(trial, record) == []

    monkeypatch.setattr(Provenance, "collect", lambda *arguments: other(now))
    torch = now.requirements.partition("\ntorch==")[2].partition("\n")[0]
    listing = [
        f"commit {now.source.commit[:8]} -> ffffffff",
        f"torch {torch} -> 1.0.0",
        f"cpu {now.machine['cpu']} -> Abacus",
    ]
    assert changes(trial, record) == listing
    refused = lab("resume", "tiny_t0", "--require-exact")
    assert (refused.code, refused.out) == (7, "")
    assert "slm.exact" not in record.get(trial.run_id).tags
    resumed = lab("resume", "tiny_t0")
    assert resumed.code == 0 and record.get(trial.run_id).tags["slm.exact"] == "false"
    assert all(f"\n  {line}\n" in answer.err for answer in (refused, resumed) for line in listing)


def test_a_trial_that_was_never_begun(lab: Lab, record: Record) -> None:
    run_id = record.create_run(
        experiment="tiny",
        name="tiny_t0",
        kind="trial",
        tags={"slm.trial": "0", "slm.mode": "train", "mlflow.source.name": "slm-lightning run s.json"},
    )
    record.finish(run_id, "KILLED")
    answer = lab("resume", "tiny_t0")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == (
        "error: tiny_t0 ended before it was begun\nstart it again: slm-lightning run s.json\n"
    )


def test_packages_count_that_are_here_in_another_version() -> None:
    recorded = {"PyYAML": "1.0", "torch": "2.0", "pytest": "0.1", "gone": "2.0"}
    installed = {"pyyaml": "6.0", "torch": "2.0", "pytest": "9.0", "new": "1.0"}
    assert changed_packages(recorded, installed) == [Change("PyYAML", "1.0", "6.0")]


def test_which_packages_are_of_the_lab() -> None:
    assert all(map(of_the_lab, ("torch", "Farama_Notifications", "slm-lightning", "PyYAML")))
    assert not of_the_lab("my-own-project")


def test_what_of_a_machine_changes_bits() -> None:
    then = {"cpu": "A", "cores": 2, "gpus": [], "python": "3.11.7"}
    now = {"cpu": "B", "cores": 64, "gpus": [], "python": "3.11.7", "instructions": "avx2"}
    assert list(map(str, changed_machine(then, now))) == ["cpu A -> B"]
