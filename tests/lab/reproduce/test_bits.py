"""Two records of one session, compared number by number."""

from __future__ import annotations

from typing import Any

import pandas as pd

from slm_lightning.lab.reproduce.bits import Comparison, compare

NAN = float("nan")
ROWS: dict[str, list[Any]] = {
    "frame": [100, 200, 300],
    "loss": [0.5, 0.25, 0.125],
    "total_reward": [NAN, 20.0, 21.0],
    "wall_t": [1.0, 2.0, 3.0],
    "state": ["2:aa", NAN, "6:cc"],
}


def against(ended_early: bool = False, rows: slice = slice(None), **changed: Any) -> Comparison:
    """``ROWS`` compared with some of them, changed."""
    now = pd.DataFrame(ROWS | changed)[rows]
    return compare(pd.DataFrame(ROWS), now, ended_early)


def test_equal_but_for_the_clock() -> None:
    found = against(wall_t=[9.0, 9.0, 9.0])
    assert found.identical
    assert (found.rows, found.numbers, found.hashes) == (3, 5, 2)


def test_the_first_row_that_differs() -> None:
    """The round of that row has its state at the row behind it."""
    found = against(loss=[0.5, 0.25 + 2**-54, 0.2], total_reward=[NAN, 20.0, 3.0])
    assert not found.identical
    assert (found.frame, found.block, found.rows) == (200, 6, 1)
    assert [d.column for d in found.parted] == ["loss"]


def test_a_state_that_differs_alone() -> None:
    found = against(state=["2:aa", NAN, "6:cd"])
    assert (found.frame, found.block) == (300, 6)
    assert found.parted[0][1:] == ("6:cc", "6:cd")


def test_a_number_where_there_was_none() -> None:
    assert against(total_reward=[19.0, 20.0, 21.0]).frame == 100


def test_rows_that_one_of_both_lacks() -> None:
    assert against(rows=slice(2)).missing == "the repetition has no row at frame 300"
    short = pd.DataFrame(ROWS)[:2]
    assert compare(short, pd.DataFrame(ROWS), False).missing == "the record has no row at frame 300"
    assert compare(short, pd.DataFrame(ROWS), True).identical, "the session ended early"


def test_a_column_that_one_of_both_lacks() -> None:
    found = compare(pd.DataFrame(ROWS), pd.DataFrame(ROWS).drop(columns="loss"), False)
    assert found.missing == "only one of both has the columns loss"
    assert not found.identical
