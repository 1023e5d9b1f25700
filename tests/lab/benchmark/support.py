"""A small benchmark of two rows, as a user has it in a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support import tiny, write_spec

SHORT = {"max_frame": 640}
"""Keys of section ``env`` that make a session short."""


def write_set(folder: Path, rows: list[Any], **more: Any) -> Path:
    """The file of a set with these rows."""
    path = folder / "set.json"
    path.write_text(json.dumps({"title": "Small", "rows": rows, **more}), encoding="utf-8")
    return path


def two_specs(folder: Path) -> tuple[Path, Path]:
    """A2C and REINFORCE on CartPole, each in a file of its own."""
    a2c = write_spec(folder / "a2c.json", tiny("small_a2c", env=SHORT))
    reinforce = tiny("small_reinforce", env={**SHORT, "num_envs": 1})
    reinforce["small_reinforce"]["agent"]["algorithm"] = {
        "name": "Reinforce",
        "gamma": 0.99,
        "training_frequency": 1,
    }
    reinforce["small_reinforce"]["agent"]["memory"] = {"name": "OnPolicyReplay"}
    return a2c, write_spec(folder / "reinforce.json", reinforce)
