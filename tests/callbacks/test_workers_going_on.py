"""Two workers of one model go on from the same round, or not at all."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import pytest

from slm_lightning.callbacks import newest_whole
from slm_lightning.data import sealed
from slm_lightning.data.checkpoint_files import LAST, PREVIOUS, RESUME, last_of
from slm_lightning.data.segments import Segments
from slm_lightning.data.workers import Workers
from slm_lightning.errors import IntegrityError


class Threads(Workers):
    """Workers that are threads of this process."""

    barrier = threading.Barrier(2)
    numbers: ClassVar = [0, 0]

    def total(self, number: int) -> int:
        self.numbers[self.rank] = number
        self.barrier.wait()
        found = sum(self.numbers)
        self.barrier.wait()
        return found


def go_on(folder: Path) -> list[Path | str]:
    """What each worker goes on from, or what it says."""

    def one(rank: int) -> Path | str:
        try:
            found = newest_whole(folder, Threads(rank, 2), Segments(folder / RESUME, rank), print)
        except IntegrityError as error:
            return str(error)
        assert found is not None
        return found

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, range(2)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The checkpoints of rounds 4 and 7, of both workers."""
    (tmp_path / RESUME).mkdir()
    for version, first in ((4, tmp_path / RESUME / PREVIOUS), (7, tmp_path / LAST)):
        state = {"session": {"version": version}, "RolloutData": {}}
        for path in (first, tmp_path / last_of(1, version)):
            sealed.save(state, path)
    return tmp_path


def test_from_the_latest_round_of_which_all_is_whole(folder: Path) -> None:
    assert go_on(folder) == [folder / LAST, folder / last_of(1, 7)]


@pytest.mark.parametrize("broken", [LAST, last_of(1, 7)])
def test_what_one_has_lost_none_goes_on_from(broken: str, folder: Path) -> None:
    (folder / broken).write_bytes((folder / broken).read_bytes()[:-1])
    assert go_on(folder) == [folder / LAST, folder / last_of(1, 4)]
    assert sealed.load(folder / LAST)["session"]["version"] == 4


def test_a_file_of_another_round(folder: Path) -> None:
    (folder / last_of(1, 7)).write_bytes((folder / last_of(1, 4)).read_bytes())
    assert go_on(folder) == [folder / LAST, folder / last_of(1, 4)]


def test_when_both_rounds_are_incomplete_all_say_so(folder: Path) -> None:
    (folder / LAST).unlink()
    (folder / last_of(1, 4)).unlink()
    for sentence in go_on(folder):
        assert str(sentence).startswith("no checkpoint to go on from: ")
