"""The session's side: a Job becomes a trained agent in its folder."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable
from pathlib import Path

from lightning import Trainer
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.utilities.exceptions import SIGTERMException

from slm_lightning.callbacks import LAST, Checkpoints, Evaluation, MetricLog, Progress
from slm_lightning.core import Keys
from slm_lightning.data.rollout_data import RolloutData
from slm_lightning.envs import make_env
from slm_lightning.lab.job import Job
from slm_lightning.lab.signals import StopSignal
from slm_lightning.registry import REGISTRY
from slm_lightning.session import Session
from slm_lightning.spec.resolve import resolve_dict


def run_session(job: Job, report: Callable[[int, float], None]) -> bool:
    """Trains one session to its budget; ``report(frame, total_reward_ma)`` is called on the way.

    Where the folder holds a ckpt-last, the session goes on from there, to the same end.

    Returns whether it finished; False after a SIGTERM or SIGINT, which end it at the next round.
    """
    quiet()
    spec = resolve_dict(job.spec, REGISTRY)
    keys = Keys(spec.meta.seed, job.trial, job.session)
    stop = StopSignal()
    env = make_env(spec.env, keys, render_mode="human" if job.render else None)
    session = Session.build(spec, env.info, keys)
    data = RolloutData(spec, keys, env)
    folder = Path(job.folder)
    log = MetricLog(spec, folder / "metrics.jsonl")
    trainer = make_trainer(
        job.device,
        callbacks=[
            Evaluation(spec, keys),
            log,
            Progress(log, report, stop),
            Checkpoints(folder / "checkpoints", log),
        ],
        detect_anomaly=job.debug,
    )
    last = folder / "checkpoints" / LAST
    with stop, contextlib.suppress(SIGTERMException):  # Lightning's own way out, after our callbacks
        trainer.fit(
            session, datamodule=data, ckpt_path=last if last.is_file() else None, weights_only=True
        )
    return data.finished


def make_trainer(device: str, **options) -> Trainer:
    """Lightning's Trainer as a session uses it: one pass over the rounds, nothing of its own."""
    kind, _, index = device.partition(":")
    return Trainer(
        accelerator="cpu" if kind == "cpu" else "gpu",
        devices=1 if kind == "cpu" else [int(index or 0)],
        plugins=[LightningEnvironment()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        max_epochs=1,
        **options,
    )


def quiet() -> None:
    """Lightning's remarks about GPUs and products are not news to a lab."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
