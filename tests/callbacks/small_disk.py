"""Run as ``unshare -m python -m tests.callbacks.small_disk FOLDER MIB``: disks that are full, or fixed.

Prints a line for everything that held; an assertion ends it otherwise.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from slm_lightning.errors import StorageError
from slm_lightning.lab.disk import check_disk
from tests.callbacks.sessions import MODULE, SPEC, assert_same, left, save_after_every_round, train
from tests.conftest import REPLAY, make_spec


def mount(folder: Path, options: str) -> None:
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)


def fill(folder: Path) -> None:
    """Takes all the room there is."""
    with suppress(OSError), (folder / "filler").open("ab", buffering=0) as file:
        while True:
            file.write(bytes(1024))


def full_in_the_middle(folder: Path, mib: int) -> None:
    mount(folder / "small", f"size={mib}m")
    train(folder / "whole")
    place = folder / "small" / "session"
    with pytest.raises(StorageError, match="No space left on device"):
        train(place, report=lambda frame, score: fill(folder / "small") if frame >= 96 else None)
    (folder / "small" / "filler").unlink()
    outcome, told = train(place)
    assert outcome.status == "done" and not told
    assert_same(place, left(folder / "whole"))
    print(f"a disk of {mib} MiB that was full went on to the same end")


def refused_beforehand(folder: Path, mib: int) -> None:
    check_disk(SPEC, folder / "small" / "record")
    large = make_spec("DQN", memory=REPLAY | {"max_size": 10**7})
    with pytest.raises(StorageError, match=r"come to about 7\d\d\.\d MiB, and .* has \d+\.\d MiB free"):
        check_disk(large, folder / "small" / "record")
    mount(folder / "fixed", "ro")
    with pytest.raises(StorageError, match=r"fixed cannot be written by user 0: Read-only file system"):
        check_disk(SPEC, folder / "fixed" / "record")
    print("a small disk and a read-only one are refused before training")


def main() -> None:
    folder, mib = Path(sys.argv[1]), int(sys.argv[2])
    with pytest.MonkeyPatch.context() as monkeypatch:
        save_after_every_round(monkeypatch)
        monkeypatch.setattr(f"{MODULE}.PATIENCE_SECONDS", 0.0)
        full_in_the_middle(folder, mib)
        refused_beforehand(folder, mib)


if __name__ == "__main__":
    main()
