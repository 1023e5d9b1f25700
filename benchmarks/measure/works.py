"""The works that are timed, each the same for every library."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "works"


@dataclass(frozen=True)
class Work:
    """One training. ``name``.json in the folder of works is its spec, in lower case."""

    name: str
    title: str
    scored: bool = True
    """Whether its frames are enough to learn something, so that the policy is evaluated."""
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Other ways to do the same, by name: keys of the spec that they set."""

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name.lower()}.json"

    @property
    def frames(self) -> int:
        """Frames of the whole work."""
        (spec,) = json.loads(self.path.read_text(encoding="utf-8")).values()
        return spec["env"]["max_frame"]

    def settings(self, variant: str) -> dict[str, Any]:
        """What a variant sets; the plain one, called ``""``, nothing."""
        return self.variants[variant] if variant else {}


WORKS = {
    work.name: work
    for work in (
        Work("W1", "PPO CartPole-v1, 4 × 256 frames, minibatch 128, 15 epochs, two 64 × 64 nets"),
        Work("W2", "DQN CartPole-v1, one update of 64 rows every 4 frames, net 128 × 64"),
        Work(
            "W3",
            "SAC Pendulum-v1, one update of 256 rows every frame, nets 256 × 256",
            variants={"bf16-mixed": {"meta.precision": "bf16-mixed"}},
        ),
        Work("W4", "PPO Pong, 8 × 128 frames of 84 × 84 × 4, 4 epochs of 4 minibatches", scored=False),
        Work("W5", "PPO LunarLander-v3, 8 × 512 frames, minibatch 256, 10 epochs, two 64 × 64 nets"),
    )
}
