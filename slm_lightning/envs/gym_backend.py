"""Gymnasium environments, stepped together in this process or one process each.

Autoreset is off: a finished sub-environment hands over its true final observation, and is then reset
alone, each episode from its own keyed seed. So no row of a rollout is made up, and any episode can be
played again from its seed and its actions.
"""

from __future__ import annotations

import difflib
import functools
import logging
import math
import os
import re
import sys
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from torch import Tensor

from slm_lightning.core import ActionSpec, EnvInfo, Keys, Step, Stream
from slm_lightning.envs.action_log import ActionLog
from slm_lightning.envs.box2d import FreshWorld
from slm_lightning.envs.own import import_own
from slm_lightning.envs.wrappers import ActionRepeat, FrameStack, Mapped, MaskedBox, ObsMap
from slm_lightning.errors import LabError, MissingError, SpecError, UsageError
from slm_lightning.spec.model import EnvParams

if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
    for _name, _driver in {"MUJOCO_GL": "egl", "SDL_VIDEODRIVER": "dummy"}.items():
        os.environ.setdefault(_name, _driver)  # pictures without a display

log = logging.getLogger(__name__)

EXTRAS = {"ale/": "atari", "ale_py": "atari", "mujoco": "mujoco"}


class GymVectorEnv:
    """``env.backend: gymnasium``. What becomes of observations, ObsMap tells.

    Continuous actions are mapped from [-1, 1] to the Box and clipped to it. ``render_mode`` is for
    sub-environment 0 alone.
    Raises SpecError or MissingError where the environment cannot be made or is not supported.
    """

    def __init__(
        self,
        params: EnvParams,
        keys: Keys,
        stream: Stream = Stream.ENV,
        num_envs: int | None = None,
        render_mode: str | None = None,
    ):
        self.keys, self.stream = keys, stream
        self.num_envs = num_envs or params.num_envs
        self.episode = np.zeros(self.num_envs, dtype=np.int64)
        self.log = ActionLog(self.num_envs)
        shown, hidden = (functools.partial(make_single, params, mode) for mode in (render_mode, None))
        parallel = params.vectorization_mode == "async" and self.num_envs > 1
        kind = AsyncVectorEnv if parallel else SyncVectorEnv
        with explained(params):
            self.envs = kind(
                [shown, *[hidden] * (self.num_envs - 1)],
                copy=False,
                autoreset_mode=AutoresetMode.DISABLED,
            )
        self.actions = ActionMap(self.envs.single_action_space)
        self.info = EnvInfo(
            name=params.name,
            num_envs=self.num_envs,
            obs_shape=tuple(self.envs.single_observation_space.shape or ()),
            obs_dtype=_obs_dtype(self.envs.single_observation_space),
            action=self.actions.spec,
            max_episode_steps=time_limit(params),
            frame_stack=params.frame_stack or 1,
            mask_size=getattr(self.envs.single_observation_space, "mask_size", 0),
        )

    def reset(self) -> np.ndarray:
        """Starts episode 0 of every sub-environment; ``obs [N, *obs_shape]``."""
        self.episode[:] = 0
        self.log.clear()
        return self._reset(None)

    def step(self, action: Tensor) -> Step:
        """Takes ``action [N, *action.shape]``; finished sub-environments begin their next episode.

        The arrays are only valid until the next call.
        """
        taken = self.actions(action)
        next_obs, reward, terminated, truncated, _ = self.envs.step(taken)
        done = terminated | truncated
        ended = done.any()
        self.log.append(taken, done if ended else None)
        if not ended:
            return Step(next_obs, reward, terminated, truncated, next_obs)
        next_obs, terminated, truncated = next_obs.copy(), terminated.copy(), truncated.copy()
        self.episode += done
        return Step(next_obs, reward, terminated, truncated, self._reset(done))

    def state_dict(self) -> dict[str, Any]:
        """The running episodes: their seeds' keys and their actions so far."""
        return {"episode": torch.from_numpy(self.episode.copy()), "log": self.log.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> np.ndarray:
        """Plays the running episodes again, from their seeds; returns their observations."""

        def step(action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            obs, _, terminated, truncated, _ = self.envs.step(action)
            return obs, terminated | truncated

        self.episode = state["episode"].numpy().copy()
        return self.log.replay(state["log"], self._reset, step)

    def _reset(self, mask: np.ndarray | None) -> np.ndarray:
        """Starts the running episode of the masked sub-environments from its seed."""
        seeds: list[int | None] = [
            self.keys.seed_for(self.stream, i, int(episode)) if mask is None or mask[i] else None
            for i, episode in enumerate(self.episode)
        ]
        return self.envs.reset(seed=seeds, options=None if mask is None else {"reset_mask": mask})[0]

    def from_env(self, obs: Any) -> np.ndarray:
        """An observation of the environment itself, as an agent sees it (sync only). Arrays that end
        in ``obs_shape`` stay as they are. Raises UsageError where several are shown together."""
        shape = self.info.obs_shape
        if isinstance(obs, np.ndarray) and obs.shape[-len(shape) :] == shape:
            return obs
        if self.info.frame_stack > 1:
            n = self.info.frame_stack
            raise UsageError(
                f"the policy wants the latest {n} observations, joined: {[*shape]} numbers"
            )
        env: Any = self.envs.envs[0]  # type: ignore[union-attr]
        while isinstance(env, gym.Wrapper) and not isinstance(env, Mapped):
            env = env.env
        return env.to_array(obs) if isinstance(env, Mapped) else np.asarray(obs)

    def render(self) -> np.ndarray | None:
        frames: Any = self.envs.render()
        return frames[0] if frames else None

    def close(self) -> None:
        if isinstance(self.envs, AsyncVectorEnv):
            self.envs.close(terminate=True)
        else:
            self.envs.close()


class ActionMap:
    """From an agent's tensor ``[N, *spec.shape]`` to what the environment's ``step`` takes."""

    def __init__(self, space: gym.Space):
        self.space = space
        self.spec = _action_spec(space)
        if isinstance(space, spaces.Box):
            bounded = bool(np.isfinite(space.low).all() and np.isfinite(space.high).all())
            self.centre = space.low / 2 + space.high / 2 if bounded else np.zeros_like(space.low)
            self.half = space.high / 2 - space.low / 2 if bounded else np.ones_like(space.low)

    def __call__(self, action: Tensor) -> np.ndarray:
        array = action.cpu().numpy()
        if isinstance(self.space, spaces.Box):
            array = self.centre + self.half * array.reshape(-1, *self.space.shape)
            array = np.clip(array, self.space.low, self.space.high)
            whole = np.issubdtype(self.space.dtype, np.integer)
            return (np.rint(array) if whole else array).astype(self.space.dtype)
        if isinstance(self.space, spaces.Discrete | spaces.MultiDiscrete):
            return array + self.space.start
        return array.astype(self.space.dtype)


def make_single(params: EnvParams, render_mode: str | None = None) -> gym.Env:
    """One sub-environment with the spec's keywords, time limit and wrappers."""
    target: str | EnvSpec = params.name
    if params.entry_point is not None:
        target = EnvSpec(params.name, entry_point=_load(params.entry_point))
    options: dict[str, Any] = {} if render_mode is None else {"render_mode": render_mode}
    repeat = params.action_repeat or 1
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
        unexpected = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if isinstance(error, TypeError) and unexpected:
            key = unexpected.group(1)
            return SpecError.at(f"env.{key}", f"neither a key of env nor an argument of {name}")
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


def _obs_dtype(space: gym.Space) -> torch.dtype:
    return torch.uint8 if space.dtype == np.uint8 else torch.float32


def _action_spec(space: gym.Space) -> ActionSpec:
    if isinstance(space, spaces.Discrete):
        return ActionSpec("discrete", (int(space.n),))
    if isinstance(space, spaces.Box):
        return ActionSpec("continuous", (int(np.prod(space.shape)),))
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1:
        return ActionSpec("multi_discrete", tuple(int(n) for n in space.nvec))
    if isinstance(space, spaces.MultiBinary) and len(space.shape) == 1:
        return ActionSpec("multi_binary", (int(space.shape[0]),))
    shown = " ".join(str(space).split())
    raise SpecError.at(
        "env.name",
        f"action space {shown} is not supported; Discrete, Box, MultiDiscrete and MultiBinary are",
    )
