"""Memory that one update frees, kept for the next."""

from __future__ import annotations

import ctypes
import functools

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Names of glibc's settings (``malloc.h``)."""
LARGE = 2**28
"""Bytes of an array from which on it goes back to the system when it is freed."""
MOST_BEFORE = 2**25
"""The most that it may be before glibc 2.35."""
IDLE = 2**30
"""Bytes free at the end of the heap from which on they go back."""


@functools.cache
def keep_freed() -> bool:
    """Has this process keep the memory of tensors that it frees; returns whether that is possible here.

    Without it glibc gives back every array of more than 32 MB at once, and the end of the heap when
    it is free. An update of a convolutional net then spends a quarter of its time on being handed the
    same pages again, cleared.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or not mallopt(TRIM_THRESHOLD, IDLE):
        return False
    return bool(mallopt(MMAP_THRESHOLD, LARGE) or mallopt(MMAP_THRESHOLD, MOST_BEFORE))
