"""A short session in this process that saves itself after every round, and what it leaves."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from slm_lightning.data.checkpoint_files import LAST
from slm_lightning.lab.running.job import Job, Outcome
from slm_lightning.lab.running.worker import run_session
from slm_lightning.tracking import read_rows
from tests.conftest import PRIORITIZED, make_spec
from tests.support import CLOCK, equal, stored_state

MODULE = "slm_lightning.callbacks.checkpoints"
SPEC = make_spec(
    {"name": "DoubleDQN", "training_frequency": 16},
    {"name": "CartPole-v1", "num_envs": 2, "max_frame": 192},
    memory=PRIORITIZED | {"max_size": 100, "use_cer": True, "num_step_returns": 3},
    meta={"log_frequency": 32},
)
"""Five rounds; the memory holds the latest 50 of 96 vector steps, in segments of 16 and more."""


def save_after_every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time passes between two checkpoints."""
    monkeypatch.setattr(f"{MODULE}.CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(f"{MODULE}.CHECKPOINT_SHARE", math.inf)
    monkeypatch.setattr(f"{MODULE}.RETRY_SECONDS", 0.0)


def job(folder: Path, session: int = 0, spec: Any = SPEC, last_block: int | None = None) -> Job:
    folder.mkdir(exist_ok=True)
    return Job(spec.to_dict(), 0, session, str(folder), ("cpu",), last_block=last_block)


def train(
    folder: Path, session: int = 0, report: Any = lambda *_: None, last_block: int | None = None
) -> tuple[Outcome, list[str]]:
    """Trains it in ``folder``, or goes on there, to its end or to ``last_block``; how it ended and what
    the user was told."""
    said: list[str] = []
    task = job(folder, session, last_block=last_block)
    return run_session(task, report, warn=said.append), said


def left(folder: Path) -> dict[str, Any]:
    """Everything that a session's spec and code determine: its rows, its checkpoints, its memory."""
    rows = read_rows(folder / "metrics.jsonl")
    states = [stored_state(path) for path in sorted((folder / "checkpoints").glob("*.ckpt"))]
    parts = [states[-1]["RolloutData"]["memory"].pop("rows")]
    return {
        "rows": [{key: value for key, value in row.items() if key not in CLOCK} for row in rows],
        "states": [{k: v for k, v in state.items() if k != "loops"} for state in states],
        "memory": {step: row for part in parts for step, row in _by_step(part)},
    }


def _by_step(part: dict[str, Any]) -> list[tuple[int, Any]]:
    """The vector steps of a segment; where one segment ends depends on when it was written."""
    columns = ("action", "reward", "terminated", "truncated", "position", "age")
    count = len(part["reward"])
    return [(part["start"] + t, [part[name][t] for name in columns]) for t in range(count)]


def assert_same(folder: Path, whole: dict[str, Any]) -> None:
    """The session in ``folder`` came to the same as the one that left ``whole``, bit for bit."""
    found = left(folder)
    assert found["rows"] == whole["rows"]
    assert equal(found["states"], whole["states"])
    steps = found["memory"].keys() & whole["memory"].keys()
    head = found["states"][-1]["RolloutData"]["memory"]["head"]
    tail = found["states"][-1]["RolloutData"]["memory"]["tail"]
    assert set(range(tail, head)) <= steps, "all that can still be drawn is on disk"
    assert all(equal(found["memory"][step], whole["memory"][step]) for step in steps)


def last(folder: Path) -> Path:
    return folder / "checkpoints" / LAST
