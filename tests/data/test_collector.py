"""Rollouts: every row in its place, observations as they were acted on, rewards as they are learned."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from slm_lightning.algorithms import algorithms
from slm_lightning.core import Keys
from slm_lightning.data.collector import Collector, Episode
from slm_lightning.envs import make_env
from slm_lightning.rl.normalizers import Normalizers
from slm_lightning.spec.model import EnvParams
from tests.conftest import make_spec
from tests.envs.probes import probe

KEYS = Keys(2)


def make_collector(env: dict, state: dict | None = None, device: str = "cpu") -> Collector:
    spec = make_spec("PPO", env)
    vector = make_env(spec.env, KEYS)
    KEYS.seed_generators(0)
    agent = algorithms()["PPO"](spec.agent.algorithm, spec.agent.net, vector.info).to(device)
    normalizers = Normalizers(spec.env, vector.info.obs_shape, 0.9).to(device)
    return Collector(vector, agent, normalizers, torch.device(device), state)


def counter(**keys) -> dict:
    return probe("Counter", num_envs=2) | keys


def test_a_rollout_row_by_row():
    """``Counter`` terminates after 4 steps and shows its episode's number and its steps."""
    collector = make_collector(counter(length=4))
    batch, episodes = collector.collect(10, version=7)
    assert batch.version == 7
    assert batch.obs.shape == batch.next_obs.shape == (10, 2, 2)
    steps = torch.arange(10) % 4
    assert torch.equal(batch.obs[..., 1], steps[:, None].expand(10, 2).float())
    assert torch.equal(batch.next_obs[..., 1], steps[:, None].expand(10, 2).float() + 1)
    assert torch.equal(batch.terminated, (steps == 3)[:, None].expand(10, 2))
    assert not batch.truncated.any()
    assert torch.equal(batch.obs[..., 0], batch.next_obs[..., 0])  # true successors
    going_on = ~batch.done[:-1]
    assert torch.equal(batch.obs[1:][going_on], batch.next_obs[:-1][going_on])
    assert (batch.obs[1:, :, 0] != batch.next_obs[:-1, :, 0])[~going_on].all()
    assert torch.equal(batch.reward, batch.action.float())  # Counter rewards the action
    returns = batch.reward[:8].view(2, 4, 2).sum(1).flatten().tolist()
    frames = [8, 8, 16, 16]
    assert episodes == [Episode(f, r, 4) for f, r in zip(frames, returns)]


def test_truncation_is_not_termination():
    batch, _ = make_collector(counter(max_t=3)).collect(6, 0)
    assert not batch.terminated.any()
    assert batch.truncated[:, 0].tolist() == [False, False, True] * 2
    assert torch.equal(batch.done, batch.truncated)


def test_one_rollout_goes_on_where_the_last_ended():
    whole, parts = make_collector(counter(length=4)), make_collector(counter(length=4))
    torch.manual_seed(0)
    expected, all_episodes = whole.collect(9, 0)
    torch.manual_seed(0)
    rows, episodes = [], []
    for steps in (2, 5, 2):
        batch, ended = parts.collect(steps, 0)
        rows.append([x.clone() for x in batch[:6]])  # the next rollout writes over this one
        episodes += ended
    for one, several in zip(expected[:6], zip(*rows)):
        assert torch.equal(one, torch.cat(several))
    assert episodes == all_episodes
    assert parts.frame == whole.frame == 18


def test_the_agent_knows_the_frame_it_acts_in(monkeypatch):
    collector, frames = make_collector(counter()), []
    act = collector.agent.act
    monkeypatch.setattr(
        collector.agent, "act", lambda obs: frames.append(collector.agent.frame) or act(obs)
    )
    collector.collect(3, 0)
    collector.collect(2, 0)
    assert frames == [0, 2, 4, 6, 8]


def test_a_rollout_can_be_learned_from():
    batch, _ = make_collector(counter()).collect(3, 0)
    assert not any(x.is_inference() for x in batch[:6])
    assert batch.obs.dtype == torch.float32
    assert batch.action.dtype == torch.int64


