"""Atari games: ale-py's own numbers, whole games, and every way the backend can say no."""

from __future__ import annotations

import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from ale_py.vector_env import AtariVectorEnv

from slm_lightning.core import Keys, Step, Stream
from slm_lightning.envs import atari, make_env
from slm_lightning.envs.atari import AtariGames, game_settings
from slm_lightning.errors import MissingError, SpecError
from slm_lightning.rl.exploration import random_action
from slm_lightning.spec.model import EnvParams
from tests.contracts.test_backends import as_arrays, assert_same, play

KEYS = Keys(5)
LIVES = {"name": "ALE/Breakout-v5", "life_loss_info": True}


def params(name: str | dict = "ALE/Breakout-v5", **keys) -> EnvParams:
    section = name if isinstance(name, dict) else {"name": name}
    return EnvParams(**{"num_envs": 2, "max_frame": 1000} | section | keys)


def open_env(name: str | dict = "ALE/Breakout-v5", **keys) -> AtariGames:
    return AtariGames(params(name, **keys), KEYS)


def scores(steps: list[Step]) -> list[float]:
    """Sums of rewards between ends of games, of sub-environment 0."""
    total, found = 0.0, []
    for step in steps:
        total += step.reward[0]
        if step.over[0]:
            found.append(total)
            total = 0.0
    return found


@pytest.mark.parametrize("life_loss", [False, True])
def test_every_row_is_what_ale_py_shows(life_loss):
    """The same rows as its vector environment with the usual preprocessing, until a game ends."""
    vector = open_env(life_loss_info=life_loss)
    plain = AtariVectorEnv(
        "breakout",
        2,
        repeat_action_probability=0.25,
        reward_clipping=False,
        life_loss_info=life_loss,
    )
    seeds = np.array([KEYS.seed_for(Stream.ENV, i, 0) for i in range(2)])
    np.testing.assert_array_equal(vector.reset(), plain.reset(seed=seeds)[0])
    torch.manual_seed(0)
    lost = 0
    for _ in range(400):
        action = random_action(vector.info.action, 2, "cpu")
        step = vector.step(action)
        obs, reward, terminated, truncated, info = plain.step(action.numpy())
        np.testing.assert_array_equal(step.next_obs, obs)
        np.testing.assert_array_equal(step.reward, reward)
        np.testing.assert_array_equal(step.terminated, terminated)
        np.testing.assert_array_equal(step.truncated, truncated)
        lost += (terminated & ~step.ended).sum()
        if step.ended.any():
            break
    assert step.ended.any() and (info["lives"][step.ended] == 0).all()
    assert (lost >= 4) == life_loss


def test_a_lost_life_ends_nothing_but_the_value():
    whole, lives = (open_env(LIVES | {"life_loss_info": value}, num_envs=1) for value in (False, True))
    first, steps = play(whole, 700)
    other, same = play(lives, 700)
    np.testing.assert_array_equal(first, other)
    assert_same([step._replace(terminated=step.over) for step in same], steps)
    assert sum(step.terminated.sum() for step in same) >= 5 * sum(step.over.sum() for step in same) > 0
    for step in same:
        if step.terminated[0] and not step.over[0]:
            np.testing.assert_array_equal(step.obs, step.next_obs)
    assert scores(same) == scores(steps)


@pytest.mark.parametrize(
    ("name", "range_of_scores"), [("ALE/Pong-v5", (-21, -18)), ("ALE/Tennis-v5", (-24, 24))]
)
def test_a_score_is_that_of_one_game_where_there_are_no_lives(name, range_of_scores):
    env = open_env(name, life_loss_info=True, num_envs=1, max_t=1500)
    _, steps = play(env, 2200)
    low, high = range_of_scores
    ends = [step for step in steps if step.over[0]]
    assert ends and all((step.terminated | step.truncated == step.over).all() for step in steps)
    assert all(low <= score <= high for score in scores(steps))
    env.close()


def test_the_last_image_of_a_game_is_its_own():
    """It is the one before, moved by one, and the next game begins with zeros and a single image."""
    env = open_env(num_envs=1)
    _, steps = play(env, 500)
    before, end = next((a, b) for a, b in pairwise(steps) if b.terminated[0])
    np.testing.assert_array_equal(end.next_obs[0, :3], before.next_obs[0, 1:])
    assert not end.obs[0, :3].any() and end.obs[0, 3].any()
    env.close()


def test_games_are_seeded_again_after_many_steps(monkeypatch):
    """And can be brought back from there, the games since without seeds included."""
    monkeypatch.setattr(atari, "RESEED_AFTER", 100)
    env = open_env("ALE/Pong-v5", max_t=45, num_envs=3)
    play(env, 310)
    assert env.seeding.tolist() == [2, 2, 2]  # at steps 135 and 270
    assert len(env.state_dict()["log"]["actions"]) == 310 - 270
    state = env.state_dict()
    actions = [random_action(env.info.action, 3, "cpu") for _ in range(200)]
    expected = [as_arrays(env.step(action)) for action in actions]
    env.close()
    other = open_env("ALE/Pong-v5", max_t=45, num_envs=3)
    other.load_state_dict(state)
    assert_same([as_arrays(other.step(action)) for action in actions], expected)
    other.close()


