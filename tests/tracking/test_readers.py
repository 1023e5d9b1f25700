"""Reading the record while a run writes it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from slm_lightning import api
from slm_lightning.errors import UsageError
from slm_lightning.tracking import Record
from slm_lightning.tracking.health import database_health
from tests.support import Lab, start_lab, tiny, wait_until, write_spec

FRAMES = {"env": {"max_frame": 3000}, "meta": {"max_session": 1}}
MORE = {"env": {"max_frame": 100_000}, "meta": {"max_session": 2}}


@pytest.mark.parametrize("size", [FRAMES, pytest.param(MORE, marks=pytest.mark.slow)])
def test_readers_see_whole_rows_and_never_fail(
    record: Record, tmp_path: Path, size: dict[str, dict[str, int]], lab: Lab
) -> None:
    """Until the run ends, whatever is read is the beginning of what it leaves, or a sentence."""
    process = start_lab("run", write_spec(tmp_path / "spec.json", tiny(**size)), cwd=tmp_path)
    wait_until(lambda: record.runs(kind="session"), "the session is in the record")
    first = record.runs(kind="session")[0]
    session = first.run_id
    seen: list[list[dict[str, float]]] = []
    commands = Counter[int]()
    while process.poll() is None:
        assert record.get(session).status in ("RUNNING", "FINISHED")
        table = record.history(session)
        if "total_reward" in table:
            seen.append(table[["frame", "total_reward"]].to_dict("records"))
        for command in (["list", "--kind", "all"], ["show", session]):
            commands[lab(*command).code] += 1
        assert database_health(record.database).damage == ""
        try:
            api.load(session).play(episodes=1)
        except UsageError as refused:  # nothing is stored yet
            assert str(refused) in (
                f'run {session[:8]} has no artifact "spec_resolved.json"',
                f"{first.name} (running) has no ckpt-best",
            )
    assert process.returncode == 0, process.stderr and process.stderr.read()
    final = record.history(session)[["frame", "total_reward"]].to_dict("records")
    assert seen and all(rows == final[: len(rows)] for rows in seen)
    assert commands.keys() == {0}
    assert json.loads(lab("list", "--json").out)[0]["status"] == "done"
