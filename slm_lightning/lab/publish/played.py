"""A policy about to be published, played as a reader of the Hub will play it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from slm_lightning.errors import MissingError
from slm_lightning.lab.bundle import open_bundle
from slm_lightning.lab.replay import Files, Policy

VIDEO, RESULTS = "replay.mp4", "results.json"
"""Names by which the Hub finds a recording and an evaluation."""


@dataclass(frozen=True)
class Played:
    """Greedy episodes of a policy out of its bundle."""

    environment: str
    returns: np.ndarray
    """Raw returns ``[episodes]``."""
    shown: float | None
    """The return of the episode in the recording; None where there is no recording."""
    unseen: str
    """Why there is none."""

    @property
    def mean(self) -> float:
        return float(self.returns.mean())

    @property
    def std(self) -> float:
        """The standard deviation of the episodes themselves, which is what the Hub's leaderboards
        subtract from the mean."""
        return float(self.returns.std())

    def results(self, about: dict[str, Any]) -> dict[str, Any]:
        """The evaluation as reinforcement-learning repositories on the Hub have it."""
        return {
            "env_id": self.environment,
            "mean_reward": self.mean,
            "std_reward": self.std,
            "is_deterministic": True,
            "n_eval_episodes": len(self.returns),
            "eval_datetime": datetime.now(UTC).isoformat(timespec="seconds"),
            "returns": self.returns.tolist(),
            **about,
        }


def play(bundle: Path, episodes: int, folder: Path, name: str) -> Played:
    """Plays the policy in ``bundle``, and records one more episode as ``folder/replay.mp4`` where the
    environment can be rendered."""
    policy = Policy(Files(name, *open_bundle(bundle), is_foreign=True))
    returns = policy.play(episodes)
    shown, unseen = None, ""
    try:
        shown = float(policy.play(1, video=folder / VIDEO)[0])
    except MissingError as error:
        (folder / VIDEO).unlink(missing_ok=True)
        unseen = str(error)
    return Played(policy.info.name, returns, shown, unseen)


def write_results(played: Played, about: dict[str, Any], folder: Path) -> None:
    """Writes ``results.json``."""
    text = json.dumps(played.results(about), indent=2) + "\n"
    (folder / RESULTS).write_text(text, encoding="utf-8")
