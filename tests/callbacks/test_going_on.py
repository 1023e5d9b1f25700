"""Damaged, swapped and missing checkpoints: never loaded, and the one before takes over."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slm_lightning.data import sealed
from slm_lightning.data.checkpoint_files import BEST, PREVIOUS, RESUME
from slm_lightning.errors import IntegrityError
from tests.callbacks.sessions import assert_same, last, left, save_after_every_round, train

Damage = Callable[[Path], Any]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    save_after_every_round(monkeypatch)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A finished session, with its checkpoint before the last, and what it left."""
    folder = tmp_path_factory.mktemp("session")
    with pytest.MonkeyPatch.context() as monkeypatch:
        save_after_every_round(monkeypatch)
        assert train(folder)[0].status == "done"
    return folder, left(folder)


@pytest.fixture(scope="module")
def stopped(session: tuple[Path, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same session, stopped before its last round; with the best policy of the whole one."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as monkeypatch:
        save_after_every_round(monkeypatch)
        assert train(folder, last_block=4)[0].status == "stopped"
    shutil.copy(session[0] / "checkpoints" / BEST, folder / "checkpoints" / BEST)
    return folder


@pytest.fixture
def copy(stopped: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stopped, tmp_path / "copy"))


def previous(folder: Path) -> Path:
    return folder / "checkpoints" / RESUME / PREVIOUS


def segments(folder: Path) -> list[Path]:
    return sorted((folder / "checkpoints" / RESUME).glob("replay.*"))


def flip(path: Path, bit: int = 4321) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def no_silent_load(paths: list[Path], flips: int, cuts: int, folder: Path) -> None:
    rng, file = random.Random(0), folder / "file"
    for index in range(flips + cuts):
        data = paths[index % len(paths)].read_bytes()
        if index < flips:
            file.write_bytes(data)
            flip(file, rng.randrange(8 * len(data)))
        else:
            file.write_bytes(data[: rng.randrange(len(data))])
        with pytest.raises(IntegrityError, match=r"damaged"):
            sealed.load(file)


@pytest.mark.parametrize(
    ("flips", "cuts"), [(100, 20), pytest.param(1000, 200, marks=pytest.mark.slow)]
)
def test_no_bit_flip_and_no_truncation_loads(
    flips: int, cuts: int, session: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder = session[0]
    paths = [last(folder), folder / "checkpoints" / BEST, segments(folder)[0]]
    for path in paths:
        assert sealed.load(path)
    no_silent_load(paths, flips, cuts, tmp_path)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: flip(last(folder)), "ckpt-last.ckpt is damaged"),
        (lambda folder: cut(last(folder)), "ckpt-last.ckpt is damaged"),
        (lambda folder: last(folder).write_bytes(b""), "ckpt-last.ckpt is damaged"),
        (lambda folder: last(folder).unlink(), "ckpt-last.ckpt is missing"),
        (
            lambda folder: shutil.copy(folder / "checkpoints" / BEST, last(folder)),
            "is no checkpoint to go on from",
        ),
        (lambda folder: flip(segments(folder)[-1]), "is damaged"),
        (lambda folder: segments(folder)[-1].unlink(), "is missing"),
        (lambda folder: shutil.copy(segments(folder)[0], segments(folder)[-1]), "is not the file"),
    ],
    ids=["flipped", "cut", "empty", "gone", "another", "segment", "no segment", "other segment"],
)
def test_the_checkpoint_before_takes_over(
    damage: Damage, said: str, copy: Path, session: tuple[Path, dict[str, Any]]
) -> None:
    """From there the session comes to the same end, bit for bit, and says what happened."""
    damage(copy)
    outcome, told = train(copy)
    assert outcome.status == "done"
    assert len(told) == 1 and said in told[0] and "goes on from the checkpoint before it" in told[0]
    assert_same(copy, session[1])


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
def test_without_a_whole_one_nothing_is_loaded(damage: Damage, copy: Path) -> None:
    """Both files stay as they are."""
    damage(last(copy))
    flip(previous(copy))
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    with pytest.raises(IntegrityError, match=r"no checkpoint to go on .*ckpt-last.*ckpt-prev"):
        train(copy)
    assert before == {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}


def test_the_checkpoint_of_another_session(copy: Path, tmp_path: Path) -> None:
    train(tmp_path / "other", session=1)
    shutil.copytree(tmp_path / "other" / "checkpoints", copy / "checkpoints", dirs_exist_ok=True)
    with pytest.raises(IntegrityError, match=r"\(0, 1, 0\), and not \(0, 0, 0\)"):
        train(copy)


def test_another_schema(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot be gone on from, but its weights can be loaded."""
    monkeypatch.setattr(sealed, "SCHEMA", 3)
    with pytest.raises(IntegrityError, match=r"0\.1\.0 in schema 2, .* goes on from schema 3"):
        train(copy)
    assert sealed.load(copy / "checkpoints" / BEST)["state_dict"]


def test_a_finished_session_keeps_its_memory_and_nothing_older(
    session: tuple[Path, dict[str, Any]],
) -> None:
    folder, found = session
    named = {row[0] for row in sealed.load(previous(folder))["RolloutData"]["memory"]["rows"]}
    assert {path.name for path in segments(folder)} == named
    assert min(found["memory"]) > 0, "the oldest steps have left the ring and the disk"
