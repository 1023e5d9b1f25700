"""What a Hub for tests holds: repositories with branches and commits, and what is to go wrong."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

LARGE = re.compile(r".*\.(safetensors|mp4|png)")
"""Names of files that the Hub keeps as large ones."""


@dataclass
class Repo:
    """A repository: per branch its commits, each with all files."""

    kind: str
    name: str
    private: bool
    branches: dict[str, list[tuple[str, dict[str, bytes]]]] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        history = self.branches.setdefault(branch, [])
        told = repr((self.kind, self.name, branch, len(history), sorted(files)))
        sha = hashlib.sha1(told.encode()).hexdigest()
        history.append((sha, files))
        return sha

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if revision in self.branches:
            return self.branches[revision][-1]
        every = [commit for history in self.branches.values() for commit in history]
        return next((commit for commit in every if commit[0] == revision), None)

    @property
    def files(self) -> dict[str, bytes]:
        """Of the newest commit of main."""
        return self.branches["main"][-1][1]


@dataclass
class Fault:
    """What goes wrong at requests whose method and path match: an answer, or none."""

    method: str
    path: str
    status: int | None
    """None: the connection breaks."""
    times: int
    done: int = 0


@dataclass
class FakeHub:
    """A server's state. ``tokens``: the right (``write`` or ``read``) by token, all of ``me``."""

    url: str
    tokens: dict[str, str]
    repos: dict[tuple[str, str], Repo] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    refuses_owner: str = ""
    """Whose repositories nobody may write to."""

    def add(
        self, name: str, files: dict[str, bytes], kind: str = "model", private: bool = False
    ) -> Repo:
        repo = self.repos[kind, name] = Repo(kind, name, private)
        repo.commit("main", files)
        return repo

    def fail(self, method: str, path: str, status: int | None, times: int = 1) -> Fault:
        fault = Fault(method, path, status, times)
        self.faults.append(fault)
        return fault

    def count(self, method: str, path: str) -> int:
        """Requests of a kind so far."""
        return sum(m == method and re.search(path, p) is not None for m, p in self.requests)


def oid(path: str, body: bytes) -> str:
    if LARGE.fullmatch(path):
        return hashlib.sha256(body).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


def described(repo: Repo, sha: str, files: dict[str, bytes]) -> dict[str, Any]:
    card = files.get("README.md", b"").decode()
    metadata = yaml.safe_load(card.split("---\n")[1]) if card.startswith("---\n") else {}
    siblings = [{"rfilename": path, "size": len(body)} for path, body in files.items()]
    return {
        "id": repo.name,
        "sha": sha,
        "private": repo.private,
        "tags": metadata.get("tags", []),
        "cardData": metadata,
        "lastModified": "2026-01-01T00:00:00.000Z",
        "siblings": siblings,
    }
