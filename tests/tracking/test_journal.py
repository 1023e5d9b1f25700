"""What is read from a journal, and what of it is sent."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slm_lightning.tracking.journal import BATCH, Cursor, Point, batches, read_rows, rows_of, unread


def append(path: Path, *rows: dict[str, object] | str) -> None:
    with path.open("a") as file:
        file.writelines(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows)


def deliver(path: Path, cursor: Cursor, final: bool = False) -> tuple[list[Point], Cursor]:
    requests = list(batches(unread(path, cursor), cursor, final))
    return [point for points, _ in requests for point in points], requests[-1][
        1
    ] if requests else cursor


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def test_a_row_becomes_its_finite_numbers(journal: Path) -> None:
    append(journal, {"frame": 10, "time": 5.0, "loss": 1, "kl": None, "hash": "ab", "done": True})
    append(journal, '{"frame": 20, "time": 6.0, "loss": NaN, "lr": Infinity, "kl": 0.5}\n')
    sent, _ = deliver(journal, Cursor())
    assert sent == [Point("loss", 1.0, 10, 5.0), Point("kl", 0.5, 20, 6.0)]


def test_a_row_without_time_has_that_of_the_file(journal: Path) -> None:
    append(journal, {"frame": 10, "loss": 1.0})
    assert deliver(journal, Cursor())[0][0].time == pytest.approx(journal.stat().st_mtime)


def test_a_torn_line_waits_for_its_end(journal: Path) -> None:
    append(journal, {"frame": 1, "loss": 1.0}, '{"frame": 2, "lo')
    sent, cursor = deliver(journal, Cursor())
    assert [point.frame for point in sent] == [1]
    assert deliver(journal, cursor) == ([], cursor)
    append(journal, 'ss": 2.0}\n')
    assert [point.value for point in deliver(journal, cursor)[0]] == [2.0]


def test_half_a_line_left_by_a_crash_is_passed_over(journal: Path) -> None:
    append(
        journal, {"frame": 1, "loss": 1.0}, '{"frame": 2, "lo\n', "\n", "7\n", {"frame": 3, "loss": 3.0}
    )
    assert [point.frame for point in deliver(journal, Cursor())[0]] == [1, 3]
    assert [row["frame"] for row in read_rows(journal)] == [1, 3]


def test_rows_written_again_after_a_rollback_are_not_sent_again(journal: Path) -> None:
    append(journal, *({"frame": i, "time": 1.0, "loss": i} for i in range(1, 6)))
    _, cursor = deliver(journal, Cursor())
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:2]))  # the checkpoint stood behind row 2
    assert deliver(journal, cursor) == ([], cursor)
    append(journal, *({"frame": i, "time": 1000.25, "loss": i} for i in range(3, 8)))
    sent, cursor = deliver(journal, cursor)
    assert [point.frame for point in sent] == [6, 7]
    append(journal, {"frame": 8, "time": 1.0, "loss": 8})
    assert [point.frame for point in deliver(journal, cursor)[0]] == [8]


def test_a_constant_is_sent_first_last_and_before_it_changes(journal: Path) -> None:
    values = [1, 1, 1, 2, 2, 2]
    append(journal, *({"frame": i, "time": i, "lr": v} for i, v in enumerate(values)))
    sent, cursor = deliver(journal, Cursor())
    assert [(p.frame, p.value) for p in sent] == [(0, 1), (2, 1), (3, 2)]
    sent, cursor = deliver(journal, cursor, final=True)
    assert [(p.frame, p.value) for p in sent] == [(5, 2)]
    assert deliver(journal, cursor, final=True)[0] == []


def test_what_the_rows_of_a_round_repeat_is_sent_from_the_last_of_them(journal: Path) -> None:
    for at, loss, frames in [(1.0, 0.5, (10, 20)), (2.0, 0.25, (30, 40, 50)), (3.0, 0.25, (60,))]:
        for frame in frames:
            row = {"frame": frame, "time": at, "total_reward": 1.0, "epi": frame // 10, "loss": loss}
            append(journal, row)
    sent = deliver(journal, Cursor(), final=True)[0]
    frames = {key: [point.frame for point in sent if point.key == key] for key in ("epi", "loss")}
    assert frames == {"epi": [10, 20, 30, 40, 50, 60], "loss": [20, 50, 60]}


LEARNED = st.sampled_from([0.0, 0.25, 0.5])


@given(
    rounds=st.lists(
        st.tuples(
            st.integers(1, 3).flatmap(lambda n: st.lists(LEARNED, min_size=n, max_size=n)),
            st.fixed_dictionaries({"lr": LEARNED, "loss": LEARNED}),
            st.booleans(),
        ),
        min_size=1,
        max_size=12,
    ),
    cuts=st.sets(st.integers(0, 36)),
    first_score=st.integers(0, 5),
    instant=st.booleans(),
)
def test_the_sent_points_give_the_rows_back(
    rounds: list[tuple[list[float], dict[str, float], bool]],
    cuts: set[int],
    first_score: int,
    instant: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Rounds of several rows, some of them evaluated at their end, read wherever it may be; also where
    rounds are so short that they have one time."""
    journal = tmp_path_factory.mktemp("journal") / "metrics.jsonl"
    rows: list[dict[str, float]] = []
    sent: list[Point] = []
    cursor = Cursor()
    for number, (returns, learned, evaluated) in enumerate(rounds):
        for step, ret in enumerate(returns):
            row = {"frame": 10 * len(rows), "time": 0.0 if instant else number, "epi": len(rows) // 2}
            row |= {"total_reward": ret} if len(rows) >= first_score else {}
            row |= learned | ({"eval/return": ret} if evaluated and step == len(returns) - 1 else {})
            rows.append(row)
            append(journal, row)
            if len(rows) in cuts:
                points, cursor = deliver(journal, cursor)
                sent += points
    sent += deliver(journal, cursor, final=True)[0]

    table = rows_of(sent).set_index("frame")
    assert len(table) == len(rows)
    for row in rows:
        for key in row.keys() - {"frame", "time"}:
            assert table.loc[row["frame"], key] == row[key]
    evaluations = [row["frame"] for row in rows if "eval/return" in row]
    if evaluations:
        assert table["eval/return"].first_valid_index() == evaluations[0]


@pytest.mark.parametrize("order", [1, -1])
def test_what_is_said_of_a_session_at_its_end_changes_none_of_its_rows(
    order: int, journal: Path
) -> None:
    for frame, at in [(10, 1.0), (20, 1.0), (30, 2.0), (40, 2.0)]:
        append(journal, {"frame": frame, "time": at, "total_reward": 1.0, "loss": 1 / at})
    sent = [*deliver(journal, Cursor(), final=True)[0], Point("score", 7.0, 40, 3.0)]
    table = rows_of(sent[::order])
    assert table["loss"].tolist() == [1, 1, 0.5, 0.5]
    assert table["score"].dropna().tolist() == [7]


def test_a_row_whose_score_is_not_finite_stays(journal: Path) -> None:
    for frame in (10, 20):
        append(journal, {"frame": frame, "time": 1.0, "total_reward": math.inf, "loss": frame})
    append(journal, {"frame": 30, "time": 1.0, "total_reward": math.inf, "loss": 20})
    assert rows_of(deliver(journal, Cursor(), final=True)[0])["frame"].tolist() == [10, 20, 30]


def test_scores_are_sent_from_every_row(journal: Path) -> None:
    append(journal, *({"frame": i, "total_reward": 5, "total_reward_ma": 5, "lr": 1} for i in range(4)))
    sent, _ = deliver(journal, Cursor())
    assert (
        sorted(point.key for point in sent) == ["lr"] + ["total_reward"] * 4 + ["total_reward_ma"] * 4
    )


@given(
    rows=st.lists(
        st.fixed_dictionaries({}, optional={k: st.sampled_from([0.0, 1.0, math.nan]) for k in "ab"}),
        max_size=30,
    ),
    cuts=st.sets(st.integers(0, 30)),
    reload=st.booleans(),
)
def test_curves_through_the_sent_points_are_those_of_the_journal(
    rows: list[dict[str, float]],
    cuts: set[int],
    reload: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Whatever the values, and wherever deliveries and restarts cut the journal."""
    journal = tmp_path_factory.mktemp("journal") / "metrics.jsonl"
    sent: list[Point] = []
    cursor = Cursor()
    for frame, row in enumerate(rows):
        append(journal, {"frame": frame, "time": float(frame), **row})
        if frame in cuts:
            points, cursor = deliver(journal, cursor)
            sent += points
            if reload:
                cursor.save(journal.with_name("cursor.json"))
                cursor = Cursor.load(journal.with_name("cursor.json"))
    sent += deliver(journal, cursor, final=True)[0]

    assert len(sent) == len({(p.key, p.frame) for p in sent}), "nothing is sent twice"
    for key in "ab":
        full = [(f, row[key]) for f, row in enumerate(rows) if not math.isnan(row.get(key, math.nan))]
        curve = sorted((p.frame, p.value) for p in sent if p.key == key)
        assert set(curve) <= set(full)
        if full:
            frames, values = zip(*full, strict=True)
            assert np.array_equal(np.interp(frames, *zip(*curve, strict=True)), values)


def test_requests_are_no_larger_than_mlflow_takes(journal: Path) -> None:
    append(journal, *({"frame": i, **{f"m{k}": i + k for k in range(30)}} for i in range(100)))
    requests = list(batches(unread(journal, Cursor()), Cursor(), final=True))
    sizes = [len(points) for points, _ in requests]
    assert sum(sizes) == 3000
    assert max(sizes) <= BATCH
    assert unread(journal, requests[-1][1]) == []


def test_a_cursor_that_cannot_be_read_starts_again(tmp_path: Path) -> None:
    assert Cursor.load(tmp_path / "cursor.json") == Cursor()
    (tmp_path / "cursor.json").write_text("{")
    assert Cursor.load(tmp_path / "cursor.json") == Cursor()
