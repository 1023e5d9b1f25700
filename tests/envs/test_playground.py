"""MuJoCo Playground, where it is installed; elsewhere, the sentence that says how to install it."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from slm_lightning.core import Keys
from slm_lightning.envs import make_env
from slm_lightning.errors import MissingError, SpecError
from slm_lightning.spec.model import EnvParams
from tests.contracts.test_backends import as_arrays, assert_same, play


def open_env(name: str = "playground/CartpoleBalance", num_envs: int = 3, **keys):
    return make_env(EnvParams(name=name, num_envs=num_envs, max_frame=1, **keys), Keys(5))


def test_without_playground_the_line_that_installs_it_is_shown(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(
        MissingError, match="playground/CartpoleBalance needs MuJoCo Playground"
    ) as caught:
        open_env()
    assert caught.value.hint == 'pip install "slm-lightning[playground]"'


class TestInstalled:
    @pytest.fixture(autouse=True)
    def installed(self):
        pytest.importorskip("mujoco_playground")

    def test_episodes(self):
        """Own seeds, true successors, ends by the limit, and the same again from a state."""
        env = open_env(max_t=10)
        first, steps = play(env, 25)
        assert len(np.unique(first, axis=0)) == 3
        obs = first
        for t, step in enumerate(steps, start=1):
            assert (step.truncated == (t % 10 == 0)).all()
            assert (np.abs(step.next_obs - obs) < 1).all(), (
                "the successor is near, a new start is not it"
            )
            same = (step.obs == step.next_obs).all(axis=-1)
            assert (same != step.truncated).all()
            obs = step.obs
        starts = np.concatenate([first, steps[9].obs, steps[19].obs])
        assert len(np.unique(starts, axis=0)) == 9, "every episode has its own seed"
        state = env.state_dict()
        actions = [torch.full((3, 1), 0.3)] * 12
        expected = [as_arrays(env.step(action)) for action in actions]
        again, same_steps = play(env, 25)
        np.testing.assert_array_equal(again, first)
        assert_same(same_steps, steps)
        env.load_state_dict(state)
        assert_same([as_arrays(env.step(action)) for action in actions], expected)

    def test_actions_are_clipped(self):
        env = open_env()
        env.reset()
        one = as_arrays(env.step(torch.tensor([[5.0], [1.0], [-7.0]])))
        env.reset()
        assert_same([as_arrays(env.step(torch.tensor([[1.0], [1.0], [-1.0]])))], [one])

    @pytest.mark.parametrize(
        ("keys", "path"),
        [
            ({"gravity": 3}, "env.gravity"),
            ({"device": "tpu"}, "env.device"),
            ({"frame_stack": 2}, "env.fr"),
        ],
    )
    def test_keys_that_it_does_not_take_are_a_spec_error(self, keys, path):
        with pytest.raises(SpecError) as caught:
            open_env(**keys)
        assert caught.value.problems[0].path.startswith(path)

    def test_an_unknown_environment_is_missing(self):
        with pytest.raises(MissingError, match="MuJoCo Playground has no CartpoleBalanse") as caught:
            open_env("playground/CartpoleBalanse")
        assert "playground/CartpoleBalance" in caught.value.hint
