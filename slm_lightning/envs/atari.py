"""Atari games in ale-py's own vector environment, many in one process.

Observations are four 84 × 84 grey images, each the brighter of the last two of the four emulator frames
for which an action is held. A game begins with FIRE and up to 30 no-ops, actions stick with probability
0.25 (Machado et al. 2018), and it is truncated after 108 000 emulator frames. Rewards are raw.

ale-py resets a finished game at the step after its end. It is reset here before that step, so no row is
made up. Its randomness runs on over games; to seed it is to load the game anew, which is slow, so it is
seeded at the first end of a game after 16 384 steps.
"""

from __future__ import annotations

from typing import Annotated, Any

import gymnasium as gym
import numpy as np
import torch
from pydantic import Field, ValidationError
from torch import Tensor

from slm_lightning.core import EnvInfo, Keys, Step, Stream
from slm_lightning.envs.action_log import ActionLog
from slm_lightning.envs.gym_backend import ActionMap
from slm_lightning.envs.gym_making import explained
from slm_lightning.errors import Problem, SpecError
from slm_lightning.spec.families import atari_id
from slm_lightning.spec.model import EnvParams, Fraction, Int, SpecModel
from slm_lightning.spec.wording import expectation, listed, shown

RESEED_AFTER = 16_384
FRAMES_PER_SECOND = 60


class GameParams(SpecModel):
    """Further keys of ``env``, each an argument of ale-py's vector environment."""

    life_loss_info: bool = False
    """A lost life is ``terminated``, but the game goes on."""
    repeat_action_probability: Fraction = 0.25
    """Probability that the action before is taken instead; 0 for ids that end in -v4."""
    full_action_space: bool = False
    """All 18 actions, not only those that the game knows."""
    noop_max: Annotated[Int, Field(ge=0, le=10_000)] = 30
    """A game begins with fewer no-ops than this."""
    use_fire_reset: bool = True
    """A game that has a FIRE button begins with it."""
    frameskip: Annotated[Int, Field(ge=1, le=1000)] = 4
    """Emulator frames for which an action is held, as ``action_repeat``."""
    maxpool: bool = True
    """Show the brighter of the last two frames."""
    stack_num: Annotated[Int, Field(ge=1, le=1000)] = 4
    """Images shown together, as ``frame_stack``."""
    img_height: Annotated[Int, Field(ge=1, le=1000)] = 84
    img_width: Annotated[Int, Field(ge=1, le=1000)] = 84
    max_num_frames_per_episode: Annotated[Int, Field(ge=1, le=2**31 - 1)] = 108_000
    """Emulator frames after which a game is truncated."""
    num_threads: Annotated[Int, Field(ge=0, le=1024)] = 0
    """Threads that play; 0 for as many as there are cores."""


