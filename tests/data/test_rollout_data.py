"""The rounds that a Session is fed with: how many, how long, from which keys."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from lightning import Callback

from slm_lightning.data.rollout_data import RolloutData
from slm_lightning.envs.gym_backend import GymVectorEnv
from slm_lightning.session import Session
from tests.conftest import Run, assert_equal, make_spec, train
from tests.envs.probes import probe


def run_counter(memory: str = "OnPolicyBatchReplay", num_envs: int = 2, **env) -> Run:
    name = "PPO" if memory == "OnPolicyBatchReplay" else "Reinforce"
    key = "time_horizon" if name == "PPO" else "training_frequency"
    algorithm = {"name": name, key: 8 if name == "PPO" else 3}
    return train(make_spec(algorithm, probe("Counter", num_envs=num_envs, **env), memory=memory))


@pytest.mark.parametrize(
    ("max_frame", "rounds"),
    [(16, 1), (31, 1), (32, 2), (100, 6)],  # a round is 8 steps of 2 sub-environments
)
def test_a_round_is_never_cut_short(max_frame, rounds):
    run = run_counter(max_frame=max_frame)
    assert run.data.rounds == run.session.version == rounds
    assert run.data.frame == 16 * rounds
    assert run.data.finished


def test_a_budget_below_one_round_trains_nothing():
    run = run_counter(max_frame=15)
    assert run.data.rounds == run.data.frame == 0


def test_an_episodic_round_is_whole_episodes_but_for_the_last():
    run = run_counter("OnPolicyReplay", num_envs=1, length=4, max_frame=30)
    # rounds of three episodes of 4 frames: 12, 12, and the 6 that are left
    assert (run.data.rounds, run.data.frame) == (3, 30)
    assert [episode.frame for episode in run.episodes] == [4, 8, 12, 16, 20, 24, 28]


def test_a_round_knows_where_it_began():
    run = run_counter(max_frame=100)
    assert run.data.round_start == run.data.frame - 16


class Learned(Callback):
    """The rounds learned by the end of each batch."""

    def __init__(self) -> None:
        self.rounds: list[int] = []

    def on_train_batch_end(self, trainer: Any, session: Session, *args: Any) -> None:
        self.rounds.append(session.version)


def short_rounds(name: str, log_frequency: int, callbacks: Sequence[Callback] = ()) -> Run:
    """Rounds of 16 frames (DQN: of 4)."""
    algorithm = {"name": name, **({"time_horizon": 8} if name == "PPO" else {})}
    spec = make_spec(algorithm, {"name": "CartPole-v1", "num_envs": 2, "max_frame": 224})
    meta = spec.meta.model_copy(update={"log_frequency": log_frequency})
    return train(spec.model_copy(update={"meta": meta}), callbacks=callbacks)


def test_short_rounds_come_together_until_a_row_is_due():
    learned = Learned()
    short_rounds("PPO", 96, [learned])
    assert learned.rounds == [6, 12, 14]  # a row is due after rounds 6 and 12


def test_but_not_too_many_of_them(monkeypatch):
    monkeypatch.setattr("slm_lightning.data.rollout_data.TOGETHER", 17)
    learned = Learned()
    short_rounds("DQN", 10_000, [learned])
    assert max(end - start for start, end in pairwise([0, *learned.rounds])) == 17


@pytest.mark.parametrize("name", ["PPO", "DQN"])
def test_what_comes_together_changes_no_number(name):
    one, other = short_rounds(name, 1), short_rounds(name, 10_000)
    assert len(one.metrics) > len(other.metrics)
    assert one.metrics[-1] == other.metrics[-1]
    assert one.episodes == other.episodes
    assert_equal(one.parameters, other.parameters)


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
