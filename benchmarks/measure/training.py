"""One training of ours, in this process, with nothing around it but what every session has."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import NamedTuple

from lightning import Callback, Trainer

from benchmarks.measure.clocks import Cost, cost_of
from slm_lightning.callbacks import Checkpoints, MetricLog, Progress
from slm_lightning.callbacks.after_round import AfterRound
from slm_lightning.core import Keys
from slm_lightning.data.checkpoint_files import RESUME
from slm_lightning.data.rollout_data import RolloutData
from slm_lightning.data.segments import Segments
from slm_lightning.envs import make_env
from slm_lightning.lab.running.worker import make_trainer
from slm_lightning.session import Session
from slm_lightning.spec.model import Spec

LATEST = 20
"""Training episodes of which a score is the mean return."""


class Latest(AfterRound):
    """Keeps the returns of the latest training episodes."""

    def __init__(self) -> None:
        self.returns: deque[float] = deque(maxlen=LATEST)

    def after_round(self, trainer: Trainer, session: Session, data: RolloutData) -> None:
        self.returns.extend(episode.ret for episode in data.episodes)


class Trained(NamedTuple):
    """A session that has ended."""

    session: Session
    frames: int
    cost: Cost
    """Of ``Trainer.fit`` alone."""
    returns: list[float]
    """Of the latest training episodes."""


def train(
    spec: Spec, folder: Path, device: str = "cpu", callbacks: tuple[Callback, ...] = ()
) -> Trained:
    """Trains ``spec`` as a session does, with rows and checkpoints in ``folder``; the evaluation of the
    final policy is left to whoever wants it."""
    keys = Keys(spec.meta.seed)
    env = make_env(spec.env, keys, device=device)
    session = Session.build(spec, env.info, keys)
    data = RolloutData(spec, keys, env, segments=Segments(folder / "checkpoints" / RESUME))
    log, latest = MetricLog(spec, folder / "metrics.jsonl"), Latest()
    trainer = make_trainer(
        device,
        callbacks=[
            latest,
            *callbacks,
            log,
            Progress(log, lambda *_: None, lambda: False),
            Checkpoints(folder / "checkpoints", log),
        ],
    )
    cost = cost_of(lambda: trainer.fit(session, datamodule=data))
    return Trained(session, data.frame, cost, list(latest.returns))