@pytest.mark.parametrize("episodes", [1, 3])
def test_collect_episodes_stops_at_the_step_that_ends_the_last(episodes):
    collector = make_collector(counter(length=4, num_envs=1))
    batch, ended = collector.collect_episodes(episodes, limit=100, version=3)
    assert len(batch.reward) == 4 * episodes
    assert len(ended) == episodes
    assert batch.terminated[-1].all()
    assert batch.version == 3


def test_collect_episodes_stops_at_its_limit():
    collector = make_collector(counter(length=4, num_envs=1))
    batch, ended = collector.collect_episodes(5, limit=6, version=0)
    assert len(batch.reward) == 6
    assert len(ended) == 1


def test_long_episodes_outgrow_the_first_buffers():
    """Rows written before the buffers grew are still there, in order."""
    collector = make_collector(counter(length=3000, num_envs=1))
    batch, (episode,) = collector.collect_episodes(1, limit=10_000, version=0)
    assert torch.equal(batch.obs[:, 0, 1], torch.arange(3000.0))
    assert episode == Episode(3000, batch.reward.sum().item(), 3000)
    short, _ = collector.collect_episodes(1, limit=5, version=0)
    assert torch.equal(short.obs[:, 0, 1], torch.arange(5.0))


NORMALISED = {"normalize_obs": True, "normalize_reward": True, "clip_obs": 3, "reward_scale": 0.5}


def test_normalised_rollouts_equal_a_naive_loop():
    """Statistics take in every observation once: all first ones, every successor, and the first ones
    of new episodes; the raw rewards make the reported returns. Poles fall at different times, and some
    episodes are truncated."""
    section = {"name": "CartPole-v1", "max_t": 14, "num_envs": 3, "max_frame": 1}
    collector = make_collector(section | NORMALISED)
    batch, episodes = collector.collect(40, 0)
    assert batch.truncated.any()
    assert (batch.terminated.any(1) & ~batch.done.all(1)).any()

    env = make_env(EnvParams(**section), KEYS)
    normalizers = Normalizers(EnvParams(**section | NORMALISED), (4,), 0.9)

    def observe(obs, rows):
        obs = torch.tensor(obs)
        normalizers.obs.update(obs[rows])
        return normalizers.obs(obs)

    obs, raw = observe(env.reset(), slice(None)), []
    for t in range(40):
        assert_close(batch.obs[t], obs)
        step = env.step(batch.action[t])
        raw.append(torch.tensor(step.reward).float())
        obs = observe(step.next_obs, slice(None))
        assert_close(batch.next_obs[t], obs)
        done = step.terminated | step.truncated
        if done.any():
            obs = observe(step.obs, done)
    assert_close(batch.reward, normalizers.reward(torch.stack(raw), batch.terminated))
    assert [episode.ret for episode in episodes] == [episode.length for episode in episodes]


def test_a_collector_goes_on_from_its_state():
    first = make_collector(counter(length=4, **NORMALISED))
    first.collect(6, 0)
    state = first.state_dict()
    statistics = first.normalizers.state_dict()
    statistics = {key: value.clone() for key, value in statistics.items()}
    torch.manual_seed(3)
    expected, episodes = first.collect(6, 0)

    second = make_collector(counter(length=4, **NORMALISED))
    second.normalizers.load_state_dict(statistics)
    second = Collector(
        make_env(make_spec("PPO", counter(length=4, **NORMALISED)).env, KEYS),
        second.agent,
        second.normalizers,
        torch.device("cpu"),
        state,
    )
    torch.manual_seed(3)
    batch, again = second.collect(6, 0)
    assert all(torch.equal(x, y) for x, y in zip(expected[:6], batch[:6]))
    assert again == episodes
    assert second.frame == first.frame


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_rows_arrive_on_the_gpu_as_they_were():
    """Also at episode ends, where two observations of one step are staged."""
    env = counter(length=2, num_envs=512)
    here, there = make_collector(env), make_collector(env, device="cuda")
    batch, _ = there.collect(50, 0)
    assert batch.obs.is_cuda
    replayed, _ = here.collect(1, 0)
    assert torch.equal(batch.obs[0].cpu(), replayed.obs[0])
    assert torch.equal(batch.obs[..., 0], batch.next_obs[..., 0])
    assert torch.equal(batch.next_obs[..., 1], batch.obs[..., 1] + 1)
