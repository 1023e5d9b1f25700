"""How the packages and the machine differ from those of a recorded run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import metadata
from typing import Any, NamedTuple

OURS = "slm-lightning"
DECISIVE = ("cpu", "instructions", "python", "gpus")
"""What of a machine may change the last bits of a number."""


class Change(NamedTuple):
    """Something that was and is not the same; empty where it was or is not there."""

    name: str
    then: str
    now: str

    def __str__(self) -> str:
        return f"{self.name} {self.then or 'none'} -> {self.now or 'none'}"


def changed_packages(recorded: Mapping[str, str]) -> list[Change]:
    """Packages that are installed in another version than ``recorded``; tools of developers do not
    count."""
    now = {_key(d.name): d.version for d in metadata.distributions() if d.name}
    return [
        Change(name, version, now[_key(name)])
        for name, version in sorted(recorded.items())
        if _key(name) not in _tools() and now.get(_key(name), version) != version
    ]


def _tools() -> set[str]:
    mine = metadata.requires(OURS) or []
    tools = [text for text in mine if text.endswith(('extra == "dev"', 'extra == "docs"'))]
    return {OURS, "pip", "setuptools", *(_key(re.split(r"[^\w.-]", text)[0]) for text in tools)}


def changed_machine(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """What of the machine may change the last bits of a number, and has changed."""
    return [
        Change(key, _text(then[key]), _text(now.get(key)))
        for key in DECISIVE
        if key in then and _text(then[key]) != _text(now.get(key))
    ]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ("" if not value else str(value))


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
