"""Resuming by other code than a run began with, and what was never begun."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from slm_lightning.lab.running.changed import changes
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
