"""One file is one backend, a library that runs environments; ``env.backend`` names it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slm_lightning.core import VectorEnv
from slm_lightning.envs.atari import AtariGames, make_screen
from slm_lightning.envs.envpool_backend import EnvPoolVectorEnv, with_pictures
from slm_lightning.envs.gym_backend import GymVectorEnv
from slm_lightning.envs.gym_making import make_single as make_gym
from slm_lightning.envs.playground_backend import PlaygroundEnv
from slm_lightning.envs.torch_native import TorchVectorEnv
from slm_lightning.errors import MissingError
from slm_lightning.spec.model import EnvParams

BACKENDS: dict[str, Callable[..., VectorEnv]] = {
    "gymnasium": GymVectorEnv,
    "atari": AtariGames,
    "playground": PlaygroundEnv,
    "envpool": EnvPoolVectorEnv,
    "torch": TorchVectorEnv,
}
ON_DEVICE = frozenset({"torch"})
"""Backends whose environments live where training happens; all others live on the CPU."""


def make_env(
    params: EnvParams, *args, render_mode: str | None = None, device: str = "cpu", **kwargs
) -> VectorEnv:
    """The environment of section ``env``, by its backend; arguments as the backend's class.

    ``device`` is where training happens.
    """
    if render_mode is not None:
        params = with_pictures(params) if params.library == "envpool" else params
        kwargs["render_mode"] = render_mode
    if params.library in ON_DEVICE:
        kwargs["device"] = device
    return BACKENDS[params.library](params, *args, **kwargs)


def make_single(params: EnvParams) -> Any:
    """One Gymnasium environment whose episodes and rewards are those of section ``env``, to play it at
    random. Raises SpecError or MissingError."""
    params = with_pictures(params) if params.library == "envpool" else params
    if params.library == "atari":
        return make_screen(params)
    if params.library == "playground":
        raise MissingError(f"{params.name} cannot be played one at a time")
    return make_gym(params)
