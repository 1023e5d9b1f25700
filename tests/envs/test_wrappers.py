"""What an agent sees of an environment: images, masks, stacks."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from slm_lightning.core import Keys
from slm_lightning.envs import make_env
from slm_lightning.envs.wrappers import ActionRepeat, FrameStack, ObsMap
from slm_lightning.errors import SpecError, UsageError
from slm_lightning.spec.model import EnvParams

DISCRETE = spaces.Discrete(3)
U8 = np.uint8


class Dealt(gym.Env):
    """A hand of cards, of which only some may be played: all, all but the first, and so on."""

    def __init__(self, actions: gym.Space = DISCRETE, mask: gym.Space | None = None):
        self.action_space = actions
        self.observation_space = spaces.Dict(
            action_mask=mask or spaces.Box(0, 1, (3,), np.int8),
            table=spaces.Discrete(2),
            hand=spaces.Box(-1, 1, (2,)),
        )

    def _obs(self):
        mask = (np.arange(3) >= self.steps % 3).astype(np.int8)
        return {"action_mask": mask, "table": self.steps % 2, "hand": np.array([0.5, self.steps])}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._obs(), {}

    def step(self, action):
        self.steps += 1
        return self._obs(), 1.0, False, False, {}


def dealt(**keys) -> EnvParams:
    section = {"name": "Dealt-v0", "entry_point": f"{__name__}:Dealt", "num_envs": 2, "max_frame": 1}
    return EnvParams(**section | keys)


def test_masks_stand_at_the_end():
    env = make_env(dealt(), Keys(0))
    assert (env.info.obs_shape, env.info.mask_size, env.info.obs_dtype) == ((7,), 3, torch.float32)
    # hand, table one-hot, mask: entries of a Dict stand in the order of their names
    assert env.reset()[0].tolist() == [0.5, 0, 1, 0, 1, 1, 1]
    assert env.step(torch.tensor([0, 1])).obs[1].tolist() == [0.5, 1, 0, 1, 0, 1, 1]
    single = {"action_mask": np.ones(3), "table": 1, "hand": np.zeros(2)}
    assert env.from_env(single).tolist() == [0, 0, 0, 1, 1, 1, 1]
    env.close()


def test_other_environments_have_no_mask():
    env = make_env(EnvParams(name="CartPole-v1", max_frame=1), Keys(0))
    assert env.info.mask_size == 0
    env.close()


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        (
            {"actions": spaces.Box(-1, 1, (3,))},
            "masks Box actions; only those of a Discrete space can be",
        ),
        ({"actions": spaces.MultiDiscrete([3, 3])}, "masks MultiDiscrete actions"),
        ({"actions": spaces.Discrete(4)}, "Dealt-v0 has 4 actions, but an action_mask of 3 entries"),
        ({"frame_stack": 2}, r"env\.frame_stack: Dealt-v0 masks actions; write 1"),
        ({"action_repeat": 2}, r"env\.action_repeat: Dealt-v0 masks actions; write 1"),
    ],
)
def test_masks_that_do_not_fit_are_a_spec_error(keys, sentence):
    with pytest.raises(SpecError, match=sentence):
        make_env(dealt(**keys), Keys(0))


@pytest.mark.parametrize(
    ("shape", "dtype", "expected"),
    [
        ((96, 80, 3), U8, (3, 96, 80)),
        ((84, 84, 4), U8, (4, 84, 84)),
        ((84, 84), U8, (1, 84, 84)),
        ((4, 84, 84), U8, (4, 84, 84)),
        ((3, 2, 3), U8, (3, 2, 3)),
        ((128,), U8, (128,)),
        ((8, 8, 3), np.float32, (8, 8, 3)),
    ],
)
def test_images_have_their_channels_in_front(shape, dtype, expected):
    space = spaces.Box(0, 255, shape, dtype)
    to_array = ObsMap("Seen-v0", space, DISCRETE)
    obs = space.sample()
    array = to_array(obs)
    assert to_array.space.shape == array.shape == expected
    assert array.dtype == to_array.space.dtype == dtype
    assert array.sum(dtype=np.float64) == obs.sum(dtype=np.float64)
    if shape == (96, 80, 3):
        np.testing.assert_array_equal(array[1], obs[:, :, 1])


class Counting(gym.Env):
    """Shows the steps so far, twice, and rewards them."""

    observation_space = spaces.Box(1, 100, (2,))
    action_space = DISCRETE

    def reset(self, *, seed=None, options=None):
        self.steps = 1
        return np.full(2, self.steps, dtype=np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.full(2, self.steps, dtype=np.float32), float(self.steps), self.steps == 6, False, {}


def test_a_stack_shows_the_latest_oldest_first():
    env = FrameStack(Counting(), 3)
    assert env.observation_space.shape == (6,)
    assert env.observation_space.low.tolist() == [0.0] * 6, "the zeros are within it"
    first = env.reset()[0]
    seen = [env.step(0)[0] for _ in range(3)]
    assert first.tolist() == [0, 0, 0, 0, 1, 1], "and later steps do not change it"
    assert [obs.tolist() for obs in seen] == [
        [0, 0, 1, 1, 2, 2],
        [1, 1, 2, 2, 3, 3],
        [2, 2, 3, 3, 4, 4],
    ]
    assert env.reset()[0].tolist() == [0, 0, 0, 0, 1, 1]


def test_stacked_images_are_joined_along_their_channels():
    env = make_env(EnvParams(name="CarRacing-v3", frame_stack=2, max_frame=1), Keys(0))
    assert (env.info.obs_shape, env.info.frame_stack) == ((6, 96, 96), 2)
    first = env.reset().copy()
    assert first.dtype == np.uint8
    assert not first[0, :3].any() and first[0, 3:].any()
    step = env.step(torch.zeros(1, 3))
    np.testing.assert_array_equal(step.obs[0, :3], first[0, 3:])
    with pytest.raises(UsageError, match=r"latest 2 observations, joined: \[6, 96, 96\]"):
        env.from_env(np.zeros((96, 96, 3), U8))
    env.close()


def test_an_image_of_the_environment_is_turned_as_the_agent_sees_it():
    env = make_env(EnvParams(name="CarRacing-v3", max_frame=1), Keys(0))
    assert env.from_env(np.zeros((96, 96, 3), U8)).shape == env.info.obs_shape == (3, 96, 96)
    env.close()


def test_an_action_is_repeated_to_the_end_of_the_episode():
    env = ActionRepeat(Counting(), 3)
    env.reset()
    obs, reward, terminated, *_ = env.step(0)
    assert (obs[0], reward, terminated) == (4, 2 + 3 + 4, False)
    obs, reward, terminated, *_ = env.step(0)
    assert (obs[0], reward, terminated) == (6, 5 + 6, True)


def test_warnings_of_mujoco_leave_no_file_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env = make_env(EnvParams(name="HalfCheetah-v5", max_frame=1), Keys(0))
    env.close()
    assert not list(tmp_path.iterdir())
