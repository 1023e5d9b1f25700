"""EnvPool: environments in C++, stepped together by its threads.

EnvPool resets a finished sub-environment at the step after its end. It is reset here before that step,
so no row is made up. Its random numbers run on over episodes and are seeded only where a pool is made,
so pools are renewed: at the first end of an episode after 16 384 steps a sub-environment moves on to
the next pool, and to the next seed. What leads to the running episodes thus stays short enough to be
played again.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from slm_lightning.core import EnvInfo, Keys, Step, Stream
from slm_lightning.envs.action_log import ActionLog
from slm_lightning.envs.gym_backend import ActionMap
from slm_lightning.envs.gym_making import explained
from slm_lightning.envs.wrappers import ObsMap
from slm_lightning.errors import MissingError, SpecError
from slm_lightning.spec.families import atari_id
from slm_lightning.spec.model import EnvParams

RENEW_AFTER = 16_384
EMULATOR_FRAMES = 108_000
"""After which a game of Atari is truncated."""
TAKEN = {
    "seed": "write meta.seed",
    "env_seed": "write meta.seed",
    "batch_size": "all sub-environments are stepped together",
}
"""Arguments of EnvPool that a spec does not give, and what to do instead."""
TAKEN_OF_GAMES = {
    "episodic_life": "write life_loss_info",
    "reward_clip": "write clip_reward",
    "frame_skip": "write action_repeat",
    "stack_num": "write frame_stack",
    "gray_scale": "images are grey",
}

warnings.filterwarnings("ignore", "(?s).*precision lowered by casting")  # of EnvPool's own spaces


class EnvPoolVectorEnv:
    """``env.backend: envpool``, by Gymnasium's ids where EnvPool has the environment, and by its own.

    It has Gymnasium's physics, but turns a pendulum at its greatest speed a little further.
    Further keys of ``env`` are those of EnvPool, among them ``num_threads`` (0, the default: as many as
    there are cores). Atari games are set as the backend ``atari`` sets them; with ``life_loss_info`` a
    lost life is ``terminated``, but the game goes on.
    Raises SpecError or MissingError where the environment cannot be made or is not supported.
    """

    def __init__(
        self,
        params: EnvParams,
        keys: Keys,
        stream: Stream = Stream.ENV,
        num_envs: int | None = None,
    ):
        self.keys, self.stream = keys, stream
        self.num_envs = num_envs or params.num_envs
        with explained(params):
            self.name, self.settings = pool_settings(params)
            self.life_loss = self.settings.pop("life_loss_info", False)
            shown, wanted = pool_spaces(params.name, self.name, self.settings)
        self.actions = ActionMap(wanted)
        small = self.actions.spec.kind == "discrete" and self.actions.spec.sizes[0] <= 256
        self.kept = np.dtype(np.uint8) if small else wanted.dtype
        self.to_array = ObsMap(params.name, shown, wanted)
        self.mapped = self.to_array.space is not shown
        self.info = EnvInfo(
            name=params.name,
            num_envs=self.num_envs,
            obs_shape=tuple(self.to_array.space.shape),
            obs_dtype=torch.uint8 if self.to_array.space.dtype == np.uint8 else torch.float32,
            action=self.actions.spec,
            max_episode_steps=self.settings["max_episode_steps"],
            frame_stack=self.settings["stack_num"] if "noop_max" in self.settings else 1,
        )
        self.pools: dict[int, Any] = {}
        self.home = np.zeros(self.num_envs, dtype=np.int64)
        """The pool in which the running episode of each sub-environment is played."""
        self.obs = np.zeros((self.num_envs, *self.info.obs_shape), self.to_array.space.dtype)
        self.lives = np.zeros(self.num_envs, dtype=np.int64)
        self.log = ActionLog(self.num_envs, self.info.frame_stack)

    def reset(self) -> np.ndarray:
        """Starts the first episode of every sub-environment; ``obs [N, *obs_shape]``."""
        self.home[:] = 0
        self.pools.clear()
        self.log.clear()
        return self._begin(np.ones(self.num_envs, dtype=bool))

    def step(self, action: Tensor) -> Step:
        """Takes ``action [N, *action.shape]``; finished sub-environments begin their next episode."""
        taken = self.actions(action)
        step = self._play(np.ones(self.num_envs, dtype=bool), taken)
        stale = step.over & (len(self.log.actions) + 1 - self.log.begin >= RENEW_AFTER)
        self.log.append(taken.astype(self.kept), step, stale if stale.any() else None)
        if not step.over.any():
            return step
        self.home += stale
        return step._replace(obs=self._begin(step.over))

    def state_dict(self) -> dict[str, Any]:
        """The pools of the sub-environments, which stand for seeds, and the actions since they moved
        there."""
        return {"home": torch.from_numpy(self.home.copy()), "log": self.log.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> np.ndarray:
        """Plays again what happened in the pools; returns the observations of the running episodes."""
        self.home = state["home"].numpy().copy()
        self.pools.clear()
        playing = np.zeros(self.num_envs, dtype=bool)
        within = playing.copy()  # ends of episodes are no ends of what is replayed

        def begin(mask: np.ndarray | None) -> np.ndarray:
            rows = self.log.begin == 0 if mask is None else mask
            playing[rows] = True
            return self._begin(rows)

        def play(taken: np.ndarray) -> tuple[Step, np.ndarray]:
            step = self._play(playing, taken.astype(self.actions.space.dtype))
            return step._replace(obs=self._begin(step.over)) if step.over.any() else step, within

        return self.log.replay(state["log"], begin, play)

    def _play(self, rows: np.ndarray, taken: np.ndarray) -> Step:
        """One step of the masked sub-environments; the arrays are those of all."""
        reward = np.zeros(self.num_envs, dtype=np.float32)
        finished, truncated, lost = np.zeros((3, self.num_envs), dtype=bool)
        self.obs = self.obs.copy()
        for pool, ids in self._homes(rows):
            obs, *outcome, info = pool.step(taken[ids], ids)
            where = self._show(obs, info)
            reward[where], finished[where], truncated[where] = outcome
            if self.life_loss:
                lost[where] = (info["lives"] < self.lives[where]) & (info["lives"] > 0)
                self.lives[where] = info["lives"]
        return Step(self.obs, reward, finished | lost, truncated, self.obs, finished | truncated)

    def _begin(self, rows: np.ndarray) -> np.ndarray:
        """The next episodes of the masked sub-environments; all ``obs``."""
        self.obs = self.obs.copy()
        for pool, ids in self._homes(rows):
            obs, info = pool.reset(ids)
            where = self._show(obs, info)
            if self.life_loss:
                self.lives[where] = info["lives"]
        for number in [number for number in self.pools if number < self.home.min()]:
            del self.pools[number]
        return self.obs

    def _homes(self, rows: np.ndarray) -> Iterator[tuple[Any, np.ndarray]]:
        """Pools with the masked sub-environments that are played there."""
        for number in np.unique(self.home[rows]):
            yield self._pool(int(number)), np.flatnonzero(rows & (self.home == number)).astype(np.int32)

    def _pool(self, number: int) -> Any:
        """A pool that is seeded for all sub-environments."""
        if number not in self.pools:
            import envpool

            seeds = [self.keys.seed_for(self.stream, i, number) for i in range(self.num_envs)]
            self.pools[number] = envpool.make_gymnasium(
                self.name, num_envs=self.num_envs, seed=seeds, **self.settings
            )
        return self.pools[number]

    def _show(self, obs: np.ndarray, info: dict[str, Any]) -> np.ndarray:
        """Writes observations down; returns the sub-environments that they are of."""
        where, stack = info["env_id"], self.info.frame_stack
        if self.mapped:
            obs = np.stack([self.to_array(row) for row in obs])
        if stack > 1:  # EnvPool repeats the first image where there is none before it
            obs[np.arange(stack) < stack - 1 - info["elapsed_step"][:, None]] = 0
        self.obs[where] = obs
        return where

    def from_env(self, obs: Any) -> np.ndarray:
        """An observation of the environment itself, or rows of them, as an agent sees it."""
        shape = self.info.obs_shape
        shown = isinstance(obs, np.ndarray) and obs.shape[-len(shape) :] == shape
        return obs if shown else self.to_array(obs)

    def render(self) -> None:
        return None

    def close(self) -> None:
        self.pools.clear()


def pool_settings(params: EnvParams) -> tuple[str, dict[str, Any]]:
    """EnvPool's id and arguments of ``envpool.make_gymnasium``. Raises SpecError or MissingError."""
    try:
        import envpool
    except ImportError:
        hint = 'pip install "slm-lightning[envpool]"'
        raise MissingError(
            "env.backend envpool needs a package that is missing: envpool", hint
        ) from None
    keys = dict(params.model_extra or {})
    name, known = _id(params, keys), envpool.list_all_envs()
    if params.entry_point is not None:
        raise SpecError.at("env.entry_point", "backend envpool has environments of its own only")
    if params.vectorization_mode == "async":
        raise SpecError.at("env.vectorization_mode", 'backend envpool has threads; write "sync"')
    if name not in known:
        close = ", ".join(difflib.get_close_matches(name, known, n=3, cutoff=0.6))
        hint = f"EnvPool has {close}" if close else "leave out env.backend to run it by Gymnasium"
        raise MissingError(f'EnvPool has no environment "{params.name}"', hint)
    arguments = envpool.make_spec(name).config._asdict()
    atari = "repeat_action_probability" in arguments
    settings = _atari_settings(params) if atari else _plain_settings(params)
    _check_keys(params.name, keys, arguments | settings, TAKEN | (TAKEN_OF_GAMES if atari else {}))
    settings |= keys
    limit = settings.pop("max_episode_steps", None) or arguments["max_episode_steps"]
    return name, settings | {"max_episode_steps": min(limit, params.max_t or limit)}


