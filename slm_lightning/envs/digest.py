"""A running digest of what environments show, cheap enough to take at every step."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from slm_lightning.core import Step

MIX = np.uint64(0x9E3779B97F4A7C15)


class Digest:
    """64 bits for each of ``N`` sub-environments, of every observation, reward and end since it began.

    A multiply-add over the bits of all sub-environments at once. Each word of an observation has an odd
    factor of its own, so a change of any bit changes the digest. Of frames that are shown together only
    the newest counts: the others have been counted.
    """

    def __init__(self, num_envs: int, frame_stack: int = 1):
        self.frame_stack = frame_stack
        self.value: Any = np.zeros(num_envs, dtype=np.uint64)
        self.factors: np.ndarray = np.zeros(0, dtype=np.uint64)

    def restart(self, begun: np.ndarray | slice) -> None:
        """Begins anew for these sub-environments."""
        self.value[begun] = 0

    def add(self, step: Step) -> None:
        """Takes in what a vector step has shown."""
        frames = step.next_obs.reshape(len(self.value), self.frame_stack, -1)[:, -1]
        newest = np.ascontiguousarray(frames)
        words = newest.view(np.uint32 if newest.itemsize * newest.shape[1] % 4 == 0 else np.uint8)
        if len(self.factors) != words.shape[1]:
            draw = np.random.default_rng(0).integers(2**63, size=words.shape[1], dtype=np.uint64)
            self.factors = np.asarray(2 * draw + 1)
        self.value *= MIX
        self.value += np.einsum("ij,j->i", cast(Any, words), cast(Any, self.factors))
        self.value ^= np.asarray(step.reward, dtype=np.float64).view(np.uint64)
        self.value += step.terminated
        self.value -= step.truncated