def test_games_of_different_ages_are_brought_back(monkeypatch):
    monkeypatch.setattr(atari, "RESEED_AFTER", 150)
    env = open_env(LIVES, num_envs=3)
    _, steps = play(env, 500)
    assert len(set(env.log.begin.tolist())) == 3
    state = env.state_dict()
    other = open_env(LIVES, num_envs=3)
    np.testing.assert_array_equal(other.load_state_dict(state), steps[-1].obs)
    actions = [random_action(env.info.action, 3, "cpu") for _ in range(150)]
    one, two = ([as_arrays(e.step(action)) for action in actions] for e in (env, other))
    assert_same(one, two)


def test_the_picture_is_the_game_that_is_played():
    """Its seeds and actions are those of sub-environment 0: the same rewards and ends, games on."""
    env = make_env(params(LIVES), KEYS, render_mode="rgb_array")
    env.reset()
    first, seen = env.render(), []
    play_screen = env.screen.step
    env.screen.step = lambda action: seen.append(play_screen(action)) or seen[-1]
    _, steps = play(env, 700)
    assert [row[1] for row in seen] == [step.reward[0] for step in steps]
    assert [row[2] for row in seen] == [step.over[0] for step in steps]
    assert sum(step.over[0] for step in steps) >= 2
    assert first.shape == (420, 320, 3) and first.dtype == np.uint8
    assert len(np.unique(first.reshape(-1, 3), axis=0)) > 5, "in colour"
    env.close()


def test_a_window_shows_the_game():
    env = make_env(params(), KEYS, num_envs=1, render_mode="human")
    play(env, 3)
    assert env.render() is None
    env.close()


def test_rewards_are_clipped_to_one_unless_the_spec_says_otherwise():
    assert params().clip_reward == 1.0
    assert params(clip_reward=5).clip_reward == 5
    assert params("PongNoFrameskip-v4").clip_reward == 1.0
    assert params("CartPole-v1").clip_reward is None


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"name": "ALE/Pong-v5"}, {"game": "pong", "repeat_action_probability": 0.25}),
        ({"name": "VideoPinball-v0"}, {"game": "video_pinball", "repeat_action_probability": 0.25}),
        ({"name": "PongNoFrameskip-v4"}, {"game": "pong", "repeat_action_probability": 0.0}),
        ({"name": "MsPacmanDeterministic-v4"}, {"game": "ms_pacman", "frameskip": 4}),
        ({"name": "ALE/Pong-v5", "repeat_action_probability": 0}, {"repeat_action_probability": 0.0}),
        (
            {"name": "ALE/Pong-v5", "frame_stack": 2, "action_repeat": 3},
            {"stack_num": 2, "frameskip": 3},
        ),
        ({"name": "ALE/Pong-v5", "max_t": 50}, {"max_num_frames_per_episode": 200}),
        ({"name": "ALE/Pong-v5", "max_t": 10**6}, {"max_num_frames_per_episode": 108_000}),
    ],
)
def test_settings(section, expected):
    settings = game_settings(params(section))
    assert settings | expected == settings


def test_what_the_spec_says_reaches_the_games():
    env = open_env(frame_stack=2, full_action_space=True, img_height=60, max_t=7)
    assert (env.info.obs_shape, env.info.frame_stack) == ((2, 60, 84), 2)
    assert env.info.action.sizes == (18,)
    assert env.info.max_episode_steps == 7
    env.close()


@pytest.mark.parametrize(
    ("section", "path", "sentence"),
    [
        ({"sound": True}, "env.sound", "neither a key of env nor one that Atari games take; there are"),
        ({"noop_max": "many"}, "env.noop_max", 'expected a whole number from 0 to 10000, not "many"'),
        ({"stack_num": 0}, "env.stack_num", "expected a whole number from 1 to 1000, not 0"),
        ({"vectorization_mode": "async"}, "env.vectorization_mode", 'have threads; write "sync"'),
        ({"name": "CartPole-v1"}, "env.name", "CartPole-v1 is no Atari game"),
    ],
)
def test_keywords_that_games_do_not_take_are_a_spec_error(section, path, sentence):
    with pytest.raises(SpecError) as caught:
        open_env({"name": "ALE/Pong-v5"} | section)
    assert caught.value.problems[0].path == path
    assert sentence in caught.value.problems[0].message


def test_a_game_that_there_is_not_is_missing():
    with pytest.raises(MissingError, match='"ALE/Pongo-v5" is not registered') as caught:
        open_env("ALE/Pongo-v5")
    assert "ALE/Pong-v5" in caught.value.hint


def test_without_ale_py_the_line_that_installs_it_is_shown(monkeypatch):
    monkeypatch.setitem(sys.modules, "ale_py", None)
    with pytest.raises(MissingError, match=r"ALE/Pong-v5 needs a package that is missing") as caught:
        open_env("ALE/Pong-v5")
    assert caught.value.hint == 'pip install "slm-lightning[atari]"'
