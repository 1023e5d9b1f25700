"""Stopped between any two rounds and resumed equals never stopped, bit for bit, for every algorithm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback

from slm_lightning.algorithms import algorithms
from slm_lightning.spec.model import MetaParams, Spec
from tests.conftest import PAST, PRIORITIZED, REPLAY, make_spec, train
from tests.support import equal

SCHEDULE = {"name": "LinearToZero", "frame": 1000}
OFTEN = MetaParams(log_frequency=50)
"""A row ends what comes together of short rounds, so that there is somewhere to stop."""
RECURRENT = {"type": "RecurrentNet", "cell_type": "LSTM", "rnn_hidden_size": 8, "seq_len": 5}
CASES: dict[str, Spec] = {
    **{
        name: make_spec(name, env, net={"lr_scheduler_spec": SCHEDULE, "clip_grad_val": 1.0})
        for name, cls in algorithms().items()
        for env in ["CartPole-v1" if "discrete" in cls.actions else "Pendulum-v1"]
    },
    "continuous PPO with normalisers": make_spec(
        "PPO", {"name": "Pendulum-v1", "normalize_obs": True, "normalize_reward": True}
    ),
    "past episodes longer than a rollout": make_spec(
        {"name": "SIL", "training_frequency": 4},
        {"name": "CartPole-v1", "num_envs": 3},
        memory=PAST | {"name": "OnPolicyBatchReplay", "sil_replay_name": "PrioritizedReplay"},
    ),
    "prioritized, combined, 3-step": make_spec(
        "DoubleDQN", memory=PRIORITIZED | {"use_cer": True, "num_step_returns": 3}
    ),
    "a memory that is full": make_spec(
        {"name": "DQN", "training_frequency": 8},
        {"name": "CartPole-v1", "max_frame": 400, "num_envs": 3, "normalize_obs": True},
        net={"update_type": "polyak", "polyak_coef": 0.05, "optim_spec": {"name": "AdamW"}},
        memory=REPLAY | {"max_size": 100},
    ),
    **{
        f"{name} that remembers": make_spec(name, "CartPole-v1", RECURRENT, memory=memory)
        for name, memory in (("ActorCritic", None), ("DQN", REPLAY), ("DoubleDQN", PRIORITIZED))
    },
}


class Keep(Callback):
    """Saves a checkpoint after a batch, the first that ends with the round given or behind it; and at
    the end."""

    def __init__(self, folder: Path, rounds: int = 0):
        self.folder, self.rounds = folder, rounds
        self.saved = 0
        """The round behind which that was."""

    def on_train_batch_end(self, trainer: Any, session: Any, *rest: Any) -> None:
        if session.data.rounds >= self.rounds > self.saved:
            self.saved = session.data.rounds
            trainer.save_checkpoint(self.folder / "middle.ckpt")
        if session.data.finished:
            trainer.save_checkpoint(self.folder / "end.ckpt")

    def end(self) -> dict[str, Any]:
        state = torch.load(self.folder / "end.ckpt", weights_only=True)
        return {key: value for key, value in state.items() if key not in ("loops", "callbacks")}


@pytest.mark.parametrize("name", CASES)
def test_resumed_equals_never_stopped(name, tmp_path):
    spec = CASES[name].model_copy(update={"meta": OFTEN})
    folders = [tmp_path / "whole", tmp_path / "resumed"]
    for folder in folders:
        folder.mkdir()
    whole, resumed = Keep(folders[0]), Keep(folders[1])
    rounds = train(spec, callbacks=[whole]).data.rounds
    assert rounds >= 2
    whole.rounds = -(-rounds // 2)
    train(spec, callbacks=[whole])
    run = train(spec, callbacks=[resumed], checkpoint=folders[0] / "middle.ckpt")
    assert whole.saved < run.data.rounds == rounds
    assert equal(whole.end(), resumed.end())
