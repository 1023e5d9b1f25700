"""Runs that were begun while the MLflow server was away."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from slm_lightning.files import atomically

ID = "slm.id"
"""Tag of a run on a server with the id that the lab gave it before the server did."""


@dataclass(frozen=True)
class Draft:
    """A run as it is to be created on the server; kept in its working folder."""

    experiment: str
    name: str
    parent: str | None
    """The id of the run above it, as the lab knows it."""
    tags: dict[str, str]
    params: dict[str, str]
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    """The id by which the lab knows it."""
    there: str | None = None
    """The id that the server gave it; None while it has none."""

    @classmethod
    def load(cls, path: Path) -> Draft | None:
        """The draft in ``path``; None where there is none."""
        try:
            state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return cls(**{**state, "began": datetime.fromisoformat(state["began"])})

    def save(self, path: Path) -> None:
        """Writes the draft, whole at every instant."""
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**asdict(self), "began": self.began.isoformat()})
        atomically(path, lambda aside: aside.write_text(text, encoding="utf-8"))

    def sent(self, run_id: str) -> Draft:
        """The same, as the server has it."""
        return replace(self, there=run_id)
