"""Which checkpoint a session goes on from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from slm_lightning.callbacks.checkpoints import link
from slm_lightning.data import sealed
from slm_lightning.data.checkpoint_files import LAST, PREVIOUS, RESUME, last_of
from slm_lightning.data.segments import Segments
from slm_lightning.data.workers import Workers
from slm_lightning.errors import IntegrityError
from slm_lightning.files import atomically


def newest_whole(
    folder: Path, workers: Workers, segments: Segments, warn: Callable[[str], None]
) -> Path | None:
    """The file from which this worker goes on, None where the session begins: that of ckpt-last; where
    this is damaged, or the part of any worker, that of the checkpoint before it, which takes its place.
    Raises IntegrityError, before anything of them is used, where neither is whole."""
    last, previous = folder / LAST, folder / RESUME / PREVIOUS
    if not workers.any(last.exists() or previous.exists()):
        return None
    troubles: list[str] = []
    for first in (last, previous):
        own = None
        try:
            own = _whole(first, folder, workers.rank, segments)
        except IntegrityError as error:
            troubles.append(str(error))
        if workers.any(own is None):
            continue
        if first is previous:
            trouble = "".join(troubles) or "the part of another worker is damaged"
            warn(f"{trouble}; the session goes on from the checkpoint before it")
            if workers.first:
                atomically(last, lambda path: link(previous, path))
        workers.wait()
        return last if workers.first else own
    raise IntegrityError(
        "no checkpoint to go on from: "
        + "; ".join(troubles or ["the part of another worker is damaged"]),
        "what is there stays as it is; run the spec again, or put a copy of the checkpoints back",
    )


def _whole(first: Path, folder: Path, rank: int, segments: Segments) -> Path:
    """The file of worker ``rank`` that goes with the ``first`` one's. Raises IntegrityError unless it
    is whole, with all its segments."""
    path, state = first, _load(first)
    if rank:
        version = state["session"]["version"]
        path = folder / last_of(rank, version)
        state = _load(path)
        if state["session"]["version"] != version:
            raise IntegrityError(f"{path} is of round {state['session']['version']}")
    memory = state["RolloutData"].get("memory")
    if memory is not None and isinstance(memory["rows"], list):
        segments.verify(memory["rows"])
    return path


def _load(path: Path) -> dict:
    seal = sealed.verify(path)
    if seal.schema != sealed.SCHEMA:
        raise IntegrityError(
            f"{path} was written by slm-lightning {seal.version} in schema {seal.schema}, and this one "
            f"goes on from schema {sealed.SCHEMA}"
        )
    state = sealed.load(path)
    if not {"session", "RolloutData"} <= state.keys():
        raise IntegrityError(f"{path} is no checkpoint to go on from")
    return state
