"""What stands between a Gymnasium environment and the arrays that an agent sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from slm_lightning.errors import SpecError

MASK = "action_mask"
"""Entry of a Dict observation that tells which actions are allowed."""


class MaskedBox(spaces.Box):
    """Vectors whose last ``mask_size`` entries tell which actions are allowed."""

    def __init__(self, low: np.ndarray, high: np.ndarray, mask_size: int):
        self.mask_size = mask_size
        ends = (np.zeros(mask_size), np.ones(mask_size))
        low, high = (np.append(box, end).astype(np.float32) for box, end in zip((low, high), ends))
        super().__init__(low, high, dtype=np.float32)


class ObsMap:
    """From an observation of the environment to the array that stands for it.

    ``uint8`` images ``[H, W]`` and ``[H, W, C]`` become ``[C, H, W]``; other arrays stay; Dict, Tuple
    and Discrete observations are flattened, an ``action_mask`` to the end.
    Raises SpecError where the observations have no fixed size, or a mask does not fit the actions.
    """

    def __init__(self, name: str, space: gym.Space, actions: gym.Space):
        self.convert: Callable[[Any], np.ndarray]
        self.space: spaces.Box
        """Of the arrays."""
        if isinstance(space, spaces.Dict) and MASK in space.spaces:
            self._mask(name, space, actions)
        elif isinstance(space, spaces.Box) and _is_image(space):
            self.convert = _channels_first
            self.space = spaces.Box(
                _channels_first(space.low), _channels_first(space.high), dtype=np.uint8
            )
        elif isinstance(space, spaces.Box) and space.shape:
            self.convert, self.space = np.asarray, space
        else:
            _check_flat(name, space)
            self.convert = lambda obs: np.asarray(spaces.flatten(space, obs))
            self.space = spaces.flatten_space(space)  # type: ignore[assignment]

    def __call__(self, obs: Any) -> np.ndarray:
        return self.convert(obs)

    def _mask(self, name: str, space: spaces.Dict, actions: gym.Space) -> None:
        """``[all other entries, flattened; mask]`` as float32."""
        rest: Any = spaces.Dict({key: part for key, part in space.spaces.items() if key != MASK})
        size = int(np.prod(space[MASK].shape or ()))
        if not isinstance(actions, spaces.Discrete):
            kind = type(actions).__name__
            raise SpecError.at(
                "env.name", f"{name} masks {kind} actions; only those of a Discrete space can be masked"
            )
        if size != actions.n:
            raise SpecError.at(
                "env.name", f"{name} has {actions.n} actions, but an action_mask of {size} entries"
            )
        _check_flat(name, rest)
        flat: Any = spaces.flatten_space(rest)
        self.space = MaskedBox(flat.low, flat.high, size)
        self.convert = lambda obs: np.concatenate(
            [np.asarray(spaces.flatten(rest, {key: obs[key] for key in rest})), np.ravel(obs[MASK])],
            dtype=np.float32,
        )


class Mapped(gym.ObservationWrapper):
    """Shows what an ObsMap makes of the observations."""

    def __init__(self, env: gym.Env, to_array: ObsMap):
        super().__init__(env)
        self.to_array = to_array
        self.observation_space = to_array.space

    def observation(self, obs: Any) -> np.ndarray:
        return self.to_array(obs)


class FrameStack(gym.Wrapper):
    """Shows the latest ``n`` observations, joined along their first dimension, oldest first; zeros
    stand for those before an episode's first."""

    def __init__(self, env: gym.Env, n: int):
        super().__init__(env)
        space: Any = env.observation_space
        low, high = np.minimum(space.low, 0), np.maximum(space.high, 0)
        tile = (n, *[1] * (low.ndim - 1))
        self.observation_space = spaces.Box(np.tile(low, tile), np.tile(high, tile), dtype=space.dtype)
        self.stack = np.zeros(self.observation_space.shape, dtype=space.dtype)

    def reset(self, **kwargs: Any) -> Any:
        obs, info = self.env.reset(**kwargs)
        self.stack = np.zeros_like(self.stack)
        return self._push(obs), info

    def step(self, action: Any) -> Any:
        obs, *rest = self.env.step(action)
        return self._push(obs), *rest

    def _push(self, obs: np.ndarray) -> np.ndarray:
        self.stack = np.concatenate([self.stack[len(obs) :], obs])
        return self.stack


class ActionRepeat(gym.Wrapper):
    """Takes every action for ``n`` steps or to the end of the episode, and sums their rewards."""

    def __init__(self, env: gym.Env, n: int):
        super().__init__(env)
        self.n = n

    def step(self, action: Any) -> Any:
        total = 0.0
        for _ in range(self.n):
            obs, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return obs, total, terminated, truncated, info


def _is_image(space: spaces.Box) -> bool:
    """Whether these are uint8 images whose channels are not in front."""
    shape = space.shape
    if space.dtype != np.uint8 or len(shape) not in (2, 3):
        return False
    return len(shape) == 2 or (shape[2] in (1, 3, 4) and shape[2] < shape[0])


def _channels_first(image: np.ndarray) -> np.ndarray:
    """``[H, W]`` to ``[1, H, W]``, ``[H, W, C]`` to ``[C, H, W]``."""
    return image[None] if image.ndim == 2 else np.moveaxis(image, -1, 0)


def _check_flat(name: str, space: gym.Space) -> None:
    if not space.is_np_flattenable:
        kind = type(space).__name__
        raise SpecError.at("env.name", f"{name} has {kind} observations, which have no fixed size")
