"""What an agent remembers while it acts: all of the running episode, and nothing of the one before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from slm_lightning.algorithms import algorithms
from slm_lightning.core import ActionSpec, EnvInfo, Keys, Sequences, Step, Stream
from slm_lightning.data.collector import Collector
from slm_lightning.data.evaluate import evaluate
from slm_lightning.envs import make_env
from slm_lightning.rl.normalizers import Normalizers
from tests.conftest import make_spec
from tests.envs.probes import probe

RNN = {"type": "RecurrentNet", "cell_type": "LSTM", "rnn_hidden_size": 6, "seq_len": 4}
KEYS = Keys(2)
CPU = torch.device("cpu")


def make_collector(env: Any, name: str = "PPO") -> Collector:
    spec = make_spec(name, probe("Counter", num_envs=2), net=RNN)
    KEYS.seed_generators(Stream.INIT)
    agent = algorithms()[name].build(spec.agent, env.info)
    return Collector(env, agent, Normalizers(spec.env, env.info.obs_shape, 0.9), CPU)


def counter(**keys: Any) -> Any:
    return make_env(make_spec("PPO", probe("Counter", num_envs=2, **keys)).env, KEYS)


def test_the_state_is_that_of_a_fresh_look_at_the_episode():
    """Before every step, over three rollouts with episodes of five steps."""
    collector = make_collector(counter(length=5))
    batches = []
    for steps in (4, 3, 6):
        batch, _ = collector.collect(steps, 0)
        batches.append((batch.obs.clone(), batch.hidden.clone()))
    obs, hidden = (torch.cat(parts) for parts in zip(*batches))
    body = collector.agent.net.actor.net.body
    for t in range(13):
        begin = t - t % 5
        if t == begin:
            assert not hidden[t].any()
            continue
        start = torch.zeros(t - begin, 2, dtype=torch.bool)
        episode = Sequences(obs[begin:t], torch.zeros_like(hidden[0]), start)
        state = body.unroll(episode).view(t - begin, 2, -1)[-1]
        assert_close(hidden[t, :, : body.state_size], state)


def test_learning_sees_what_acting_saw():
    """The log-probabilities of a rollout, computed at once from its start, and when it was made."""
    collector = make_collector(counter(length=5))
    acted, act = [], collector.agent.act

    def listen(seen: Any) -> torch.Tensor:
        action = act(seen)
        acted.append(collector.agent.net.policy(seen).log_prob(action))
        return action

    collector.agent.act = listen
    collector.collect(3, 0)
    acted.clear()
    batch, _ = collector.collect(9, 0)
    rows = batch.flatten()
    pi, value = collector.agent.net(rows.obs)
    assert_close(pi.log_prob(rows.action).view(9, 2), torch.stack(acted))
    next_value = collector.agent.net.value(rows.next_obs).view(9, 2)
    goes_on = ~batch.done[:-1]
    assert_close(next_value[:-1][goes_on], value.view(9, 2)[1:][goes_on])


def test_evaluating_in_between_changes_nothing():
    results = []
    for interrupt in (False, True):
        collector = make_collector(counter(length=5))
        torch.manual_seed(0)
        collector.collect(3, 0)
        if interrupt:
            state = torch.get_rng_state()
            evaluate(collector.agent, collector.normalizers, counter(length=5))
            torch.set_rng_state(state)
        results.append(collector.collect(3, 0)[0])
    for one, other in zip(*results):
        assert one is other is None or torch.equal(torch.as_tensor(one), torch.as_tensor(other))


def test_an_evaluation_remembers_and_forgets():
    """It gives the agent what a fresh look at each episode gives."""
    collector, seen = make_collector(counter(length=4)), []
    act = collector.agent.act

    def listen(recalled: Any, explore: bool) -> torch.Tensor:
        seen.append((recalled.obs.clone(), recalled.hidden.clone()))
        return act(recalled, explore)

    collector.agent.act = listen
    evaluate(collector.agent, collector.normalizers, counter(length=4), episodes=2)
    assert len(seen) == 8
    for first in (0, 4):
        remembered = torch.zeros(2, collector.agent.hidden_size)
        for obs, hidden in seen[first : first + 4]:
            with torch.inference_mode():
                remembered = collector.agent.remember(obs, remembered)
            assert_close(hidden, remembered)


@pytest.mark.parametrize("name", ["PPO", "DQN", "Reinforce", "SARSA"])
def test_agents_without_such_a_net_remember_nothing(name):
    agent = algorithms()[name].build(make_spec(name).agent, counter().info)
    assert agent.hidden_size == 0


def test_a_target_net_has_no_memory_of_its_own():
    agent = algorithms()["DQN"].build(make_spec("DQN", net=RNN).agent, counter().info)
    assert agent.hidden_size == 2 * 6


class Lives:
    """One game of seven steps, reward 1 each; a life is lost, and training told that it is over, after
    every second step."""

    info = EnvInfo("lives", 1, (1,), torch.float32, ActionSpec("discrete", (2,)))
    t = 0

    def reset(self) -> np.ndarray:
        self.t = 0
        return np.zeros((1, 1), dtype=np.float32)

    def step(self, action: torch.Tensor) -> Step:
        self.t += 1
        over = np.array([self.t == 7])
        obs = np.full((1, 1), self.t, dtype=np.float32)
        terminated = over | (self.t % 2 == 0)
        first = self.reset() if over else obs
        return Step(obs, np.ones(1), terminated, np.zeros(1, dtype=bool), first, over)


def test_lost_lives_end_neither_the_return_nor_the_memory():
    collector = make_collector(Lives())
    batch, episodes = collector.collect(10, 0)
    assert [(e.ret, e.length, e.frame) for e in episodes] == [(7.0, 7, 7)]
    assert batch.over is not None and batch.over[:, 0].nonzero().tolist() == [[6]]
    assert batch.terminated[:, 0].nonzero().flatten().tolist() == [1, 3, 5, 6, 8]
    assert batch.flatten().obs.start[:, 0].nonzero().tolist() == [[7]]
    assert batch.hidden[:, 0].any(-1).tolist() == [False] + [True] * 6 + [False] + [True] * 2
    assert evaluate(collector.agent, collector.normalizers, Lives(), episodes=2).tolist() == [[7, 7]]


def test_whole_episodes_are_whole_games():
    batch, episodes = make_collector(Lives()).collect_episodes(2, limit=100, version=0)
    assert len(batch.reward) == 14
    assert len(episodes) == 2
