"""One file is one backend, a library that runs environments; ``env.backend`` names it."""

from __future__ import annotations

from collections.abc import Callable

from slm_lightning.core import VectorEnv
from slm_lightning.envs.gym_backend import GymVectorEnv
from slm_lightning.spec.model import EnvParams

BACKENDS: dict[str, Callable[..., VectorEnv]] = {"gymnasium": GymVectorEnv}


def make_env(params: EnvParams, *args, **kwargs) -> VectorEnv:
    """The environment of section ``env``, by its backend; arguments as the backend's class."""
    return BACKENDS[params.backend or "gymnasium"](params, *args, **kwargs)
