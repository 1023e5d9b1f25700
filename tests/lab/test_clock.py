"""A clock that is set while a session trains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slm_lightning.callbacks import MetricLog
from tests.conftest import make_spec, train


def test_durations_are_of_a_clock_that_only_goes_forward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jumps = iter(range(10**9, 0, -(10**6)))
    monkeypatch.setattr("time.time", lambda: float(next(jumps)))
    spec = make_spec("ActorCritic", meta={"log_frequency": 64})
    path = tmp_path / "metrics.jsonl"
    train(spec, callbacks=[MetricLog(spec, path)])
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows[0]["time"] > rows[-1]["time"]
    assert [row["frame"] for row in rows] == [64, 128, 192, 256]
    assert all(row["fps"] > 0 and row["wall_t"] > 0 for row in rows)
    assert sorted(rows, key=lambda row: row["wall_t"]) == rows
