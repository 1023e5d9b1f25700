"""What checkpoints cost: their share of the wall time, the log of actions, and a resume.

    python -m benchmarks.checkpoints [--seconds 100]

Trains PPO on CartPole, and DQN on CartPole with a uniform and a prioritized memory that holds a million
transitions from the start. Each trains for so many seconds with the checkpoints of a session, one every
30 seconds, and is then taken up again. The million transitions are on disk before, as after a long
training; how long it takes to write them all at once is told apart.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import click
import torch
from lightning import Callback, Trainer

from slm_lightning.callbacks import Checkpoints, MetricLog, Progress, newest_whole
from slm_lightning.core import Batch, Keys
from slm_lightning.data import sealed
from slm_lightning.data.checkpoint_files import RESUME
from slm_lightning.data.rollout_data import RolloutData
from slm_lightning.data.segments import Segments
from slm_lightning.data.workers import Workers
from slm_lightning.envs import make_env
from slm_lightning.lab.running.worker import make_trainer, quiet
from slm_lightning.registry import REGISTRY
from slm_lightning.session import Session
from slm_lightning.spec.load import load_spec
from slm_lightning.spec.model import Spec
from slm_lightning.spec.resolve import resolve

SPECS = Path(__file__).parent.parent / "specs"
CAPACITY = 1_000_000
PRIORITIZED = {"name": "PrioritizedReplay", "alpha": 0.6, "epsilon": 1e-4}


class Timed(Checkpoints):
    """Notes when each checkpoint began and ended."""

    def _save(self, *arguments: Any) -> None:
        begun = time.perf_counter()
        super()._save(*arguments)
        self.times = [*getattr(self, "times", []), (begun, time.perf_counter())]


class Filled(Callback):
    """Fills an empty replay memory before the first round, on disk too; notes when that is."""

    writing = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.begun = time.perf_counter()
        data = pl_module.data
        if data.memory is not None and data.memory.head == 0:
            fill(data)
            begun = time.perf_counter()
            data.segments.write(data.memory)
            self.begun = time.perf_counter()
            self.writing = self.begun - begun


def fill(data: RolloutData) -> None:
    """A million transitions of random numbers, in episodes of 200 steps."""
    info, steps = data.env.info, 1000
    end = torch.zeros(steps, info.num_envs, dtype=torch.bool)
    end[199::200] = True
    assert data.memory is not None
    while len(data.memory) < CAPACITY - steps * info.num_envs:
        obs = torch.rand(steps + 1, info.num_envs, *info.obs_shape)
        batch = Batch(
            obs=obs[:-1],
            action=torch.zeros(steps, info.num_envs, dtype=torch.int64),
            reward=torch.ones(steps, info.num_envs),
            next_obs=obs[1:],
            terminated=end,
            truncated=torch.zeros_like(end),
            version=0,
        )
        data.memory.add(batch)


def train(spec: Spec, folder: Path, seconds: float) -> tuple[list[float], Filled, float]:
    """Trains for ``seconds``, or goes on from what is in ``folder``; the seconds that each checkpoint
    took, what was done before the first round, and the seconds until then."""
    begun = time.perf_counter()
    keys, workers = Keys(spec.meta.seed), Workers()
    env = make_env(spec.env, keys)
    segments = Segments(folder / RESUME)
    session, log = Session.build(spec, env.info, keys), MetricLog(spec, folder / "metrics.jsonl")
    filled, checkpoints = Filled(), Timed(folder, log)
    progress = Progress(log, lambda *_: None, lambda: time.perf_counter() - filled.begun > seconds)
    trainer = make_trainer("cpu", callbacks=[filled, log, progress, checkpoints])
    last = newest_whole(folder, workers, segments, print)
    data = RolloutData(spec, keys, env, workers, segments)
    trainer.fit(session, datamodule=data, ckpt_path=last, weights_only=True)
    return [end - begin for begin, end in checkpoints.times], filled, filled.begun - begun


def logged(folder: Path) -> tuple[int, int]:
    """Bytes of the log of actions in a checkpoint, and the steps that it holds."""
    collector = sealed.load(folder / "ckpt-last.ckpt")["RolloutData"]["collector"]
    log = collector["env"]["log"]
    count = sum(x.numel() * x.element_size() for x in _tensors(log))
    return count, int(collector["length"].sum())


def _tensors(state: Any) -> list[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        return [state]
    inner = state.values() if isinstance(state, dict) else state if isinstance(state, list) else ()
    return [tensor for part in inner for tensor in _tensors(part)]


def measure(name: str, spec: Spec, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        spent, filled, _ = train(spec, folder, seconds)
        wall = time.perf_counter() - filled.begun
        size = (folder / "ckpt-last.ckpt").stat().st_size / 2**20
        log, steps = logged(folder)
        resumed = train(spec, folder, 0)[2]
    print(
        f"{name}: {', '.join(f'{s:.3f}' for s in spent)} s, {100 * sum(spent) / wall:.2f} % of the "
        f"wall time; ckpt-last {size:.1f} MiB; memory written whole in {filled.writing:.2f} s; "
        f"actions {log / max(steps, 1):.1f} bytes a step; resumed in {resumed:.2f} s",
        flush=True,
    )


def spec_of(file: str, **memory: Any) -> Spec:
    overrides = {f"agent.memory.{key}": value for key, value in memory.items()}
    overrides |= {"env.max_frame": 10**9}
    return resolve(load_spec(SPECS / file, overrides=overrides), REGISTRY)


@click.command()
@click.option("--seconds", default=100.0, show_default=True, help="Of each training.")
def main(seconds: float) -> None:
    """Trains, and measures what checkpoints cost."""
    torch.set_num_threads(1)
    quiet()
    measure("PPO CartPole", spec_of("ppo/cartpole.json"), seconds)
    uniform = {"max_size": CAPACITY}
    measure("DQN CartPole, 1e6", spec_of("dqn/cartpole.json", **uniform), seconds)
    prioritized = spec_of("dqn/cartpole.json", **uniform, **PRIORITIZED)
    measure("DQN CartPole, 1e6 prioritized", prioritized, seconds)


if __name__ == "__main__":
    main()
