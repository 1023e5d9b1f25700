"""Killed at any call that writes a checkpoint, or with a disk that is full there: nothing is lost."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from slm_lightning.errors import StorageError
from slm_lightning.files import Appended
from tests.callbacks.faulty_disk import FaultyDisk
from tests.callbacks.sessions import MODULE, assert_same, last, left, save_after_every_round, train
from tests.callbacks.test_going_on import flip

Whole = tuple[list[str], dict[str, Any]]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    save_after_every_round(monkeypatch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The calls that an undisturbed session makes, and what it leaves."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as monkeypatch:
        save_after_every_round(monkeypatch)
        disk = FaultyDisk(folder).install(monkeypatch)
        assert train(folder)[0].status == "done"
    return disk.calls, left(folder)


def chosen(calls: list[str], writes: int) -> list[int]:
    """Every call but the writes, and every ``writes``-th of those."""
    rare = [index for index, name in enumerate(calls) if name != "write"]
    return sorted({*rare, *range(0, len(calls), writes)})


def killed_at(folder: Path, call: int, before: bool) -> int:
    """Trains in a process that dies at that call; returns its exit code."""
    if (child := os.fork()) == 0:
        code = 1
        try:
            with pytest.MonkeyPatch.context() as monkeypatch:
                FaultyDisk(folder, range(call, call + 1), kill=True, before=before).install(monkeypatch)
                train(folder)
                code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def check_kills(whole: Whole, calls: list[int], folder: Path) -> None:
    for call in calls:
        for before in (True, False):
            place = folder / f"{call}-{before}"
            assert killed_at(place, call, before) == 9
            outcome, told = train(place)
            assert outcome.status == "done" and not told, "what was on disk was whole"
            assert_same(place, whole[1])
            assert not list((place / "checkpoints").rglob(".*.tmp"))


def check_full(whole: Whole, calls: list[int], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for call in calls:
        for before in (True, False):
            place = folder / f"{call}-{before}"
            with monkeypatch.context() as patched:
                FaultyDisk(place, range(call, call + 1), before=before).install(patched)
                outcome, told = train(place)
            assert outcome.status == "done", (call, whole[0][call])
            assert len(told) in (0, 2), "it is said that it fails, and that it works again"
            assert_same(place, whole[1])


def test_killed_at_some_calls(whole: Whole, tmp_path: Path) -> None:
    """Six of them, spread over all checkpoints."""
    calls = chosen(whole[0], 97)
    check_kills(whole, calls[3 :: len(calls) // 6], tmp_path)


def test_full_at_some_calls(whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = chosen(whole[0], 97)
    check_full(whole, calls[5 :: len(calls) // 4], tmp_path, monkeypatch)


@pytest.mark.slow
def test_killed_at_every_call(whole: Whole, tmp_path: Path) -> None:
    check_kills(whole, chosen(whole[0], 10), tmp_path)


@pytest.mark.slow
def test_full_at_every_call(whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_full(whole, chosen(whole[0], 10), tmp_path, monkeypatch)


@pytest.mark.parametrize("before", [True, False], ids=["not made", "made"])
@pytest.mark.parametrize("names", [0, 2], ids=["link", "rename"])
def test_the_checkpoint_before_outlives_one_that_got_no_name(
    names: int, before: bool, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory has lost its oldest segment by then; ckpt-last is damaged when the next has come."""
    calls = whole[0]
    linked = [index for index, name in enumerate(calls) if name == "link"][-2]
    named = [i for i, name in enumerate(calls) if i >= linked and name in ("link", "replace")][names]
    with monkeypatch.context() as patched:
        FaultyDisk(tmp_path, range(named, named + 1), before=before).install(patched)
        outcome, told = train(tmp_path)
    assert outcome.status == "done" and len(told) == 2
    flip(last(tmp_path))
    outcome, told = train(tmp_path)
    assert outcome.status == "done"
    assert "goes on from the checkpoint before it" in told[0]
    assert_same(tmp_path, whole[1])


@pytest.mark.parametrize("before", [True, False], ids=["in part", "whole"])
def test_a_row_whose_writing_failed_stands_there_once(
    before: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FaultyDisk(tmp_path, range(1, 3), before=before).install(monkeypatch)
    file, rows = Appended(tmp_path / "rows", 0), [b"one\n", b"two\n", b"three\n", b"four\n"]
    for row in rows:
        file.append(row)
    file.flush()
    file.close()
    assert (tmp_path / "rows").read_bytes() == b"".join(rows)


def test_a_disk_that_stays_full(whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session gives up, and goes on from the last checkpoint when there is room."""
    monkeypatch.setattr(f"{MODULE}.PATIENCE_SECONDS", 0.0)
    calls, found = whole
    full_from = calls.index("replace", len(calls) // 2)
    with monkeypatch.context() as patched:
        FaultyDisk(tmp_path, range(full_from, 10**9)).install(patched)
        with pytest.raises(
            StorageError, match=r"no checkpoint could be written to .*No space left"
        ) as end:
            train(tmp_path)
    assert end.value.exit_code == 6 and "resume" in end.value.hint
    outcome, told = train(tmp_path)
    assert outcome.status == "done" and not told
    assert_same(tmp_path, found)
