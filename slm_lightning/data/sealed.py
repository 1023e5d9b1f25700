"""Files of tensors that show whether they are still what was written.

A sealed file is an ordinary file of PyTorch, and ``torch.load`` reads it. Such a file is a zip
archive, and a zip archive may end with a comment. Ours names the version of the package and the schema
of the content, and ends with the SHA-256 of every byte before it. So a file proves itself wherever it
is copied to, and there is no second file to get lost. PyTorch itself does not check what it loads.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import re
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import torch

from slm_lightning.errors import IntegrityError, RefusedError

SCHEMA = 2
"""Of what a checkpoint holds; another one cannot be gone on from."""
HEX = 64
"""Length of a SHA-256 in hexadecimal digits."""
_SEAL = re.compile(rb"slm-lightning (\S+) schema (\d+) sha256 ([0-9a-f]{64})\Z")


class Seal(NamedTuple):
    """What the end of a file says: who wrote it, and the SHA-256 that it has."""

    version: str
    schema: int
    digest: str


def save(state: Any, path: Path) -> str:
    """Writes ``state`` and its seal; returns the SHA-256. Raises OSError where the disk is full."""
    comment = f"slm-lightning {_version()} schema {SCHEMA} sha256 ".encode()
    with path.open("w+b") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:
            raise _cause(error) from error
        file.seek(-2, os.SEEK_END)  # where a zip archive says how long its comment is
        file.write((len(comment) + HEX).to_bytes(2, "little") + comment)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.write(digest.encode())
    return digest


def verify(path: Path) -> Seal:
    """The seal of the file, which is whole. Raises IntegrityError where it is missing or damaged."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise IntegrityError(f"{path} is missing") from None
    with file:
        left = max(file.seek(0, os.SEEK_END) - HEX, 0)
        file.seek(max(left - 2 * HEX, 0))
        found = _SEAL.search(file.read())
        if found is None:
            raise IntegrityError(f"{path} is damaged: it does not end with its SHA-256")
        file.seek(0)
        sha = hashlib.sha256()
        while left > 0:
            block = file.read(min(left, 2**20))
            sha.update(block)
            left -= len(block) or left
    version, schema, digest = (part.decode() for part in found.groups())
    if sha.hexdigest() != digest:
        raise IntegrityError(f"{path} is damaged: its SHA-256 is not the one that was written")
    return Seal(version, int(schema), digest)


def load(path: Path) -> Any:
    """What ``save`` was given, tensors on the CPU. Raises IntegrityError before anything is loaded from
    a file that is missing or damaged, and RefusedError where it asks for more than data."""
    verify(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise RefusedError(
            f"{path} holds more than weights and was not loaded",
            "it was not written by this lab; find out who did, and restore the file",
        ) from error
    except Exception as error:
        raise IntegrityError(f"{path} cannot be loaded: {error}") from error


def _version() -> str:
    try:
        return metadata.version("slm-lightning")
    except metadata.PackageNotFoundError:  # a copy of the source that nobody installed
        return "unknown"


def _cause(error: RuntimeError) -> BaseException:
    """The error of the disk that made PyTorch give up, which says why; or what PyTorch says."""
    return error.__context__ if isinstance(error.__context__, OSError) else error
