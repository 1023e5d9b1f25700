"""Where things are on the Hub, and what it says of them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Literal, NamedTuple

from slm_lightning.errors import UsageError

Kind = Literal["model", "dataset"]
KINDS: tuple[Kind, ...] = ("model", "dataset")

SCHEME = "hf://"
LIBRARY = "slm-lightning"
"""The Hub's name of the library, and the tag by which its repositories are found."""
COMMON = (LIBRARY, "reinforcement-learning", "deep-reinforcement-learning", "model-index")
"""Tags that say nothing of a repository among others of the lab."""


class Address(NamedTuple):
    """``hf://[datasets/]USER/NAME[@REVISION]``."""

    repo: str
    kind: Kind | None = None
    """None: a model, or else a dataset."""
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises UsageError."""
        found = re.fullmatch(
            rf"(?:{SCHEME})?((?:models|datasets)/)?([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", text, re.ASCII
        )
        if not found:
            raise UsageError(
                f"{text!r} is no repository of the Hub", "write it as USER/NAME or hf://USER/NAME"
            )
        kind: Kind | None = {"models/": "model", "datasets/": "dataset"}.get(found[1])  # type: ignore[assignment]
        return cls(found[2], kind, found[3])

    def __str__(self) -> str:
        middle = "datasets/" if self.kind == "dataset" else ""
        return f"{SCHEME}{middle}{self.repo}" + (f"@{self.revision}" if self.revision else "")


class Listing(NamedTuple):
    """The files of a repository at one commit, and their sizes in bytes."""

    address: Address
    """With kind and commit."""
    files: dict[str, int]


class Entry(NamedTuple):
    """A repository of the lab's, as it is listed."""

    address: Address
    tags: list[str]
    score: str
    """As its card says; empty where that says nothing."""
    changed: datetime | None
    private: bool

    @property
    def own_tags(self) -> list[str]:
        """Tags that the Hub has not made up, and that not every repository of the lab has."""
        return [tag for tag in self.tags if ":" not in tag and tag not in COMMON]

    def to_dict(self) -> dict[str, Any]:
        changed = self.changed.isoformat() if self.changed else None
        return {**self._asdict(), "address": str(self.address), "changed": changed}
