"""Makes one Gymnasium environment by section ``env``, and says what keeps it from being made."""

from __future__ import annotations

import difflib
import functools
import logging
import math
import re
import warnings
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from slm_lightning.envs.box2d import FreshWorld
from slm_lightning.envs.own import import_own
from slm_lightning.envs.wrappers import ActionRepeat, FrameStack, Mapped, MaskedBox, ObsMap
from slm_lightning.errors import LabError, MissingError, SpecError
from slm_lightning.spec.model import EnvParams
from slm_lightning.spec.wording import name_of

log = logging.getLogger(__name__)

EXTRAS = {"ale/": "atari", "ale_py": "atari", "mujoco": "mujoco"}


def make_single(params: EnvParams, render_mode: str | None = None) -> gym.Env:
    """One sub-environment with the spec's keywords, time limit and wrappers."""
    env = make_own(params, render_mode)
    repeat = params.action_repeat or 1
    if repeat > 1:
        env = ActionRepeat(env, repeat)
    to_array = ObsMap(params.name, env.observation_space, env.action_space)
    if to_array.space is not env.observation_space:
        env = Mapped(env, to_array)
    stack = params.frame_stack or 1
    if isinstance(to_array.space, MaskedBox):
        for key, count in (("frame_stack", stack), ("action_repeat", repeat)):
            if count > 1:
                raise SpecError.at(f"env.{key}", f"{params.name} masks actions; write 1")
    return FrameStack(env, stack) if stack > 1 else env


def make_own(params: EnvParams, render_mode: str | None = None) -> gym.Env:
    """The environment as its library has it, with the spec's keywords and time limit."""
    target: str | EnvSpec = params.name
    if params.entry_point is not None:
        target = EnvSpec(params.name, entry_point=_load(params.entry_point))
    options: dict[str, Any] = {} if render_mode is None else {"render_mode": render_mode}
    limit = _step_limit(params)
    if limit is not None:
        options["max_episode_steps"] = limit
    spec = target if isinstance(target, EnvSpec) else gym.spec(target.rpartition(":")[2])
    if "mujoco" in str(spec.entry_point):
        redirect_mujoco()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = gym.make(target, disable_env_checker=True, **options, **(params.model_extra or {}))
    if type(env.unwrapped).__module__ == "gymnasium.envs.box2d.bipedal_walker":
        env = FreshWorld(env)
    return env


def is_foreign(params: EnvParams) -> bool:
    """Whether the environment is neither the lab's nor Gymnasium's, so that no test knows it."""
    if params.library != "gymnasium":
        return False
    if params.entry_point is not None or ":" in params.name:
        return True
    found = gym.registry.get(params.name)
    return found is not None and not str(found.entry_point).startswith("gymnasium.envs.")


def redirect_mujoco() -> None:
    """MuJoCo's warnings go to the log; by itself it writes a file into the working directory."""
    import mujoco

    mujoco.set_mju_user_warning(_mujoco_warning)


@functools.cache
def _mujoco_warning(text: str) -> None:
    """Each text once. What is deprecated is the models that come with the environments."""
    log.log(logging.DEBUG if "deprecated" in text else logging.WARNING, "MuJoCo: %s", text)


def time_limit(params: EnvParams) -> int | None:
    """Decisions of the agent after which an episode is truncated: ``max_t`` or the environment's own
    limit, the smaller."""
    limit = _step_limit(params)
    return None if limit is None else math.ceil(limit / (params.action_repeat or 1))


def _step_limit(params: EnvParams) -> int | None:
    """The same in steps of the environment, of which a decision is ``action_repeat``."""
    module, _, name = params.name.rpartition(":")
    if module:
        import_own(module)  # which registers it
    own = None if params.entry_point else gym.spec(name).max_episode_steps
    asked = params.max_t and params.max_t * (params.action_repeat or 1)
    return min((limit for limit in (asked, own) if limit), default=None)


class explained:
    """Turns what ``gymnasium.make`` raises into one sentence about the spec."""

    def __init__(self, params: EnvParams):
        self.params = params

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, LabError):
            raise self.explain(error) from error

    def explain(self, error: Exception) -> LabError:
        name = self.params.name
        if isinstance(error, gym.error.DependencyNotInstalled | ImportError):
            return MissingError(
                f"{name} needs a package that is missing: {error}", _install_hint(name, error)
            )
        if isinstance(error, gym.error.Error) and not self.params.entry_point:
            close = difflib.get_close_matches(name, list(gym.registry), n=3, cutoff=0.6)
            similar = (
                f"similar ids: {', '.join(close)}" if close else "own environment? set env.entry_point"
            )
            return MissingError(f'environment "{name}" is not registered', similar)
        given = list(self.params.model_extra or {})
        unexpected = re.search(r"unexpected keyword argument '(.+?)'", str(error))
        if isinstance(error, TypeError) and (unexpected or (given and "no arguments" in str(error))):
            key = unexpected.group(1) if unexpected else given[0]
            message = f"neither a key of env nor an argument of {name}"
            return SpecError.at(f"env.{name_of(key)}", message)
        return MissingError(f"{name} cannot be made: {type(error).__name__}: {error}")


def _install_hint(name: str, error: Exception) -> str:
    for word, extra in EXTRAS.items():
        if word in f"{name} {error}".lower():
            return f'pip install "slm-lightning[{extra}]"'
    return "install it, or choose another environment"


def _load(entry_point: str) -> Any:
    module, _, attribute = entry_point.partition(":")
    try:
        return getattr(import_own(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise SpecError.at(
            "env.entry_point", f'cannot import "{entry_point}": {error}', "write module:Class"
        ) from None
