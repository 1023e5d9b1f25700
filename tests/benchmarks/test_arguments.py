"""What the command lines of benchmarks refuse."""

from __future__ import annotations

import argparse
import sys
from types import ModuleType

import pytest

from benchmarks import backends, gpu, overhead, record, record_outage, search
from benchmarks.measure.arguments import count, share


def test_what_is_taken():
    assert count("12") == 12
    assert share("0.25") == 0.25


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "few", ""])
def test_a_count_is_at_least_one(text: str):
    with pytest.raises(argparse.ArgumentTypeError, match="not a whole number from 1"):
        count(text)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "nan", "half"])
def test_a_share_is_above_nothing_and_at_most_all(text: str):
    with pytest.raises(argparse.ArgumentTypeError, match="not a number above 0"):
        share(text)


@pytest.mark.parametrize(
    ("benchmark", "option"),
    [
        (backends, "--steps"),
        (backends, "--num-envs"),
        (gpu, "--num-envs"),
        (gpu, "--rounds"),
        (overhead, "--frames"),
        (overhead, "--pairs"),
        (record, "--trials"),
        (record, "--sessions"),
        (record, "--rows"),
        (record_outage, "--frames"),
        (record_outage, "--sessions"),
        (search, "--pairs"),
        (search, "--trials"),
        (search, "--frames"),
    ],
)
def test_nothing_is_measured_none_times(benchmark: ModuleType, option: str, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [benchmark.__name__, option, "0"])
    with pytest.raises(SystemExit, match="2"):
        benchmark.main()
    assert f"argument {option}: 0 is not a whole number from 1" in capsys.readouterr().err
