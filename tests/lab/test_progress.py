"""What a watcher of a trial sees: bars in a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import io
import math
import re
import sys

import pytest

from slm_lightning.lab.progress import ProgressBars

NAMES = ["ppo_t0_s0", "ppo_t0_s1"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_elsewhere_a_line_for_every_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    bars = ProgressBars(NAMES, 10_000)
    for frame in range(64, 2500, 64):
        bars.update(1, frame, math.nan if frame < 1500 else frame / 100)
    bars.update(0, 10_000, 499.96)
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
        bars.update(0, frame, 1.5)
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines()] == ["64/100", "100/100"]


def test_in_a_terminal_a_bar_for_every_session(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    bars = ProgressBars(NAMES, 200_000)
    bars.update(0, 1024, math.nan)
    bars.update(1, 50_000, 123.4)
    bars.update(0, 200_000, 500.0)
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
    bars.update(0, 900, 1.0)
    bars.update(0, 950, 1.0)
    (bar,) = bars.bars
    assert (bar.n, bar.initial) == (950, 900)
    bars.close()
