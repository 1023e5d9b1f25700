"""Probe environments: each can be learned in seconds, and fails to be learned for one reason only.

``env.entry_point: tests.envs.probes:Name`` makes them.
"""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces

ALWAYS_ONE = np.ones(1, dtype=np.float32)


def probe(name: str, **keys: Any) -> dict[str, Any]:
    """The section ``env`` of a spec for one of them."""
    return {"name": f"probe/{name}-v0", "entry_point": f"{__name__}:{name}"} | keys


class ConstantReward(gym.Env):
    """One step, one observation, reward 1: its value is 1."""

    observation_space = spaces.Box(-1, 1, (1,))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return ALWAYS_ONE, {}

    def step(self, action):
        return ALWAYS_ONE, 1.0, True, False, {}


class ObservedReward(gym.Env):
    """One step, and the reward is the observation, -1 or 1: so is the value."""

    observation_space = spaces.Box(-1, 1, (1,))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.obs = ALWAYS_ONE * self.np_random.choice([-1, 1])
        return self.obs, {}

    def step(self, action):
        return self.obs, float(self.obs[0]), True, False, {}


class DelayedReward(gym.Env):
    """Two steps, reward 1 after the second: the value of 0 is γ, the value of 1 is 1."""

    observation_space = spaces.Box(-1, 1, (1,))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return ALWAYS_ONE * 0, {}

    def step(self, action):
        self.steps += 1
        return ALWAYS_ONE, float(self.steps == 2), self.steps == 2, False, {}


class RewardedAction(ConstantReward):
    """One step, reward 1 for action 1 and -1 for action 0."""

    def step(self, action):
        return ALWAYS_ONE, 1.0 if action == 1 else -1.0, True, False, {}


class RewardedMatch(ObservedReward):
    """One step, reward 1 for the action that the observation's sign asks for, else -1."""

    def step(self, action):
        return self.obs, 1.0 if action == int(self.obs[0] > 0) else -1.0, True, False, {}


class BrightHalf(gym.Env):
    """One step on an image whose left or right half is bright; reward 1 for the action that tells
    which, 0 or 1, else -1."""

    observation_space = spaces.Box(0, 255, (1, 6, 6), dtype=np.uint8)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.right = int(self.np_random.integers(2))
        self.obs = np.zeros((1, 6, 6), dtype=np.uint8)
        self.obs[..., 3 * self.right : 3 * self.right + 3] = 255
        return self.obs, {}

    def step(self, action):
        return self.obs, 1.0 if action == self.right else -1.0, True, False, {}


class EndlessReward(gym.Env):
    """Reward 1 for ever, shown the time modulo ``period``. With ``ending`` "terminated" it is over
    after ``period`` steps, with "truncated" only the recording is."""

    action_space = spaces.Discrete(2)

    def __init__(self, ending: str, period: int = 3):
        self.ending, self.period = ending, period
        self.observation_space = spaces.Box(0, 1, (period,))

    def _obs(self) -> np.ndarray:
        return np.eye(self.period, dtype=np.float32)[self.steps % self.period]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._obs(), {}

    def step(self, action):
        self.steps += 1
        over = self.steps == self.period
        return (
            self._obs(),
            1.0,
            over and self.ending == "terminated",
            over and self.ending == "truncated",
            {},
        )


class Identity(gym.Env):
    """Eight steps; the action to take is shown, and the reward is how much of it was taken: the
    fraction of equal entries, or minus the squared distance where actions are continuous."""

    SPACES: ClassVar = {
        "discrete": spaces.Discrete(3, start=2),
        "multi_discrete": spaces.MultiDiscrete([2, 3]),
        "multi_binary": spaces.MultiBinary(3),
        "continuous": spaces.Box(-0.8, 0.8, (2,)),
    }

    def __init__(self, kind: str):
        self.action_space = self.observation_space = self.SPACES[kind]
        self.continuous = kind == "continuous"

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        self.observation_space.seed(seed)
        self.target = self.observation_space.sample()
        return self.target, {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.steps += 1
        error = np.square(action - self.target).sum()
        reward = -error if self.continuous else np.mean(action == self.target)
        self.target = self.observation_space.sample()
        return self.target, float(reward), self.steps == 8, False, {}


class Counter(gym.Env):
    """Shows ``(first number of the episode, steps so far)``, so that every row of a rollout says where
    it belongs. Terminates after ``length`` steps, where that is given; rewards the action."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,))

    def __init__(self, length: int | None = None, kind: str = "discrete"):
        self.length = length
        self.action_space = spaces.Discrete(5) if kind == "discrete" else spaces.Box(-1, 3, (1,))

    def _obs(self) -> np.ndarray:
        return np.array([self.first, self.steps], dtype=np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.first = 0, self.np_random.random()
        return self._obs(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.steps += 1
        return self._obs(), float(np.sum(action)), self.steps == self.length, False, {}


class Cue(gym.Env):
    """Six steps. The first shows -1 or 1, and the last rewards the action it asked for, 0 or 1; in
    between there is nothing to see but the time. Who forgets earns one half on average."""

    LENGTH = 6
    observation_space = spaces.Box(-1, 1, (2,))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.right = 0, int(self.np_random.integers(2))
        return np.array([2 * self.right - 1, 0], dtype=np.float32), {}

    def step(self, action):
        self.steps += 1
        over = self.steps == self.LENGTH
        obs = np.array([0, self.steps / self.LENGTH], dtype=np.float32)
        return obs, float(over and action == self.right), over, False, {}


class Allowed(gym.Env):
    """Eight steps; the reward is the number of the action, and the best of the four is never allowed.
    Of the others a random choice is. One that is not allowed is an error."""

    observation_space = spaces.Dict(
        {"action_mask": spaces.MultiBinary(4), "number": spaces.Box(-9, 9, (2,))}
    )
    action_space = spaces.Discrete(4)

    def _obs(self) -> dict[str, np.ndarray]:
        self.mask = np.append(self.np_random.integers(2, size=3), 0).astype(np.int8)
        self.mask[self.np_random.integers(3)] = 1
        return {"action_mask": self.mask, "number": self.np_random.normal(size=2).astype(np.float32)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._obs(), {}

    def step(self, action):
        assert self.mask[action], "not allowed"
        self.steps += 1
        return self._obs(), float(action), self.steps == 8, False, {}
