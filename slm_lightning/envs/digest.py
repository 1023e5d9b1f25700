"""A running digest of what environments show, cheap enough to take at every step."""

from __future__ import annotations

import numpy as np

from slm_lightning.core import Step

MIX = 0x9E3779B97F4A7C15
REWARD, TERMINATED, TRUNCATED = (
    np.uint64(factor) for factor in (0xD6E8FEB86659FD93, 0xA0761D6478BD642F, 0xE7037ED1A0B428DB)
)
BLOCK_BYTES, BLOCK_STEPS = 2**18, 256
"""How much is kept before it is taken in, all at once."""


class Digest:
    """64 bits for each of ``N`` sub-environments, of every observation, reward and end since it began.

    A polynomial in MIX with a term for each step, the sum of all that was shown, bits taken as whole
    numbers, each times an odd factor of its own; so a change of any bit changes the digest. Of frames
    that are shown together only the newest counts: the others have been counted.
    """

    def __init__(self, num_envs: int, frame_stack: int = 1):
        self.frame_stack = frame_stack
        self._value = np.zeros(num_envs, dtype=np.uint64)
        """Without the steps that are still kept."""
        self.since = np.zeros(num_envs, dtype=np.int64)
        """The first of the steps kept that counts for each sub-environment."""
        self.kept = 0
        self.obs = self.reward = self.terminated = self.truncated = np.zeros(0)
        self.shape = num_envs, frame_stack, 0
        """Of observations in which frames are told apart."""
        self.factors = self.powers = np.zeros(0, dtype=np.uint64)

    @property
    def value(self) -> np.ndarray:
        """The digest ``[N]``."""
        if self.kept:
            self._take_in()
        return self._value

    def restart(self, begun: np.ndarray | slice) -> None:
        """Begins anew for these sub-environments."""
        self._value[begun] = 0
        self.since[begun] = self.kept

    def add(self, step: Step) -> None:
        """Takes in what a vector step has shown."""
        if self.kept == len(self.reward):
            self._make_room(step)
        t = self.kept
        self.obs[t] = step.next_obs.reshape(self.shape)[:, -1]
        self.reward[t] = step.reward
        self.terminated[t] = step.terminated
        self.truncated[t] = step.truncated
        self.kept = t + 1

    def _make_room(self, step: Step) -> None:
        """A block for steps such as this one, where there is none; an empty one where it is full."""
        if self.kept:
            self._take_in()
            return
        obs, num_envs = step.next_obs, len(self.since)
        width = obs.size // num_envs // self.frame_stack
        bytes_shown = num_envs * width * obs.itemsize
        steps = min(max(BLOCK_BYTES // bytes_shown, 1), BLOCK_STEPS)
        self.shape = num_envs, self.frame_stack, width
        self.obs = np.empty((steps, num_envs, width), dtype=obs.dtype)
        self.reward = np.empty((steps, num_envs))
        self.terminated, self.truncated = np.empty((2, steps, num_envs), dtype=bool)
        self.powers = np.array([pow(MIX, t, 2**64) for t in range(steps, -1, -1)], dtype=np.uint64)
        draw = np.random.default_rng(0).integers(2**63, size=self._words().shape[-1], dtype=np.uint64)
        self.factors = np.asarray(2 * draw + 1)

    def _words(self) -> np.ndarray:
        """The bits of the observations kept ``[steps, N, words]``."""
        whole = self.obs.itemsize * self.obs.shape[-1] % 4 == 0
        return self.obs[: self.kept].view(np.uint32 if whole else np.uint8)

    def _take_in(self) -> None:
        """What is kept becomes part of the digest."""
        steps = slice(self.kept)
        terms = np.einsum("tij,j->ti", self._words(), self.factors)
        terms += REWARD * self.reward[steps].view(np.uint64)
        terms += TERMINATED * self.terminated[steps]
        terms += TRUNCATED * self.truncated[steps]
        terms[np.arange(self.kept)[:, None] < self.since] = 0
        powers = self.powers[-self.kept - 1 :]
        self._value *= powers[0]
        self._value += powers[1:] @ terms
        self.since[:] = self.kept = 0
