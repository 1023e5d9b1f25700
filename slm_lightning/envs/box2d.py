"""A repair of Gymnasium's BipedalWalker."""

from __future__ import annotations

from typing import Any

import gymnasium as gym


class FreshWorld(gym.Wrapper):
    """Begins every episode in a new Box2D world.

    BipedalWalker keeps its world over resets, and with it traces of the episodes before: an episode
    then depends on more than its seed. With a new world, reset with one seed always starts the same.
    """

    def reset(self, **kwargs: Any) -> Any:
        import Box2D

        walker: Any = self.unwrapped
        if walker.hull is not None:
            walker._destroy()
        walker.hull = None
        walker.world = Box2D.b2World()
        return self.env.reset(**kwargs)
