"""What the command lines of benchmarks refuse."""

from __future__ import annotations

import argparse

import pytest

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
