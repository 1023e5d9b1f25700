"""Algorithms with a net that remembers: they solve what no other can, and learn what they acted on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from slm_lightning.algorithms import algorithms
from slm_lightning.core import Batch, Keys, Sample, Sequences, Stream
from slm_lightning.data.evaluate import evaluate
from slm_lightning.envs import make_env
from slm_lightning.session import Session
from tests.algorithms.support import OBS, Recorder, info, make_batch
from tests.conftest import PRIORITIZED, make_spec, train
from tests.envs.probes import probe

RNN = {"type": "RecurrentNet", "cell_type": "GRU", "rnn_hidden_size": 24, "seq_len": 6}
LEARNING = {"clip_grad_val": 1.0, "optim_spec": {"name": "Adam", "lr": 0.01}}
NAMES = sorted(name for name, cls in algorithms().items() if cls.recurrent and cls.__name__ == name)
DECAY = {"name": "linear_decay", "start_val": 1.0, "end_val": 0.05, "end_step": 3000}
PPO = {"name": "PPO", "time_horizon": 12, "minibatch_size": 96, "training_epoch": 4, "gamma": 0.95}
DQN = {
    "name": "DoubleDQN",
    "gamma": 0.95,
    "training_frequency": 128,
    "training_iter": 8,
    "explore_var_spec": DECAY,
}
MEMORY = {"name": "Replay", "batch_size": 32, "max_size": 5000}


def score(algorithm: dict[str, Any], net: dict[str, Any], frames: int, memory: Any = None) -> float:
    """The greedy return in Cue, 1 at best, after so many frames of training there."""
    env = probe("Cue", num_envs=16, max_frame=frames)
    run = train(make_spec(algorithm, env, net | LEARNING, memory=memory))
    vector = make_env(run.data.spec.env, Keys(1), Stream.EVAL, num_envs=40)
    found = evaluate(run.session.agent, run.session.normalizers, vector).mean()
    vector.close()
    return float(found)


@pytest.mark.parametrize("cell", ["GRU", "LSTM"])
def test_ppo_remembers_the_cue(cell):
    assert score(PPO, RNN | {"cell_type": cell}, 5000) == 1.0


def test_dqn_remembers_the_cue():
    assert score(DQN, RNN, 5000, MEMORY) == 1.0


@pytest.mark.slow
def test_dqn_remembers_the_cue_with_priorities():
    assert score(DQN, RNN, 7000, PRIORITIZED | MEMORY | {"name": "PrioritizedReplay"}) == 1.0


def test_what_is_kept_reaches_further_back_than_a_sequence():
    """Of the six steps of an episode each sequence shows three."""
    assert score(DQN, RNN | {"seq_len": 3}, 16_000, MEMORY) == 1.0


def test_a_net_without_memory_cannot_solve_it():
    """Half of the episodes ask for either action, and the last observation is the same in all."""
    mlp = {"type": "MLPNet", "hid_layers": [24]}
    assert 0.2 < score(PPO, mlp, 5000) < 0.8
    assert 0.2 < score(DQN, mlp, 5000, MEMORY) < 0.8


@pytest.mark.parametrize("net", [{}, {"shared": True, "cell_type": "lstm", "rnn_num_layers": 2}])
@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_learned(name, net):
    run = train(make_spec(name, net=RNN | net))
    fresh = Session.build(run.data.spec, run.data.env.info, Keys(0)).agent.state_dict()
    for key, parameter in run.session.agent.named_parameters():
        if parameter.requires_grad:
            assert not torch.equal(parameter, fresh[key]), key


def sequence_batch() -> Batch:
    """A rollout of noise that an agent with RNN made, in which episodes end."""
    batch = make_batch(steps=6, num_envs=4)
    return batch._replace(hidden=torch.randn(6, 4, 24))


def test_ppo_draws_whole_sub_environments():
    torch.manual_seed(0)
    spec = make_spec({"name": "PPO", "minibatch_size": 13, "training_epoch": 1}, net=RNN).agent
    agent, optimize = algorithms()["PPO"].build(spec, info(num_envs=4)), Recorder()
    batch = sequence_batch()._replace(hidden=torch.randn(6, 4, 48))
    agent.learn(batch, optimize)
    minibatches = [rollout.at(index) for rollout, index, *_ in optimize.calls]
    assert [len(action) for _, action, *_ in minibatches] == [12, 12]
    columns = set()
    for obs, action, *_ in minibatches:
        assert isinstance(obs, Sequences) and obs.obs.shape == (6, 2, OBS)
        for i in range(2):
            (n,) = [n for n in range(4) if torch.equal(obs.obs[:, i], batch.obs[:, n])]
            assert torch.equal(action.view(6, 2)[:, i], batch.action[:, n])
            assert torch.equal(obs.hidden[i], batch.hidden[0, n])
            columns.add(n)
    assert columns == {0, 1, 2, 3}


def test_the_first_update_of_ppo_begins_at_the_policy_that_acted():
    """So every probability ratio is 1."""
    torch.manual_seed(0)
    spec = make_spec({"name": "PPO", "minibatch_size": 24, "training_epoch": 1}, net=RNN).agent
    agent = algorithms()["PPO"].build(spec, info(num_envs=4))
    found = agent.learn(sequence_batch()._replace(hidden=torch.randn(6, 4, 48)), Recorder())
    assert found["kl"].abs() < 1e-6 and found["clip_fraction"] == 0


def test_targets_of_dqn_are_those_of_the_successors_in_their_sequence():
    torch.manual_seed(0)
    agent = algorithms()["DQN"].build(make_spec("DQN", net=RNN).agent, info())
    obs, next_obs = torch.randn(2, 5, 3, OBS)
    start = torch.zeros(5, 3, dtype=torch.bool)
    hidden, column = torch.randn(3, 24), torch.zeros(15)
    sample = Sample(
        obs=Sequences(obs, hidden, start),
        action=column.long(),
        reward=column,
        next_obs=Sequences(obs, hidden, start, next_obs),
        terminated=torch.arange(15) % 4 == 0,
        discount=column + 0.5,
        weight=column + 1,
        place=column.long(),
    )
    y = agent.target_value(sample).view(5, 3)
    target = agent.target.net
    for t in range(5):
        longer = Sequences(
            torch.cat([obs[: t + 1], next_obs[t][None]]), hidden, start[:1].expand(t + 2, 3)
        )
        best = target(longer).amax(-1).view(t + 2, 3)[-1]
        terminated = sample.terminated.view(5, 3)[t]
        assert_close(y[t], torch.where(terminated, 0.0, 0.5 * best))