def _id(params: EnvParams, keys: dict[str, Any]) -> str:
    """EnvPool's id of the environment; what the id says is taken out of ``keys``."""
    if params.name == "LunarLander-v3" and keys.pop("continuous", False):
        return "LunarLanderContinuous-v3"
    return (atari_id(params.name) or params.name).removeprefix("ALE/")


def _atari_settings(params: EnvParams) -> dict[str, Any]:
    """Those of the backend ``atari``, where EnvPool's own differ."""
    skip = params.action_repeat or 4
    return {
        "frame_skip": skip,
        "noop_max": 30,
        "stack_num": params.frame_stack or 4,
        "repeat_action_probability": 0.0 if params.name.endswith("-v4") else 0.25,
        "max_episode_steps": -(-EMULATOR_FRAMES // skip),
        "life_loss_info": False,
    }


def _plain_settings(params: EnvParams) -> dict[str, Any]:
    for key in ("frame_stack", "action_repeat"):
        if (getattr(params, key) or 1) > 1:
            raise SpecError.at(f"env.{key}", "of backend envpool for Atari games only; write 1")
    return {}


def _check_keys(
    name: str, keys: dict[str, Any], arguments: dict[str, Any], taken: dict[str, str]
) -> None:
    for key, value in keys.items():
        if key in taken:
            raise SpecError.at(f"env.{key}", f"is the lab's to give; {taken[key]}")
        if key not in arguments:
            message = f"neither a key of env nor an argument of EnvPool's {name}"
            raise SpecError.at(f"env.{key}", message)
        kind = type(arguments[key])
        if not isinstance(value, (int, float) if kind is float else kind):
            raise SpecError.at(f"env.{key}", f"expected {kind.__name__}, not {value!r}")


def pool_spaces(shown: str, name: str, settings: dict[str, Any]) -> tuple[gym.Space, gym.Space]:
    """Of one observation and one action. Raises SpecError, by the name that is ``shown``, where
    observations are of several parts."""
    import envpool

    spec = envpool.make_spec(name, **settings)
    obs, action = spec.gymnasium_observation_space, spec.gymnasium_action_space
    if isinstance(obs, spaces.Dict | spaces.Tuple):
        kind = type(obs).__name__
        raise SpecError.at("env.name", f"{shown} has {kind} observations in EnvPool; expected Box")
    return obs, action


def with_pictures(params: EnvParams) -> EnvParams:
    """The same environment by the backend that its id has by default: EnvPool opens no windows, and
    its pictures of MuJoCo end the process where there is no OpenGL.

    Raises SpecError where EnvPool alone has the environment.
    """
    if not (atari_id(params.name) or params.name in gym.registry):
        raise SpecError.at("env.backend", f"envpool has no pictures of {params.name}")
    keys = {key: value for key, value in (params.model_extra or {}).items() if key != "num_threads"}
    own = params.model_dump(include=set(EnvParams.model_fields) - {"backend"})
    return EnvParams(**own, **keys)
