"""The blocks that a Session is fed with: how many rounds, how long, from which keys."""

from __future__ import annotations

import pytest

from slm_lightning.data.rollout_data import RolloutData
from slm_lightning.envs.gym_backend import GymVectorEnv
from slm_lightning.session import Session
from tests.conftest import Run, make_spec, train
from tests.envs.probes import probe


def run_counter(memory: str = "OnPolicyBatchReplay", num_envs: int = 2, **env) -> Run:
    name = "PPO" if memory == "OnPolicyBatchReplay" else "Reinforce"
    key = "time_horizon" if name == "PPO" else "training_frequency"
    algorithm = {"name": name, key: 8 if name == "PPO" else 3}
    return train(make_spec(algorithm, probe("Counter", num_envs=num_envs, **env), memory=memory))


@pytest.mark.parametrize(
    ("max_frame", "rounds", "blocks"),
    [(16, 1, 1), (31, 1, 1), (32, 2, 1), (100, 6, 3)],  # a round is 8 steps of 2 sub-environments
)
def test_a_round_is_never_cut_short(max_frame, rounds, blocks):
    run = run_counter(max_frame=max_frame)
    assert (run.session.version, run.data.blocks) == (rounds, blocks)
    assert run.data.frame == 16 * rounds
    assert run.data.finished


def test_a_budget_below_one_round_trains_nothing():
    run = run_counter(max_frame=15)
    assert run.data.blocks == run.data.frame == 0


def test_an_episodic_round_is_whole_episodes_but_for_the_last():
    run = run_counter("OnPolicyReplay", num_envs=1, length=4, max_frame=30)
    # rounds of three episodes of 4 frames: 12, 12, and the 6 that are left
    assert (run.session.version, run.data.frame) == (3, 30)
    assert [episode.frame for episode in run.episodes] == [4, 8, 12, 16, 20, 24, 28]


def test_a_round_and_a_block_know_where_they_began():
    run = run_counter(max_frame=100)  # six rounds, two a block
    assert run.data.round_start == run.data.frame - 16
    assert run.data.block_start == run.data.frame - 32


def test_metrics_of_a_block_are_means_over_its_rounds(monkeypatch):
    of_rounds = []
    learn = Session.learn

    def kept(self, batch):
        of_rounds.append(learn(self, batch))
        return of_rounds[-1]

    monkeypatch.setattr(Session, "learn", kept)
    run = run_counter(max_frame=100)
    assert len(of_rounds) == 6 and len(run.metrics) == 3
    for key, mean in run.metrics[1].items():
        assert mean == pytest.approx(float(of_rounds[2][key] + of_rounds[3][key]) / 2)


@pytest.mark.parametrize("fails", [False, True])
def test_the_environment_is_closed_in_the_end(fails, monkeypatch):
    closed = []
    monkeypatch.setattr(GymVectorEnv, "close", lambda self: closed.append(1))
    if fails:
        monkeypatch.setattr(RolloutData, "collect", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_counter()
    else:
        run_counter()
    assert closed
