"""A finished trial that goes on: it comes to the numbers that its new budget gives from the start."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from slm_lightning import api, run
from slm_lightning.errors import UsageError
from slm_lightning.lab.extension import TAG
from slm_lightning.lab.result import Result
from slm_lightning.lab.trial import EXACT, EXTENDED
from slm_lightning.spec.model import Spec
from slm_lightning.tracking import RESOLVED, Record
from tests.conftest import PRIORITIZED, make_spec
from tests.support import Lab, checkpoint, equal, numbers, write_spec

pytestmark = pytest.mark.usefixtures("no_pictures")

TWO = {"max_session": 2, "log_frequency": 128, "seed": 5}
CASES: dict[str, Spec] = {
    "A2C": make_spec("ActorCritic", {"name": "CartPole-v1", "max_frame": 512}, meta=TWO),
    "DQN, whose memory is small": make_spec("DQN", {"name": "CartPole-v1", "max_frame": 512}, meta=TWO),
}


def silent(text: str) -> None: ...


def trained(spec: Spec, frames: int | None = None) -> Result:
    overrides: dict[str, Any] = {"env.max_frame": frames} if frames else {}
    return run({"grown": spec.to_dict()}, overrides=overrides, device="cpu", say=silent)


def assert_same_training(one: Result, other: Result, record: Record) -> None:
    """The same rows but for the evaluation that each budget ends with, and the same states."""
    for left, right in zip(one.sessions, other.sessions, strict=True):
        tables = [
            numbers(session.metrics).filter(regex="^(?!eval/)").reset_index(drop=True)
            for session in (left, right)
        ]
        pd.testing.assert_frame_equal(*tables, check_exact=True)
        assert equal(left.metrics["eval/return"].iloc[-1], right.metrics["eval/return"].iloc[-1])
        for which in ("best", "last"):
            states = [checkpoint(record, session.run_id, which) for session in (left, right)]
            assert equal(*states), which


@pytest.mark.parametrize("name", CASES)
def test_extended_equals_planned(name: str, record: Record) -> None:
    planned, short = trained(CASES[name], 1024), trained(CASES[name])
    said: list[str] = []
    extended = api.resume(short.run_id, extend={"max_frame": 1024}, device="cpu", say=said.append)
    assert not [line for line in said if line.startswith(("note", "warning"))]
    assert_same_training(planned, extended, record)
    info = record.get(short.run_id)
    assert (info.status, info.tags["slm.status"]) == ("FINISHED", "done")
    assert info.tags[TAG] == "512 -> 1024" and info.params["env.max_frame"] == "512"
    assert api.verify(short.run_id).comparison.identical, "but for the evaluation at the first end"
    assert '"max_frame": 1024' in record.download(info.run_id, RESOLVED).read_text()
    assert '"max_frame": 1024' in record.download(info.run_id, "spec.json").read_text()
    assert not any(record.root.glob("runs/*"))


def test_what_the_old_budget_has_left_is_told(record: Record) -> None:
    spec = make_spec(
        "DoubleDQN",
        {"name": "CartPole-v1", "max_frame": 300},
        memory=PRIORITIZED,
        meta={"log_frequency": 128},
    )
    short, said = trained(spec), []
    extended = api.resume(short.run_id, extend={"env.max_frame": 600}, device="cpu", say=said.append)
    assert extended.metrics["frame"].max() == 600
    doubts = [line for line in said if line.startswith("note: other numbers than with this budget")]
    assert any("beta" in line for line in doubts) and any("old end" in line for line in doubts)
    assert record.get(short.run_id).tags[EXACT] == EXTENDED


def test_what_cannot_be_extended(lab: Lab, record: Record, tmp_path: Any) -> None:
    spec_file = write_spec(tmp_path / "spec.json", {"grown": CASES["A2C"].to_dict()})
    assert lab("run", spec_file, "--sessions", 1).code == 0
    for asked, message in {
        "max_frame=512": "has 512 frames already",
        "max_frame=often": 'expected a whole number of frames, not "often"',
        "agent.algorithm.gamma=0.9": "gamma cannot be changed in a trial that has begun",
    }.items():
        answer = lab("resume", "test_t0", "--extend", asked)
        assert (answer.code, answer.out) == (2, "") and message in answer.err
    (session,) = record.children(record.find("test_t0").run_id)
    record.download(session.run_id, "metrics.jsonl").unlink()
    with pytest.raises(UsageError, match="has kept nothing to go on from"):
        api.resume("test_t0", extend={"max_frame": 1024}, say=silent)
    assert {run.status for run in record.runs()} == {"FINISHED"}
