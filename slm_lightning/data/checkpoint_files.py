"""What the files of checkpoints are called."""

from __future__ import annotations

BEST, LAST, PREVIOUS = "ckpt-best.ckpt", "ckpt-last.ckpt", "ckpt-previous.ckpt"
RESUME = ".resume"
"""The folder of what only a resume needs, beside ckpt-last; it stays out of the record."""


def last_of(rank: int, version: int | str) -> str:
    """Name of the ckpt-last of worker ``rank`` (but the first) that belongs to round ``version``."""
    return f"ckpt-last.worker-{rank}.round-{version}.ckpt"
