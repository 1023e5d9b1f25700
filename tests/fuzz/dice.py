"""Random choices that depend on nothing but the number of a spec."""

from __future__ import annotations

import math
import random
from typing import Any

Keys = dict[str, Any]


class Dice(random.Random):
    """A generator with the draws that a spec is made of."""

    def maybe(self, chance: float = 0.5) -> bool:
        return self.random() < chance

    def log_uniform(self, low: float, high: float) -> float:
        """A float between two positive ones, of any magnitude alike."""
        return float(f"{math.exp(self.uniform(math.log(low), math.log(high))):.3g}")

    def share(self) -> float:
        """A number from 0 to 1, both ends included now and then."""
        return self.choice([0, 1, 0.5, 1.0, round(self.random(), 3), round(self.random(), 3)])

    def some(self, keys: Keys, chance: float = 0.3) -> Keys:
        """A few of ``keys``."""
        return {key: value for key, value in keys.items() if self.maybe(chance)}

    def schedule(self, low: float, high: float) -> Keys:
        """A value that changes with the frame count, within two bounds."""
        name = self.choice(["no_decay", "linear_decay", "rate_decay", "periodic_decay"])
        start, end = (round(self.uniform(low, high), 4) for _ in range(2))
        if name == "no_decay":
            return {"start_val": start, **self.some({"name": name, "end_val": start})}
        begin = self.choice([0, 0, self.randint(1, 500)])
        steps = {"start_step": begin, "end_step": begin + self.randint(1, 10_000)}
        return {"name": name, "start_val": start, "end_val": end, **steps}
