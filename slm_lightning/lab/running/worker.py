"""The session's side: a Job becomes a trained agent in its folder."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.pytorch.plugins.environments import LightningEnvironment

from slm_lightning.callbacks import (
    Checkpoints,
    Evaluation,
    MetricLog,
    Progress,
    newest_whole,
)
from slm_lightning.core import Keys
from slm_lightning.data.checkpoint_files import RESUME
from slm_lightning.data.rollout_data import RolloutData
from slm_lightning.data.segments import Segments
from slm_lightning.data.workers import Workers
from slm_lightning.envs import make_env
from slm_lightning.lab.crash import crashes_told
from slm_lightning.lab.running.distributed import Together, meet
from slm_lightning.lab.running.job import Job, Outcome
from slm_lightning.lab.running.rungs import Rungs
from slm_lightning.lab.running.signals import StopSignal, held_back
from slm_lightning.registry import REGISTRY
from slm_lightning.session import Session
from slm_lightning.spec.resolve import resolve_dict


def run_session(
    job: Job,
    report: Callable[[int, float], None],
    rank: int = 0,
    warn: Callable[[str], None] = print,
) -> Outcome:
    """Trains one session to its budget; ``report(frame, total_reward_ma)`` is called on the way, and
    ``warn`` with a sentence that the user should read now.

    Where the folder holds a ckpt-last, the session goes on from there, to the same end. Several workers
    who train one model each call this with their ``rank``.

    Returns how it ended: done, pruned at a rung of the job, or stopped at the end of a round after a
    SIGTERM or SIGINT.
    """
    quiet()
    spec = resolve_dict(job.spec, REGISTRY)
    keys = Keys(spec.meta.seed, job.session, rank)
    workers, stop = Workers(rank, len(job.devices)), StopSignal()
    device, shown = job.devices[rank], job.render and workers.first
    with held_back():  # a signal to a whole job is not for the processes of environments
        env = make_env(spec.env, keys, render_mode="human" if shown else None, device=device)
    session = Session.build(spec, env.info, keys, workers)
    folder = Path(job.folder)
    segments = Segments(folder / "checkpoints" / RESUME, rank)
    data = RolloutData(spec, keys, env, workers, job.exact, segments)
    log = MetricLog(spec, folder / "metrics.jsonl")
    rungs = Rungs(job.rungs, log)
    options: dict[str, Any] = {}
    if workers.size > 1:
        options["strategy"] = Together(workers, job)
    trainer = make_trainer(
        device,
        callbacks=[
            Evaluation(spec, keys),
            log,
            rungs,
            Progress(log, report, stop, job.last_block),
            Checkpoints(folder / "checkpoints", log, warn),
        ],
        detect_anomaly=job.debug,
        **options,
    )
    notes: list[str] = []
    with stop:
        if workers.size > 1:
            meet(workers, job)
        last = newest_whole(folder / "checkpoints", workers, segments, notes.append)
        for note in notes:
            warn(note)
        if last is None or not rungs.missed_in(last):
            with crashes_told(folder):
                trainer.fit(session, datamodule=data, ckpt_path=last, weights_only=True)
    if rungs.missed:
        return Outcome("pruned", rungs.missed)
    if data.finished:
        return Outcome("done", "; ".join(notes))
    return Outcome("stopped", "; ".join(["asked to stop", *notes]))


def make_trainer(device: str, **options) -> Trainer:
    """Lightning's Trainer as a session uses it: one pass over the rounds, nothing of its own."""
    kind, _, index = device.partition(":")
    alone = "strategy" not in options
    trainer = Trainer(
        accelerator="cpu" if kind == "cpu" else "gpu",
        devices="auto" if not alone else 1 if kind == "cpu" else [int(index or 0)],
        plugins=[LightningEnvironment()] if alone else [],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        max_epochs=1,
        **options,
    )
    trainer._signal_connector.register_signal_handlers = _leave_signals  # type: ignore[method-assign]
    return trainer


def _leave_signals() -> None:
    """In place of Lightning's handler of SIGTERM, which talks to the other workers in the midst of
    whatever they and we are saying, and so brings all to a standstill; StopSignal needs no help."""


def quiet() -> None:
    """Lightning's remarks about GPUs and products are not news to a lab."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
