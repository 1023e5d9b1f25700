"""The border: a folder that comes from elsewhere is looked over before anything in it is opened.

What passes is data in regular files with plain names. What could run code when it is read (pickles in
all their guises), what has to be unpacked, and what leads out of the folder does not.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from slm_lightning.errors import RefusedError

MAX_FILES = 100
MAX_BYTES = 2 * 2**30
MAX_DEPTH = 4
"""Folders within each other, the first one included."""

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", re.ASCII)
DATA = frozenset({".safetensors", ".json", ".csv", ".md", ".txt", ".diff", ".png", ".gif", ".mp4"})
"""Kinds of files that hold data and nothing else."""
PLAIN = frozenset({"LICENSE", ".gitattributes"})
"""Names without a kind that may stand beside them."""
PICKLES = frozenset(
    {
        *(".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz"),
        *(".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".whl"),
        *(".py", ".pyc", ".so", ".sh", ".yaml", ".yml", ".html", ".svg"),
    }
)
"""Kinds of files that can carry code, or have to be unpacked."""
OPENED, FETCHED = "nothing of the folder was opened", "nothing was fetched"


def look_over(folder: Path) -> None:
    """Raises RefusedError, naming the first of its files, where ``folder`` holds anything but at most
    100 regular files of data, 2 GiB in all. Nothing is opened."""
    files = size = 0
    for entry in _entries(folder):
        found = entry.stat(follow_symlinks=False)
        files, size = files + 1, size + found.st_size
        if why := _objection(entry.name, found):
            raise _refusal(entry.path, why)
        if files > MAX_FILES:
            raise _refusal(folder, f"holds more than {MAX_FILES} files")
        if size > MAX_BYTES:
            raise _refusal(folder, f"holds more than {MAX_BYTES // 2**30} GiB")


def look_over_names(files: Mapping[str, int], where: str) -> None:
    """The same before anything is fetched: ``files`` are the names in ``where``, whose folders are
    parted by ``/``, and their sizes in bytes."""
    if len(files) > MAX_FILES:
        raise _refusal(where, f"holds more than {MAX_FILES} files", FETCHED)
    if sum(files.values()) > MAX_BYTES:
        raise _refusal(where, f"holds more than {MAX_BYTES // 2**30} GiB", FETCHED)
    for path in files:
        *folders, name = path.split("/")
        if len(folders) >= MAX_DEPTH:
            raise _refusal(f"{where}/{path}", f"is nested deeper than {MAX_DEPTH} folders", FETCHED)
        if not all(map(NAME.fullmatch, folders)):
            raise _refusal(f"{where}/{path}", "has a name that no file of a policy has", FETCHED)
        if why := _objection_to_name(name):
            raise _refusal(f"{where}/{path}", why, FETCHED)


def _entries(folder: str | Path, depth: int = 1) -> Iterator[os.DirEntry[str]]:
    """Everything below ``folder`` but the folders themselves, which links to folders are not."""
    if depth > MAX_DEPTH:
        raise _refusal(folder, f"is nested deeper than {MAX_DEPTH} folders")
    with os.scandir(folder) as entries:
        for count, entry in enumerate(entries):
            if count > MAX_FILES:
                raise _refusal(folder, f"holds more than {MAX_FILES} files")
            if not entry.is_dir(follow_symlinks=False):
                yield entry
            elif NAME.fullmatch(entry.name):
                yield from _entries(entry.path, depth + 1)
            else:
                raise _refusal(entry.path, "has a name that no file of a policy has")


def _objection(name: str, found: os.stat_result) -> str:
    """What there is to say against a file; empty where it may pass."""
    if stat.S_ISLNK(found.st_mode):
        return "is a link, which may lead anywhere"
    if not stat.S_ISREG(found.st_mode):
        return "is not a regular file"
    if found.st_nlink > 1:
        return "is a hard link to a file that has another name too"
    return _objection_to_name(name)


def _objection_to_name(name: str) -> str:
    suffix = PurePosixPath(name).suffix.lower()
    if name in PLAIN:
        return ""
    if not NAME.fullmatch(name):
        return "has a name that no file of a policy has"
    if suffix in PICKLES:
        return f"could run code: {suffix} files are not opened"
    return "" if suffix in DATA else "is of a kind that no policy needs"


def _refusal(path: str | Path, why: str, kept: str = OPENED) -> RefusedError:
    return RefusedError(
        f"{str(path)!r} {why}; {kept}",
        "ask for what slm-lightning export or publish writes: tensors, JSON, tables and pictures",
    )
