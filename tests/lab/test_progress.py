"""What a watcher of a trial sees: bars in a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import io
import math
import re
import sys

import pytest
from optuna.storages import InMemoryStorage

from slm_lightning.lab.progress import ProgressBars, SearchProgress
from slm_lightning.lab.running.job import Job, Reached
from slm_lightning.lab.search.study import Ended
from tests.lab.searching import LR, finish, new_study, planned

NAMES = ["ppo_t0_s0", "ppo_t0_s1"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def update(bars: ProgressBars | SearchProgress, session: int, *reached: float) -> None:
    job = Job({}, trial=0, session=session, folder="", devices=("cpu",))
    show = bars.update if isinstance(bars, ProgressBars) else bars.reached
    show(job, Reached(*reached))


def test_elsewhere_a_line_for_every_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    bars = ProgressBars(NAMES, 10_000)
    for frame in range(64, 2500, 64):
        update(bars, 1, frame, math.nan if frame < 1500 else frame / 100)
    update(bars, 0, 10_000, 499.96)
    bars.close()
    out, err = capsys.readouterr()
    assert out == "", "standard output is for results"
    assert err.splitlines() == [
        "ppo_t0_s1  1,024/10,000 frames  no episode yet",
        "ppo_t0_s1  2,048/10,000 frames  total_reward_ma 20.48",
        "ppo_t0_s0  10,000/10,000 frames  total_reward_ma 500",
    ]


def test_a_short_session_skips_tenths(capsys: pytest.CaptureFixture[str]) -> None:
    bars = ProgressBars(NAMES[:1], 100)
    for frame in (64, 100):
        update(bars, 0, frame, 1.5)
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines()] == ["64/100", "100/100"]


def test_in_a_terminal_a_bar_for_every_session(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    bars = ProgressBars(NAMES, 200_000)
    update(bars, 0, 1024, math.nan)
    update(bars, 1, 50_000, 123.4)
    update(bars, 0, 200_000, 500.0)
    bars.close()
    shown = re.split(r"[\r\n]|\x1b\[A", terminal.getvalue())
    assert any(
        re.search(r"ppo_t0_s1  25%\|.*\| 50.0k/200k \[\d\d:\d\d<.*frames/s\].*ma 123.4", s)
        for s in shown
    )
    assert any(re.search(r"ppo_t0_s0 100%\|.*\| 200k/200k .*total_reward_ma 500", s) for s in shown)
    assert not any("nan" in line for line in shown)


def test_a_resumed_session_goes_on_from_its_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its speed and time left are those of the frames that are made now."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    bars = ProgressBars(NAMES[:1], 1000)
    update(bars, 0, 900, 1.0)
    update(bars, 0, 950, 1.0)
    (bar,) = bars.bars
    assert (bar.n, bar.initial) == (950, 900)
    bars.close()


def test_of_a_search_a_line_for_every_trial() -> None:
    lines: list[str] = []
    study = new_study(planned({f"{LR}__choice": [0.01, 0.1]}, trials=4), InMemoryStorage())
    watcher = SearchProgress(study.spec, study, lines.append)
    ends = [
        (Ended([20.0]), ""),
        (Ended([10.0], pruned=True), ""),
        (Ended(None), "session 0 failed: no more\nsession 1 failed"),
        (Ended([30.5]), ""),
    ]
    for number, (end, reason) in enumerate(ends):
        update(watcher, 0, 500, 1.0)
        watcher.ended(number, {LR: 0.01}, end, reason)
    watcher.close()
    assert lines == [
        "t0 of 4  score 20, best so far  (lr 0.01)",
        "t1 of 4  score 10, pruned  (lr 0.01)",
        "t2 of 4  failed: session 0 failed: no more  (lr 0.01)",
        "t3 of 4  score 30.5, best so far  (lr 0.01)",
    ]


def test_a_resumed_search_knows_its_best(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    study = new_study(planned(trials=3, objective={"loss": "minimize"}), InMemoryStorage())
    finish(study, lambda drawn: 2.0)
    watcher = SearchProgress(study.spec, study, print)
    watcher.ended(2, {LR: 0.01}, Ended([3.0]), "")
    watcher.close()
    assert "t2 of 3  loss 3  (lr 0.01)" in terminal.getvalue()
    assert "best 2, t0" in terminal.getvalue()
