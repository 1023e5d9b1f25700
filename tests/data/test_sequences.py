"""Sequences out of a replay memory: whole, in order, and with what the agent remembered."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from slm_lightning.algorithms import algorithms
from slm_lightning.core import Keys, Stream
from slm_lightning.data.collector import Collector
from slm_lightning.data.memory import MEMORIES
from slm_lightning.data.replay import ReplayMemory, make_memory
from slm_lightning.envs import make_env
from slm_lightning.rl.normalizers import Normalizers
from tests.conftest import PRIORITIZED, REPLAY, make_spec
from tests.envs.probes import probe
from tests.support import equal

L, N = 4, 3
RNN = {"type": "RecurrentNet", "cell_type": "LSTM", "rnn_hidden_size": 6, "seq_len": L}
CPU = torch.device("cpu")


def played(steps: int, **keys: Any) -> tuple[ReplayMemory, Collector]:
    """A memory after so many vector steps of Counter, whose episodes have six."""
    memory = REPLAY | {"max_size": 60, "batch_size": 50} | keys
    spec = make_spec("DQN", probe("Counter", num_envs=N, length=6), net=RNN, memory=memory)
    env = make_env(spec.env, Keys(0))
    Keys(0).seed_generators(Stream.INIT)
    agent = algorithms()["DQN"].build(spec.agent, env.info)
    collector = Collector(env, agent, Normalizers(spec.env, env.info.obs_shape, 0.9), CPU)
    section = MEMORIES[memory["name"]](**memory)
    replay = make_memory(section, env.info, torch.float32, 0.9, CPU, L, agent.hidden_size)
    for first in range(0, steps, 7):
        replay.add(collector.collect(min(7, steps - first), 0)[0])
    return replay, collector


@pytest.mark.parametrize("memory", [REPLAY, PRIORITIZED], ids=lambda memory: memory["name"])
@pytest.mark.parametrize("steps", [4, 9, 20, 33, 50])
def test_every_sequence_is_whole_and_in_order(memory, steps):
    """Also where the ring has come round; Counter shows its episode's number and its steps."""
    sample = played(steps, **memory | {"batch_size": 50, "max_size": 60})[0].sample(2)
    assert sample.reward.shape == sample.weight.shape == sample.place.shape == (2, L * 50)
    for minibatch in sample.minibatches():
        seen, after = minibatch.obs, minibatch.next_obs
        assert seen.obs.shape == (L, 50, 2)
        steps_of, episode = seen.obs[..., 1], seen.obs[..., 0]
        assert torch.equal(steps_of[1:], (steps_of[:-1] + 1) % 6)
        assert torch.equal(after.next_obs[..., 1], steps_of + 1)
        assert torch.equal(after.next_obs[..., 0], episode)
        assert torch.equal(seen.start[1:], steps_of[1:] == 0)
        assert torch.equal(episode[1:] != episode[:-1], seen.start[1:])
        assert torch.equal(minibatch.terminated, (steps_of == 5).flatten())
        assert torch.equal(minibatch.reward, minibatch.action.float())  # Counter rewards the action


def test_sequences_are_shorter_while_the_recording_is():
    sample = played(2)[0].sample(1)
    assert sample.reward.shape == (1, 2 * 50)


@pytest.mark.parametrize("steps", [9, 33])
def test_a_sequence_goes_on_from_what_was_remembered(steps):
    """The net is still the one that acted, so that its states are those that were kept."""
    replay, collector = played(steps)
    (minibatch,) = replay.sample(1).minibatches()
    states = collector.agent.q.net.body.unroll(minibatch.obs).view(L, 50, -1)
    assert replay.sequences is not None
    row, env = minibatch.place.view(L, 50) // N, minibatch.place.view(L, 50) % N
    kept = replay.sequences.hidden[row, env]
    goes_on = ~minibatch.obs.start[1:]
    assert_close(states[:-1][goes_on], kept[1:][goes_on])
    assert_close(minibatch.obs.hidden, kept[0])
    assert not kept[minibatch.obs.obs[..., 1] == 0].any()


def test_every_transition_can_be_drawn():
    replay, _ = played(33)
    torch.manual_seed(0)
    drawn = replay.sample(20).place
    assert len(drawn.unique()) == len(replay) == 60
    last = drawn.view(20, L, 50)[:, -1]
    first_steps = torch.arange(replay.tail, replay.tail + L - 1) % replay.steps
    assert not torch.isin(last // N, first_steps).any()  # these have less than L before them


def test_the_newest_transitions_are_the_ends_of_sequences():
    replay, _ = played(9, use_cer=True)
    index = replay.sample(1).place.view(L, 50)
    newest = torch.arange(replay.head * N - 1, -1, -1)
    enough_before = newest >= (L - 1) * N
    assert torch.equal(index[-1, -27:][enough_before], newest[enough_before])


def test_priorities_are_those_of_the_steps():
    """Only one transition has any: every sequence ends with it."""
    replay, _ = played(9, **PRIORITIZED | {"alpha": 1.0, "epsilon": 0.0, "batch_size": 8})
    index = torch.arange(27)[None]
    replay.feedback(index, torch.where(index == 5 * N + 1, 1.0, 0.0))
    drawn = replay.sample(1).place.view(L, 8)
    assert torch.equal(drawn, (torch.arange(2, 6)[:, None] * N + 1).expand(L, 8))


def test_sequences_travel_in_the_checkpoint():
    one, other = played(33)[0], played(0)[0]
    other.load_state_dict(one.state_dict())
    other.put(one.rows())
    assert equal(one.state_dict(), other.state_dict())
    assert equal(one.rows(), other.rows())
    samples = []
    for replay in (one, other):
        torch.manual_seed(0)
        (minibatch,) = replay.sample(1).minibatches()
        samples.append([minibatch.reward, *(vars(minibatch.next_obs).values())])
    assert all(torch.equal(a, b) for a, b in zip(*samples))
