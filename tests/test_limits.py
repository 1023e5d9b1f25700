"""What the machine refuses is named with its value."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest
import torch

from slm_lightning.limits import as_limit
from tests.support import Lab


@pytest.fixture
def few_files() -> int:
    """A soft limit of open files that is reached."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    reached = max(map(int, os.listdir("/proc/self/fd"))) + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (reached, hard))
    yield reached
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_open_files(few_files: int, tmp_path: Path) -> None:
    with pytest.raises(OSError) as refused:
        _ = [(tmp_path / str(i)).open("w") for i in range(few_files)]
    limit = as_limit(refused.value)
    assert limit and limit.exit_code == 6
    assert str(limit) == f"too many open files: a process may have {few_files}"
    assert "ulimit -n" in limit.hint


def test_processes() -> None:
    limit = as_limit(BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)))
    soft = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    allowed = "unlimited" if soft == resource.RLIM_INFINITY else str(soft)
    assert limit and limit.exit_code == 6 and f" {allowed} are allowed" in str(limit)


def test_shared_memory() -> None:
    limit = as_limit(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/dev/shm/psm_1"))
    size = os.statvfs("/dev/shm")
    assert limit and limit.exit_code == 6
    assert f"it holds {size.f_blocks * size.f_frsize / 2**30:.1f} GiB" in str(limit)


def test_a_full_disk() -> None:
    limit = as_limit(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/var/x"))
    assert limit and limit.exit_code == 6
    assert "/var/x" in str(limit) and limit.hint == "make room, and go on"


def test_memory() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**55)
    for error in (refused.value, MemoryError(), OSError(errno.ENOMEM, "no")):
        limit = as_limit(error)
        assert limit and limit.exit_code == 4 and "out of memory: this machine has" in str(limit)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("the motor burnt out"),
        FileNotFoundError(errno.ENOENT, "no"),
        BlockingIOError(errno.EAGAIN, "no", "a pipe"),
    ],
)
def test_all_else_is_no_limit(error: Exception) -> None:
    assert as_limit(error) is None


def test_on_the_command_line(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object, **options: object) -> None:
        error = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        error.add_note("what was done is kept; to go on: slm-lightning resume 0123abcd")
        raise error

    monkeypatch.setattr("slm_lightning.api.resume", refused)
    answer = lab("resume", "x")
    assert (answer.code, answer.out) == (6, "")
    what, hint, note = answer.err.splitlines()
    assert what.startswith("error: too many open files: a process may have ")
    assert "ulimit -n" in hint and note.endswith("slm-lightning resume 0123abcd")
