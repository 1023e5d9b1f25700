"""Classic control in tensors: Gymnasium's physics, keyed starts, and nothing read by the host."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from slm_lightning.core import Keys, Stream
from slm_lightning.data.collector import Collector
from slm_lightning.envs import make_env
from slm_lightning.envs.torch_native import TorchVectorEnv
from slm_lightning.envs.torch_native.starts import GOLDEN, Starts, mix
from slm_lightning.envs.torch_native.vector import DYNAMICS
from slm_lightning.errors import MissingError, SpecError
from slm_lightning.rl.exploration import random_action
from slm_lightning.session import Session
from slm_lightning.spec.model import EnvParams
from tests.conftest import make_spec

KEYS = Keys(3)
PI = math.pi
LIMIT = 12 * 2 * PI / 360
KEYWORDS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in DYNAMICS),
    ("CartPole-v1", {"sutton_barto_reward": True}),
    ("Pendulum-v1", {"g": 3.7}),
    ("MountainCar-v0", {"goal_velocity": 0.03}),
    ("MountainCarContinuous-v0", {"goal_velocity": 0.03}),
]
SPANS = {
    "CartPole-v1": [2.6, 3, 1.1 * LIMIT, 3],
    "Pendulum-v1": [20, 8],
    "Acrobot-v1": [PI, PI, 4 * PI, 9 * PI],
    "MountainCar-v0": [0.9, 0.07],
    "MountainCarContinuous-v0": [0.9, 0.07],
}
"""Random states are drawn from ± this, a car's position from that minus 0.3."""
EDGES = {
    "CartPole-v1": [
        [2.4, 0, 0, 0],
        [-2.4, 0, 0, 0],
        [0, 0, LIMIT, 0],
        [0, 0, -LIMIT, 0],
        [2.41, 0, 0, 0],
    ],
    "Pendulum-v1": [[PI, 8], [-PI, -8], [0, 8], [3 * PI, 0]],
    "Acrobot-v1": [[PI, -PI, 4 * PI, 9 * PI], [-PI, PI, -4 * PI, -9 * PI], [PI, 0, 0, 0], [0, 0, 0, 0]],
    "MountainCar-v0": [[-1.2, -0.07], [-1.2, 0], [0.6, 0.07], [0.5, 0], [0.49, 0.07], [0.5, -0.07]],
    "MountainCarContinuous-v0": [[-1.2, -0.07], [0.6, 0.07], [0.45, 0], [0.44, 0.07], [0.45, -0.07]],
}


def params(name: str = "CartPole-v1", num_envs: int = 3, **keys: Any) -> EnvParams:
    return EnvParams(**{"name": name, "num_envs": num_envs, "max_frame": 1, "backend": "torch"} | keys)


def open_env(name: str = "CartPole-v1", num_envs: int = 3, **keys: Any) -> TorchVectorEnv:
    env = make_env(params(name, num_envs, **keys), KEYS)
    assert isinstance(env, TorchVectorEnv)
    return env


def states(name: str, count: int) -> np.ndarray:
    """Edges of the state space, and random states ``[rows, D]``."""
    rng = np.random.default_rng(0)
    drawn = rng.uniform(-1, 1, (count, len(SPANS[name]))) * SPANS[name]
    if name.startswith("MountainCar"):
        drawn[:, 0] -= 0.3
    return np.concatenate([np.repeat(EDGES[name], 3, axis=0), drawn])


@pytest.mark.parametrize(("name", "keywords"), KEYWORDS)
def test_a_step_from_any_state_is_gymnasiums(name, keywords):
    """The same terminations, rewards to nine digits, and observations to single precision."""
    rows = states(name, 3000)
    vector, single = open_env(name, len(rows), **keywords), gym.make(name, **keywords).unwrapped
    torch.manual_seed(0)
    action = random_action(vector.info.action, len(rows), "cpu")
    if vector.info.action.kind == "continuous":
        action *= 1.5  # beyond the Box too
    vector.reset()
    single.reset()
    vector.state = torch.tensor(rows.T)
    step, taken = vector.step(action), vector.actions(action)
    for i, row in enumerate(rows):
        single.state, single.steps_beyond_terminated = row.copy(), None
        obs, reward, terminated, _, _ = single.step(taken[i])
        np.testing.assert_allclose(step.next_obs[i].numpy(), obs, rtol=1e-6, atol=1e-6)
        assert step.reward[i].item() == pytest.approx(reward, rel=1e-9)
        assert step.terminated[i].item() == terminated
    if name != "Pendulum-v1":
        assert 0 < step.terminated.sum() < len(rows)


