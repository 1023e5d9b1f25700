"""What a watcher of a trial sees: bars in a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import io
import math
import re
import sys

import pytest
from optuna.storages import InMemoryStorage

from slm_lightning.lab.progress import ProgressBars, SearchProgress
from slm_lightning.lab.running.job import Job, Outcome, Reached
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


@pytest.mark.parametrize("live", [False, True])
def test_a_warning_is_read_at_once(live: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal() if live else io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    bars = ProgressBars(NAMES, 10_000)
    bars.update(Job({}, 0, 1, "", ("cpu",)), Reached(64, math.nan, "the disk is full"))
    bars.close()
    assert "ppo_t0_s1: warning: the disk is full" in terminal.getvalue()


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


def lines(terminal: Terminal) -> list[str]:
    """What stood in a line of the terminal at any time."""
    text = terminal.getvalue().replace("\x1b[A", "")
    return [line.rstrip() for line in re.split(r"[\r\n]", text)]


def test_in_a_terminal_a_bar_for_every_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says how the session stands, and its score is not cut off."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    bars = ProgressBars(NAMES, 10_000_000)
    for bar in bars.bars:
        bar.dynamic_ncols, bar.ncols = None, 80
        bar.mininterval = 0  # every update is drawn
    update(bars, 0, 1024, math.nan)
    update(bars, 1, 1_230_000, -1234.5)
    update(bars, 1, 2_500_000, -1234.5)
    bars.ended(0, Outcome("failed", "no more"))
    bars.ended(1, Outcome("done"))
    bars.close()
    shown = lines(terminal)
    assert {"s0 waiting", "s1 waiting"} <= set(shown)
    assert max(map(len, shown)) <= 80
    for line in (
        r"s1  25%\|.+\| 2\.50M/10\.0M frames, \S+/s, \S+ left, total_reward_ma -1234$",
        r"s0   0%\|.+\| 1\.02k/10\.0M frames, failed after \d+:\d\d, no episode yet$",
        r"s1  25%\|.+\| 2\.50M/10\.0M frames, done after \d+:\d\d, total_reward_ma -1234$",
    ):
        assert any(re.match(line, text) for text in shown), line
    assert not any("nan" in line for line in shown)


def test_a_session_that_had_ended_before_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    bars = ProgressBars(NAMES, 1000)
    bars.ended(0, Outcome("done"))
    bars.close()
    assert "s0 done" in lines(terminal)


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


def test_the_bar_of_a_search_counts_no_frames_that_never_come(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    study = new_study(planned(trials=2), InMemoryStorage())
    watcher = SearchProgress(study.spec, study, print)
    assert watcher.bar is not None
    each = study.spec.env.max_frame
    assert watcher.bar.total == 2 * each
    update(watcher, 0, 500, 1.0)
    watcher.ended(0, {LR: 0.01}, Ended([10.0], pruned=True), "")
    assert (watcher.bar.n, watcher.bar.total) == (500, each + 500)
    watcher.close()
