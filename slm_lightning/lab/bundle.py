"""A policy as a folder that can be handed on: its spec, its weights, and where they come from.

Weights are tensors in a safetensors file, all else is JSON, so nothing in a bundle can run when it is
opened. Bundles from elsewhere are looked over by :mod:`slm_lightning.foreign` first.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from slm_lightning.errors import IntegrityError, SpecError, StorageError, UsageError
from slm_lightning.foreign import look_over
from slm_lightning.redact import redact
from slm_lightning.spec.parse import parse, read_text, repeated_keys
from slm_lightning.tracking import RESOLVED

WEIGHTS = "policy.safetensors"
ABOUT = "bundle.json"
FORMAT = 1
"""Of bundles; another number is another meaning of their files."""


def write_bundle(
    folder: Path, spec: Mapping[str, Any], weights: Mapping[str, Tensor], about: Mapping[str, Any]
) -> None:
    """Writes a bundle of plain data and tensors into ``folder``, which appears with the last of its
    files. Raises UsageError where there is something already, StorageError where it cannot be written.
    """
    if folder.exists():
        raise UsageError(f"{folder} exists already", "name a folder that does not")
    aside = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        save_file({name: value.detach().clone() for name, value in weights.items()}, aside / WEIGHTS)
        _write(aside / RESOLVED, spec)
        hashes = {name: _sha256(aside / name) for name in (WEIGHTS, RESOLVED)}
        _write(aside / ABOUT, {"format": FORMAT, **about, "sha256": hashes})
        aside.chmod(0o755)  # a temporary folder is its owner's alone
        aside.rename(folder)
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror or error}") from error
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)


def open_bundle(folder: Path) -> tuple[Path, Path]:
    """The spec and the weights of a bundle from anywhere.

    Raises RefusedError where something in the folder might run, UsageError where it is no bundle,
    IntegrityError where it is damaged or of another format.
    """
    look_over(folder)
    for name in (ABOUT, RESOLVED, WEIGHTS):
        if not (folder / name).is_file():
            raise UsageError(f"{folder} has no {name}", "make a bundle by slm-lightning export")
    about = _about(folder / ABOUT)
    if about.get("format") != FORMAT:
        raise IntegrityError(
            f"{folder} is a bundle of format {about.get('format')!r}; this version reads {FORMAT}",
            "use the version of slm-lightning that made it",
        )
    hashes = about.get("sha256")
    for name in (RESOLVED, WEIGHTS):
        if not isinstance(hashes, dict) or hashes.get(name) != _sha256(folder / name):
            raise IntegrityError(f"{folder / name} is not the file that was exported", "fetch it again")
    return folder / RESOLVED, folder / WEIGHTS


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name. Raises IntegrityError."""
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise IntegrityError(f"{path} holds no weights: {error}", "fetch it again") from error


def _about(path: Path) -> dict[str, Any]:
    try:
        about = parse(read_text(path), str(path), "JSON")
    except SpecError as error:
        raise IntegrityError(str(error), "fetch it again") from error
    if not isinstance(about, dict) or repeated_keys(about):
        raise IntegrityError(f"{path} does not describe a bundle", "fetch it again")
    return about


def _write(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(redact(data), indent=2) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
