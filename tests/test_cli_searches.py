"""Searches at the command line: what is said of them, and what to type next."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from slm_lightning import output
from slm_lightning.lab.wording import WIDTH
from slm_lightning.tracking import Record
from tests.lab.search_record import LR, RecordedSearch, draw, recorded
from tests.lab.searching import search_spec
from tests.support import Lab, write_spec

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture
def search(record: Record) -> RecordedSearch:
    """One of 16 trials of which 12 are done, stopped before its end."""
    search = recorded(record)
    search.finish("stopped")
    return search


def test_a_search_ends_in_what_to_type_next(lab: Lab, record: Record, tmp_path: Path) -> None:
    path = write_spec(tmp_path / "spec.json", search_spec(trials=2))
    answer = lab("search", path)
    assert answer.code == 0, answer.err
    (run,) = record.runs(kind="experiment")
    lines = answer.out.splitlines()
    assert lines[0] == "tiny: 2 of 2 trials done"
    assert all(len(line) <= WIDTH for line in lines if not line.startswith("page: "))
    best = re.search(r"^  trial \d \((\w{8})\)", answer.out, re.MULTILINE)
    assert best is not None
    assert lines[-4:] == [
        f"see it     slm-lightning enjoy {best[1]}",
        f"confirm    slm-lightning resume {run.run_id[:8]} --confirm 5",
        f"details    slm-lightning show {run.run_id[:8]}",
        f"in MLflow  slm-lightning ui {run.run_id[:8]}",
    ]
    assert lab("enjoy", best[1], "--episodes", 1).code == 0


def test_of_a_search_the_best_are_shown(lab: Lab, search: RecordedSearch) -> None:
    lines = lab("show", search.name).out.splitlines()
    assert lines[0] == f"ppo_cartpole  experiment  stopped  {search.run_id}"
    assert lines[2] == "12 of 16 trials done, 2 pruned, 1 failed, 1 diverged"
    table = [line.split() for line in lines if re.match(r"[0-9a-f]{8}  t\d", line)]
    best = sorted(search.scores, key=search.scores.__getitem__, reverse=True)[:10]
    assert [row[1] for row in table] == [f"t{number}" for number in best]
    assert [row[2] for row in table] == [f"{search.scores[number]:.4g}" for number in best]
    assert f"lr {draw(best[0])[LR]:.4g}" in next(line for line in lines if f"  t{best[0]} " in line)
    text = "\n".join(lines)
    assert "the best 10 of 12; all: slm-lightning show" in text
    assert "failed, 1 time: ValueError: the environment broke" in text
    assert lines[-1] == f"go on      slm-lightning resume {search.run_id[:8]}"


def test_a_trial_of_a_search_says_what_was_drawn(
    lab: Lab, search: RecordedSearch, record: Record
) -> None:
    trial = record.children(search.run_id)[2]
    lines = lab("show", trial.run_id[:8]).out.splitlines()
    assert lines[2] == f"trial 2 of search ppo_cartpole ({search.run_id[:8]}); drawn for it:"
    assert f"  {LR}  {draw(2)[LR]:.4g}" in lines
    repeat = lines[-1].removeprefix("repeat     slm-lightning run ")
    spec = json.loads(Path(repeat).read_text())["ppo_cartpole_t2"]
    assert spec["agent"]["net"]["optim_spec"]["lr"] == draw(2)[LR]
    assert lab("validate", repeat).code == 0


def test_what_was_killed_does_not_run(lab: Lab, search: RecordedSearch, record: Record) -> None:
    """The end of a process is what opens the lock of its run: here it is opened by hand."""
    record.hold(search.run_id)
    record.set_tags(search.run_id, {"slm.status": "done"})  # as of a search that was then confirmed
    record.set_status(search.run_id, "RUNNING")
    assert lab("list").out.splitlines()[1].split()[3] == "running"
    record._folder(search.run_id).release()
    assert lab("list").out.splitlines()[1].split()[3] == "killed"
    assert lab("show", search.name).out.endswith(f"slm-lightning resume {search.run_id[:8]}\n")


def test_names_are_shortened_where_a_terminal_is_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [["run", "name", "environment"], ["0a1b2c3d", f"{'long' * 10}_t12", "ALE/Breakout-v5"]]
    assert f"{'long' * 10}_t12" in output.columns(rows, elastic=(1, 2)), "a pipe takes all"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    _, row = output.columns(rows, elastic=(1, 2)).splitlines()
    assert len(row) <= 40 and row.startswith("0a1b2c3d  longlon") and "_t12 " in row
    monkeypatch.setenv("COLUMNS", "5")
    assert "0a1b2c3d" in output.columns(rows, elastic=(1, 2)), "what is not elastic stays"
