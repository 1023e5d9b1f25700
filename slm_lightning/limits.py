"""What a machine refuses to a process that asks for more than there is, in one sentence."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from pathlib import Path

from slm_lightning.errors import LabError, SessionError, StorageError

SHARED = Path("/dev/shm")
GIB = 2**30


def as_limit(error: BaseException) -> LabError | None:
    """The limit that ``error`` ran into, with its value and what to do about it; None where it says
    nothing of one."""
    if isinstance(error, MemoryError) or _says(error, "can't allocate memory"):
        return _out_of_memory(error)
    if not isinstance(error, OSError):
        return None
    match error.errno:
        case errno.EMFILE:
            return StorageError(
                f"too many open files: a process may have {_soft(resource.RLIMIT_NOFILE)}",
                "raise it with ulimit -n, or lower env.num_envs",
            )
        case errno.ENFILE:
            return StorageError("too many open files on this machine", "see sysctl fs.file-max")
        case errno.EAGAIN if error.filename is None:
            return StorageError(
                f"no further process can be started: {_soft(resource.RLIMIT_NPROC)} are allowed",
                'raise it with ulimit -u, or write env.vectorization_mode "sync"',
            )
        case errno.ENOMEM:
            return _out_of_memory(error)
        case errno.ENOSPC if _is_shared(error):
            return StorageError(
                f"{SHARED} is full: it holds {shutil.disk_usage(SHARED).total / GIB:.1f} GiB",
                'give it more (docker run --shm-size), or write env.vectorization_mode "sync"',
            )
        case errno.ENOSPC | errno.EDQUOT | errno.EROFS | errno.EIO:
            return StorageError(str(error), "make room, and go on")
    return None


def _out_of_memory(error: BaseException) -> LabError:
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    asked = f" ({error})" if str(error) else ""
    return SessionError(
        f"out of memory: this machine has {pages * size / GIB:.1f} GiB{asked}",
        "lower agent.memory.max_size or env.num_envs, or run fewer sessions at once",
    )


def _soft(limit: int) -> str:
    soft, _ = resource.getrlimit(limit)
    return "unlimited" if soft == resource.RLIM_INFINITY else str(soft)


def _is_shared(error: OSError) -> bool:
    """Whether ``error`` is about shared memory, of which multiprocessing does not tell the path."""
    if error.filename is not None:
        return Path(os.fsdecode(error.filename)).is_relative_to(SHARED)
    return SHARED.is_dir() and shutil.disk_usage(SHARED).free < 2**20


def _says(error: BaseException, words: str) -> bool:
    return isinstance(error, RuntimeError) and words in str(error)