@pytest.mark.parametrize("name", DYNAMICS)
def test_episodes_are_gymnasiums(name):
    """From the same start, with the same actions, to the same end, at the time limit too."""
    vector = open_env(name, max_t=120)
    single = gym.make(name, max_episode_steps=120)
    single.reset()
    vector.reset()
    torch.manual_seed(1)
    ends = 0
    single.unwrapped.state = vector.state[:, 0].numpy().copy()
    for _ in range(400):
        action = random_action(vector.info.action, 3, "cpu")
        step = vector.step(action)
        obs, reward, terminated, truncated, _ = single.step(vector.actions(action)[0])
        np.testing.assert_allclose(step.next_obs[0].numpy(), obs, atol=1e-5)
        assert step.reward[0].item() == pytest.approx(reward, abs=1e-5)
        assert (step.terminated[0], step.truncated[0]) == (terminated, truncated)
        if terminated or truncated:
            ends += 1
            single.reset()
            single.unwrapped.state = vector.state[:, 0].numpy().copy()
            assert torch.equal(step.obs[0], vector.dynamics.observe(vector.state)[0])
    assert ends >= 3


def test_an_end_at_the_time_limit_is_both():
    length = next(t for t, step in enumerate(pushes(open_env(num_envs=1)), start=1) if step.terminated)
    *_, last = zip(range(length), pushes(open_env(num_envs=1, max_t=length)))
    assert last[1].terminated.item() and last[1].truncated.item()


def pushes(env: TorchVectorEnv) -> Iterator[Any]:
    """Vector steps that push the cart to one side only."""
    env.reset()
    while True:
        yield env.step(torch.ones(env.num_envs, dtype=torch.int64))


def test_mix_is_splitmix64():
    """The published outputs for the seed 1234567."""
    state = torch.tensor(1234567) + torch.arange(1, 6) * GOLDEN
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [number % 2**64 for number in mix(state).tolist()] == expected


class TestStarts:
    def starts(self, num_envs: int = 500, keys: Keys = KEYS, stream: Stream = Stream.ENV) -> Starts:
        return Starts(keys, stream, num_envs, (-0.6, 0.0, -2.0), (-0.4, 0.0, 3.0), torch.device("cpu"))

    def test_they_are_uniform(self):
        starts = self.starts()
        drawn = torch.stack([starts(torch.full((500,), k)) for k in range(200)])  # [200, 3, 500]
        assert (drawn[:, 1] == 0).all()
        for variable, low, high in ((0, -0.6, -0.4), (2, -2.0, 3.0)):
            unit = (drawn[:, variable] - low) / (high - low)
            assert unit.min() >= 0 and unit.max() < 1
            counts = torch.histc(unit, 20, 0, 1)
            expected = unit.numel() / 20
            assert ((counts - expected).square() / expected).sum() < 50  # χ² with 19 degrees: p < 1e-4

    def test_episodes_sub_environments_and_variables_are_independent(self):
        starts = self.starts()
        drawn = torch.stack([starts(torch.full((500,), k)) for k in range(200)])
        x, y = drawn[:, 0], drawn[:, 2]
        for one, other in ((x[1:], x[:-1]), (x[:, 1:], x[:, :-1]), (x, y)):
            correlation = torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]
            assert abs(correlation) < 0.015  # nearly five standard deviations

    def test_they_are_a_function_of_keys_sub_environment_and_episode(self):
        episode = torch.arange(500)
        all_of_them = self.starts()(episode)
        assert torch.equal(all_of_them[:, :7], self.starts(7)(episode[:7]))
        others = [
            self.starts(keys=Keys(4)),
            self.starts(keys=Keys(3, session=1)),
            self.starts(stream=Stream.EVAL),
        ]
        for other in others:
            assert not torch.isin(other(episode)[0], all_of_them[0]).any()


