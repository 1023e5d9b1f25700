"""What is not as it was when a run began: the same numbers are only to be had from the same code."""

from __future__ import annotations

import json
from typing import Any

from slm_lightning.errors import UsageError
from slm_lightning.provenance import Provenance
from slm_lightning.tracking import Record, RunInfo

COMPUTING = ("torch", "numpy", "gymnasium", "lightning", "mujoco", "ale-py", "box2d", "envpool")
"""Distributions whose version can change a number."""
MACHINE = ("cpu", "gpus", "python")


def changes(info: RunInfo, record: Record) -> list[str]:
    """What differs between then and now in code, libraries and machine, a line each."""
    now = Provenance.collect()
    found = []
    then, tags = info.tags, now.tags()
    commit, diff = "mlflow.source.git.commit", "slm.git.diff_sha256"
    if then.get(commit) != tags[commit]:
        found.append(f"commit {_short(then.get(commit))} -> {_short(tags[commit])}")
    elif then.get(diff) != tags.get(diff):
        found.append(f"what is not committed on top of {_short(tags[commit])}")
    versions = [_versions(_read(info, record, "requirements.txt")), _versions(now.requirements)]
    for name in COMPUTING:
        before, after = (known.get(name) for known in versions)
        if versions[0] and before != after:
            found.append(f"{name} {before or 'missing'} -> {after or 'missing'}")
    machine = json.loads(_read(info, record, "machine.json") or "{}")
    found += [
        f"{name} {_words(machine[name])} -> {_words(now.machine.get(name))}"
        for name in MACHINE
        if name in machine and machine[name] != now.machine.get(name)
    ]
    return found


def _read(info: RunInfo, record: Record, name: str) -> str:
    try:
        return record.download(info.run_id, f"provenance/{name}").read_text(encoding="utf-8")
    except UsageError:
        return ""


def _versions(requirements: str) -> dict[str, str]:
    pairs = (line.partition("==") for line in requirements.splitlines())
    return {name.lower(): version for name, _, version in pairs}


def _short(commit: str | None) -> str:
    return (commit or "none")[:8]


def _words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
