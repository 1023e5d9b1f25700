"""Gymnasium environments, stepped together in this process or one process each.

Autoreset is off: a finished sub-environment hands over its true final observation, and is then reset
alone, each episode from its own keyed seed. So no row of a rollout is made up, and any episode can be
played again from its seed and its actions.
"""

from __future__ import annotations

import functools
import os
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from slm_lightning.core import ActionSpec, EnvInfo, Keys, Step, Stream
from slm_lightning.envs.action_log import ActionLog
from slm_lightning.envs.crash import Fault
from slm_lightning.envs.gym_loop import EnvLoop
from slm_lightning.envs.gym_making import explained, make_single, time_limit
from slm_lightning.envs.gym_processes import EnvProcesses
from slm_lightning.envs.step_limit import StepLimit
from slm_lightning.envs.wrappers import Mapped
from slm_lightning.errors import LabError, SpecError, UsageError
from slm_lightning.spec.model import EnvParams

if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
    for _name, _driver in {"MUJOCO_GL": "egl", "SDL_VIDEODRIVER": "dummy"}.items():
        os.environ.setdefault(_name, _driver)  # pictures without a display


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
        self.log = ActionLog(self.num_envs, params.frame_stack or 1)
        self.params, self.limit = params, StepLimit(params.step_timeout)
        shown, hidden = (functools.partial(make_single, params, mode) for mode in (render_mode, None))
        makers = [shown, *[hidden] * (self.num_envs - 1)]
        with explained(params):
            apart = params.vectorization_mode == "async" and self.num_envs > 1
            self.envs: EnvProcesses | EnvLoop = EnvProcesses(makers) if apart else EnvLoop(makers)
        self.shown: np.ndarray | None = None
        """The latest observations."""
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

        The arrays are only valid until the next call. Raises CrashError where an environment raises
        anything, LostEnvError where the process of one has died.
        """
        taken = self.actions(action)
        step = self._play(taken)
        done = step.terminated | step.truncated
        ended = np.count_nonzero(done)
        self.log.append(taken, step, done if ended else None)
        if not ended:
            return step
        self.episode += done
        next_obs = step.next_obs.copy()
        return step._replace(next_obs=next_obs, obs=self._reset(done))

    def state_dict(self) -> dict[str, Any]:
        """The running episodes: their seeds' keys and their actions so far."""
        return {"episode": torch.from_numpy(self.episode.copy()), "log": self.log.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> np.ndarray:
        """Plays the running episodes again, from their seeds; returns their observations."""

        def play(taken: np.ndarray) -> tuple[Step, np.ndarray]:
            step = self._play(taken)
            return step, step.terminated | step.truncated

        self.episode = state["episode"].numpy().copy()
        return self.log.replay(state["log"], self._reset, play)

    def begin_after(self, state: dict[str, Any]) -> np.ndarray:
        """New episodes, the next after those of ``state``, for environments that do not repeat
        themselves; returns their first observations."""
        self.episode = state["episode"].numpy() + 1
        self.log.clear()
        return self._reset(None)

    def _play(self, taken: np.ndarray) -> Step:
        """One step of all sub-environments, without a new episode where one is over."""
        try:
            with self.limit:
                obs, reward, terminated, truncated, _ = self.envs.step(taken)
        except (Exception, SystemExit) as error:
            raise self._told(error, taken) from error
        self.shown = obs
        return Step(obs, reward, terminated, truncated, obs)

    def _reset(self, mask: np.ndarray | None) -> np.ndarray:
        """Starts the running episode of the masked sub-environments from its seed."""
        seeds: list[int | None] = [
            self._seed(i) if mask is None or mask[i] else None for i in range(self.num_envs)
        ]
        options = None if mask is None else {"reset_mask": mask}
        limit = StepLimit(self.num_envs * self.params.step_timeout) if mask is None else self.limit
        try:
            with limit:
                self.shown, _ = self.envs.reset(seed=seeds, options=options)
        except (Exception, SystemExit) as error:
            raise self._told(error) from error
        return self.shown

    def _seed(self, index: int) -> int:
        """Of a sub-environment's running episode."""
        return self.keys.seed_for(self.stream, index, int(self.episode[index]))

    def _told(self, error: BaseException, taken: np.ndarray | None = None) -> LabError:
        """What went wrong in a reset, or where the actions ``taken [N, ...]`` were tried."""
        if isinstance(error, LabError):
            return error
        fault = Fault(error)
        actions = self.log.since_begin(fault.index)
        if taken is not None:
            actions.append(taken[fault.index])
        seen = self.shown if actions else None
        obs = None if seen is None else seen[fault.index]
        return fault.told(self.params, self._seed(fault.index), actions, obs)

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
        with self.limit:
            self.envs.close()


class ActionMap:
    """From an agent's tensor ``[N, *spec.shape]`` to what the environment's ``step`` takes."""

    def __init__(self, space: gym.Space):
        self.space = space
        self.spec = _action_spec(space)
        self.convert = self._astype
        if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
            self.convert = self._from_start if np.any(space.start) else self._as_it_is
        if isinstance(space, spaces.Box):
            self.convert = self._into_box
            bounded = bool(np.isfinite(space.low).all() and np.isfinite(space.high).all())
            self.centre = space.low / 2 + space.high / 2 if bounded else np.zeros_like(space.low)
            self.half = space.high / 2 - space.low / 2 if bounded else np.ones_like(space.low)

    def __call__(self, action: Tensor) -> np.ndarray:
        return self.convert((action if action.is_cpu else action.cpu()).numpy())

    def _astype(self, array: np.ndarray) -> np.ndarray:
        return array.astype(self.space.dtype)

    def _as_it_is(self, array: np.ndarray) -> np.ndarray:
        return array

    def _from_start(self, array: np.ndarray) -> np.ndarray:
        return array + self.space.start  # type: ignore[attr-defined]

    def _into_box(self, array: np.ndarray) -> np.ndarray:
        box: Any = self.space
        array = self.centre + self.half * array.reshape(-1, *box.shape)
        array = np.clip(array, box.low, box.high)
        return (np.rint(array) if box.dtype.kind in "iu" else array).astype(box.dtype)


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