class AtariGames:
    """``env.backend: atari``. With ``life_loss_info`` a lost life is ``terminated``, but the game goes
    on: ``obs`` stays ``next_obs``, and ``over`` tells where games end.

    ``render_mode`` shows sub-environment 0, by the same game in colour with the same seeds and actions.
    Raises SpecError or MissingError where there is no such game or it takes no such keyword.
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
        with explained(params):
            settings = game_settings(params)
            self.life_loss = settings["life_loss_info"]
            self.envs = open_games(self.num_envs, settings)
            self.screen = make_screen(params, render_mode) if render_mode else None
        skip = settings["frameskip"]
        self.envs.metadata = {"render_fps": FRAMES_PER_SECOND // skip}
        self.actions = ActionMap(self.envs.single_action_space)
        self.log = ActionLog(self.num_envs, settings["stack_num"])
        self.seeding = np.zeros(self.num_envs, dtype=np.int64)
        """How often each sub-environment has been seeded since ``reset``."""
        self.lives = np.zeros(self.num_envs, dtype=np.int32)
        self.info = EnvInfo(
            name=params.name,
            num_envs=self.num_envs,
            obs_shape=self.envs.single_observation_space.shape,
            obs_dtype=torch.uint8,
            action=self.actions.spec,
            max_episode_steps=-(-settings["max_num_frames_per_episode"] // skip),
            frame_stack=settings["stack_num"],
        )

    def reset(self) -> np.ndarray:
        """Starts the first game of every sub-environment; ``obs [N, 4, 84, 84]``."""
        self.seeding[:] = 0
        self.log.clear()
        return self._seed(None)

    def step(self, action: Tensor) -> Step:
        """Takes ``action [N]``; finished games are begun anew."""
        taken = self.actions(action)
        step = self._play(taken)
        stale = step.over & (len(self.log.actions) + 1 - self.log.begin >= RESEED_AFTER)
        self.log.append(taken.astype(np.uint8), step, stale if stale.any() else None)
        if not stale.any():
            return step
        self.seeding += stale
        return step._replace(obs=self._seed(stale))

    def state_dict(self) -> dict[str, Any]:
        """How often the sub-environments were seeded, and their actions since."""
        return {"seeding": torch.from_numpy(self.seeding.copy()), "log": self.log.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> np.ndarray:
        """Plays again since the last seeds; returns the observations ``[N, 4, 84, 84]``."""
        within = np.zeros(self.num_envs, dtype=bool)  # ends of games are no ends of what is replayed
        self.seeding = state["seeding"].numpy().copy()
        return self.log.replay(
            state["log"], self._seed, lambda taken: (self._play(taken.astype(np.int64)), within)
        )

    def _play(self, taken: np.ndarray) -> Step:
        """One step, and new games without new seeds where one is over."""
        next_obs, reward, finished, truncated, info = self.envs.step(taken)
        over = finished | truncated
        lost = (info["lives"] < self.lives) & (info["lives"] > 0)
        terminated = finished | lost if self.life_loss else finished
        self.lives = info["lives"]
        if self.screen is not None:
            self.screen.step(taken[0])
        obs = self._begin(over, np.full(over.sum(), -1)) if over.any() else next_obs
        return Step(next_obs, reward, terminated, truncated, obs, over)

    def _seed(self, mask: np.ndarray | None) -> np.ndarray:
        """Loads the masked games (None: all) with the keys of their sub-environments."""
        mask = np.ones(self.num_envs, dtype=bool) if mask is None else mask
        index = np.flatnonzero(mask)
        seeds = [self.keys.seed_for(self.stream, int(i), int(self.seeding[i])) for i in index]
        return self._begin(mask, np.array(seeds))

    def _begin(self, mask: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """A new game in the masked sub-environments, seed -1 for none; returns ``obs`` of all."""
        obs, info = self.envs.reset(seed=seeds, options={"reset_mask": mask})
        self.lives = info["lives"]
        if self.screen is not None and mask[0]:
            self.screen.reset(seed=None if seeds[0] < 0 else int(seeds[0]))
        return obs

    def from_env(self, obs: np.ndarray) -> np.ndarray:
        """An observation ``[4, 84, 84]`` as an agent sees it, which is as it is."""
        return obs

    def render(self) -> np.ndarray | None:
        picture: Any = None if self.screen is None else self.screen.render()
        return picture

    def close(self) -> None:
        if self.screen is not None:
            self.screen.close()
        self.envs.close()


class Screen(gym.Env):
    """One game as a person sees it: ``[420, 320, 3]`` pictures in colour, the screen doubled."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - as Gymnasium declares it
    render_mode = "rgb_array"

    def __init__(self, settings: dict[str, Any]):
        colour = {"grayscale": False, "img_height": 210, "img_width": 160, "stack_num": 1}
        self.games = open_games(1, settings | colour)
        self.action_space = self.games.single_action_space
        self.observation_space = gym.spaces.Box(0, 255, (420, 320, 3), np.uint8)
        self.metadata = {**self.metadata, "render_fps": FRAMES_PER_SECOND // settings["frameskip"]}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """A new game; without ``seed`` its randomness runs on."""
        obs, _ = self.games.reset(seed=None if seed is None else np.array([seed]))
        return self._show(obs), {}

    def step(self, action: Any) -> Any:
        obs, reward, terminated, truncated, _ = self.games.step(np.array([action]))
        return self._show(obs), float(reward[0]), bool(terminated[0]), bool(truncated[0]), {}

    def _show(self, obs: np.ndarray) -> np.ndarray:
        self.picture = obs[0, 0].repeat(2, axis=0).repeat(2, axis=1)
        return self.picture

    def render(self) -> np.ndarray:
        return self.picture

    def close(self) -> None:
        self.games.close()


def make_screen(params: EnvParams, render_mode: str | None = None) -> gym.Env:
    """The game in colour as an environment of its own; with render_mode human in a window."""
    screen = Screen(game_settings(params))
    return gym.wrappers.HumanRendering(screen) if render_mode == "human" else screen


def game_settings(params: EnvParams) -> dict[str, Any]:
    """Arguments of ale-py's vector environment, by section ``env``. Raises SpecError."""
    import ale_py

    gym.register_envs(ale_py)
    name = atari_id(params.name)
    if name is None:
        raise SpecError.at("env.name", f"{params.name} is no Atari game, which env.backend atari plays")
    if params.vectorization_mode == "async":
        raise SpecError.at("env.vectorization_mode", 'Atari games have threads; write "sync"')
    own: dict[str, Any] = {"frameskip": params.action_repeat, "stack_num": params.frame_stack}
    if params.name.endswith("-v4"):
        own["repeat_action_probability"] = 0.0
    own = {key: value for key, value in own.items() if value is not None}
    try:
        settings = GameParams(**own | (params.model_extra or {})).model_dump()
    except ValidationError as error:
        raise SpecError([_explain(details) for details in error.errors()]) from None
    if params.max_t:
        frames = params.max_t * settings["frameskip"]
        settings["max_num_frames_per_episode"] = min(frames, settings["max_num_frames_per_episode"])
    return {"game": gym.spec(name).kwargs["game"]} | settings


def _explain(details: Any) -> Problem:
    key = str(details["loc"][0])
    if key in GameParams.model_fields:
        wanted = expectation(GameParams.model_fields[key])
        return Problem(f"env.{key}", f"expected {wanted}, not {shown(details['input'])}")
    known = f"there are {listed(GameParams.model_fields)}"
    return Problem(f"env.{key}", f"neither a key of env nor one that Atari games take; {known}")


def open_games(num_envs: int, settings: dict[str, Any]) -> Any:
    """ale-py's vector environment with raw rewards, where only the end of a game is ``terminated``."""
    from ale_py.vector_env import AtariVectorEnv

    settings = settings | {"life_loss_info": False}
    return AtariVectorEnv(num_envs=num_envs, reward_clipping=False, **settings)