class Operations(TorchDispatchMode):
    """Writes down which operations are run."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))

    def __enter__(self):
        self.names: list[str] = []
        return super().__enter__()


@pytest.mark.parametrize("name", DYNAMICS)
def test_a_step_is_a_fixed_sequence_of_operations(name):
    """As many for any number of sub-environments and whether one ends or not, and none that hands a
    value to the host."""
    runs = []
    for num_envs, max_t in ((2, 100), (50, 1)):
        env = open_env(name, num_envs, max_t=max_t)
        env.reset()
        with Operations() as operations:
            env.step(torch.zeros(num_envs, *env.info.action.shape, dtype=env.info.action.dtype))
        runs.append(operations.names)
    assert runs[0] == runs[1]
    assert not {"_local_scalar_dense", "nonzero", "index", "is_nonzero", "equal"} & set(runs[0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("name", DYNAMICS)
def test_on_a_gpu_the_host_never_waits(name):
    here, there = (
        open_env(name, 64, max_t=20),
        make_env(params(name, 64, max_t=20), KEYS, device="cuda"),
    )
    torch.testing.assert_close(there.reset().cpu(), here.reset())
    actions = [random_action(here.info.action, 64, "cpu") for _ in range(50)]
    moved = [action.cuda() for action in actions]
    torch.cuda.set_sync_debug_mode("error")
    try:
        steps = [there.step(action) for action in moved]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for action, step in zip(actions, steps):
        expected = here.step(action)
        torch.testing.assert_close(step.next_obs.cpu(), expected.next_obs, rtol=1e-5, atol=1e-5)
        assert torch.equal(step.terminated.cpu(), expected.terminated)
        assert torch.equal(step.truncated.cpu(), expected.truncated)


def test_running_episodes_survive_a_file():
    env = open_env(max_t=15)
    env.reset()
    torch.manual_seed(0)
    actions = [random_action(env.info.action, 3, "cpu") for _ in range(60)]
    with torch.inference_mode():
        for action in actions[:20]:
            env.step(action)
    file, state = io.BytesIO(), env.state_dict()
    env.step(actions[0])
    torch.save(state, file)
    env.load_state_dict(state)
    file.seek(0)
    other = open_env(max_t=15)
    other.load_state_dict(torch.load(file, weights_only=True))
    for action in actions[20:]:
        for one, same in zip(env.step(action)[:5], other.step(action)[:5]):
            assert torch.equal(one, same)


def test_a_collector_goes_on_exactly_with_normalised_observations():
    """Statistics take in first observations of episodes that begin, of which most steps have none."""
    spec = make_spec("PPO", {"name": "CartPole-v1", "backend": "torch", "normalize_obs": True})

    def collector(state: Any, moments: Any) -> tuple[Session, Collector]:
        env = make_env(spec.env, KEYS)
        session = Session.build(spec, env.info, KEYS)
        session.load_state_dict(moments or session.state_dict())
        agent, normalizers = session.agent, session.normalizers
        return session, Collector(env, agent, normalizers, torch.device("cpu"), state)

    session, first = collector(None, None)
    first.collect(100, 0)
    state = copy.deepcopy((first.state_dict(), session.state_dict()))
    _, second = collector(*state)
    batches = []
    for each in (first, second):
        torch.manual_seed(0)
        batches.append(each.collect(100, 1)[0])
    assert batches[0].obs.isfinite().all() and batches[0].obs.std() > 0.3
    for one, same in zip(batches[0][:6], batches[1][:6]):
        assert torch.equal(one, same)


@pytest.mark.parametrize("name", DYNAMICS)
def test_a_picture_is_gymnasiums(name):
    env = make_env(params(name, 1), KEYS, render_mode="rgb_array")
    env.reset()
    step = env.step(torch.zeros(1, *env.info.action.shape, dtype=env.info.action.dtype))
    picture = env.render()
    single = gym.make(name, render_mode="rgb_array")
    single.reset()
    single.unwrapped.state = env.state[:, 0].numpy()
    assert picture.shape == single.render().shape
    np.testing.assert_array_equal(picture, single.render())
    assert env.envs.metadata["render_fps"] == single.metadata["render_fps"]
    assert step.obs is not step.next_obs
    env.close()


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"gravitation": 3}, "env.gravitation"),
        ({"entry_point": "tests.envs.probes:Counter"}, "env.entry_point"),
        ({"vectorization_mode": "async"}, "env.vectorization_mode"),
        ({"frame_stack": 4}, "env.frame_stack"),
        ({"action_repeat": 2}, "env.action_repeat"),
    ],
)
def test_what_it_does_not_do_is_a_spec_error(keys, path):
    with pytest.raises(SpecError) as caught:
        open_env(**keys)
    assert [problem.path for problem in caught.value.problems] == [path]


def test_another_environment_is_missing():
    with pytest.raises(
        MissingError, match=r'no environment "LunarLander-v3"; it has CartPole-v1'
    ) as caught:
        open_env("LunarLander-v3")
    assert "env.backend" in caught.value.hint
