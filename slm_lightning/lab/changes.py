"""What is not as it was when a run began: the same numbers are only to be had from the same code,
packages and machine."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from typing import Any, NamedTuple

from slm_lightning.errors import UsageError
from slm_lightning.provenance import NONE, Provenance
from slm_lightning.tracking import Record, RunInfo

OURS = "slm-lightning"
COMPUTING = {"torch", "numpy", "gymnasium", "lightning", "mujoco", "ale-py", "box2d", "envpool"}
"""Packages whose version can change a number."""
DECISIVE = ("cpu", "instructions", "python", "compiler", "gpus")
"""What of a machine can change the last bits of a number."""


class Change(NamedTuple):
    """Something that was and is not the same; empty where it was or is not there."""

    name: str
    then: str
    now: str

    def __str__(self) -> str:
        return f"{self.name} {self.then or NONE} -> {self.now or NONE}"


class Recorded(NamedTuple):
    """What the record says of a run's packages, version by name, and of its machine."""

    packages: dict[str, str]
    machine: dict[str, Any]

    @classmethod
    def of(cls, info: RunInfo, record: Record) -> Recorded:
        """Empty where nothing was recorded."""

        def text(name: str) -> str:
            try:
                path = record.download(info.run_id, f"provenance/{name}")
            except UsageError:
                return ""
            return path.read_text(encoding="utf-8")

        return cls(versions(text("requirements.txt")), json.loads(text("machine.json") or "{}"))


def changes(info: RunInfo, record: Record) -> list[str]:
    """What can change numbers and differs between then and now, a line each."""
    now, then = Provenance.collect(), Recorded.of(info, record)
    tags, commit, diff = now.tags(), "mlflow.source.git.commit", "slm.git.diff_sha256"
    found = []
    if info.tags.get(commit) != tags[commit]:
        found.append(f"commit {info.tags.get(commit, NONE)[:8]} -> {tags[commit][:8]}")
    elif info.tags.get(diff) != tags.get(diff):
        found.append(f"what is not committed on top of {tags[commit][:8]}")
    packages = changed_packages(then.packages, versions(now.requirements))
    found += [str(change) for change in packages if _key(change.name) in COMPUTING]
    return found + [str(change) for change in changed_machine(then.machine, now.machine)]


def changed_packages(then: Mapping[str, str], now: Mapping[str, str]) -> list[Change]:
    """Packages that are there in another version than ``then``; tools of developers do not count."""
    installed, tools = {_key(name): version for name, version in now.items()}, _tools()
    return [
        Change(name, version, installed[_key(name)])
        for name, version in sorted(then.items())
        if _key(name) not in tools and installed.get(_key(name), version) != version
    ]


def of_the_lab(name: str) -> bool:
    """Whether a package is one that the lab needs, or that one of these needs. All others are the
    user's own, and somebody else may have given their names to code of his."""
    return _key(name) in _needed()


def changed_machine(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """What of the machine can change the last bits of a number, and has changed."""
    return [
        Change(key, _text(then[key]), _text(now.get(key)))
        for key in DECISIVE
        if key in then and _text(then[key]) != _text(now.get(key))
    ]


def versions(requirements: str) -> dict[str, str]:
    """Version by name out of lines ``name==version``."""
    return dict(line.split("==", 1) for line in requirements.splitlines() if "==" in line)


def _tools() -> set[str]:
    mine = metadata.requires(OURS) or []
    tools = [text for text in mine if text.endswith(('extra == "dev"', 'extra == "docs"'))]
    return {OURS, "pip", "setuptools", *(_key(re.split(r"[^\w.-]", text)[0]) for text in tools)}


@functools.cache
def _needed() -> set[str]:
    found: set[str] = set()
    left = {OURS}
    while left:
        name = left.pop()
        with suppress(metadata.PackageNotFoundError):
            needs = metadata.requires(name) or []
            found.add(name)
            left |= {_key(re.split(r"[^\w.-]", text)[0]) for text in needs} - found
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ("" if not value else json.dumps(value))


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
