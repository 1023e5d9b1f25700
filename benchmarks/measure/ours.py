"""Trains one work with SLM Lightning and prints what it took: one measurement, in a process of its own.

    python -m benchmarks.measure.ours WORK VARIANT SEED FRAMES [DEVICE]

VARIANT is a name of the work's variants, or empty. The last line is JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from statistics import mean

import torch

from benchmarks.measure.training import LATEST, train
from benchmarks.measure.works import WORKS, Work
from slm_lightning.core import Keys, Stream
from slm_lightning.data.evaluate import evaluate
from slm_lightning.envs import make_env
from slm_lightning.lab.running.worker import quiet
from slm_lightning.registry import REGISTRY
from slm_lightning.session import Session
from slm_lightning.spec.load import load_spec
from slm_lightning.spec.model import Spec
from slm_lightning.spec.resolve import resolve


def spec_of(work: Work, variant: str, seed: int, frames: int) -> Spec:
    """The spec of a work, with another seed and budget."""
    settings = work.settings(variant) | {"meta.seed": seed, "env.max_frame": frames}
    return resolve(load_spec(work.path, overrides=settings), REGISTRY)


def greedy(spec: Spec, session: Session) -> float:
    """Mean return of as many greedy episodes as training episodes count."""
    env = make_env(spec.env, Keys(spec.meta.seed), Stream.EVAL, num_envs=LATEST)
    try:
        return float(evaluate(session.agent, session.normalizers, env).mean())
    finally:
        env.close()


def main() -> None:
    torch.set_num_threads(1)
    quiet()
    work, variant, seed, frames, device = [*sys.argv[1:], "cpu"][:5]
    spec = spec_of(WORKS[work], variant, int(seed), int(frames))
    with tempfile.TemporaryDirectory() as folder:
        trained = train(spec, Path(folder), device)
    answer = {
        "frames": trained.frames,
        "wall": trained.cost.wall,
        "cpu": trained.cost.cpu,
        "training": mean(trained.returns) if trained.returns else None,
        "greedy": greedy(spec, trained.session) if WORKS[work].scored else None,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
