"""What Lightning and the record cost over a bare loop, on the work W1.

    python -m benchmarks.overhead [--frames 100000] [--pairs 5] [--write]

Bare: the same agent, environment, seeds and updates in a plain for loop. Full: Lightning's Trainer with
the rows, checkpoints and progress of a session, and the delivery of its rows to MLflow. Both train the
same numbers in the same process, in turns; times are CPU seconds from the end of the second round on,
when all is compiled. The evaluation of the final policy, which the bare loop does not have, is left
out.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from lightning import Trainer

from benchmarks.measure.page import command, machine, spread, table, write
from benchmarks.measure.training import train
from benchmarks.measure.works import WORKS
from slm_lightning.callbacks.after_round import AfterRound
from slm_lightning.core import Keys, Stream
from slm_lightning.data.collector import Collector
from slm_lightning.data.rollout_data import RolloutData
from slm_lightning.envs import make_env
from slm_lightning.lab.running.worker import quiet
from slm_lightning.registry import REGISTRY
from slm_lightning.session import Session
from slm_lightning.spec.load import load_spec
from slm_lightning.spec.model import Spec
from slm_lightning.spec.resolve import resolve
from slm_lightning.tracking import Record, flatten

WARM_ROUNDS = 2


class WarmFrom(AfterRound):
    """Knows when the warm rounds had ended."""

    def after_round(self, trainer: Trainer, session: Session, data: RolloutData) -> None:
        if data.rounds == WARM_ROUNDS:
            self.time = time.process_time()


def bare(spec: Spec) -> float:
    """Collect, learn, repeat; CPU seconds of it."""
    keys, horizon = Keys(spec.meta.seed), spec.agent.algorithm.horizon
    env = make_env(spec.env, keys)
    session = Session.build(spec, env.info, keys)
    session.configure_optimizers()
    collector = Collector(env, session.agent, session.normalizers, torch.device("cpu"))
    start = 0.0
    for block in range(spec.env.max_frame // (horizon * spec.env.num_envs)):
        if block == WARM_ROUNDS:
            start = time.process_time()
        keys.seed_generators(Stream.BLOCK, block)
        batch, _ = collector.collect(horizon, block)
        session.agent.frame, session.agent.round_start = collector.frame, block * batch.reward.numel()
        session.agent.learn(batch, session.optimize)
    env.close()
    return time.process_time() - start


def full(spec: Spec, folder: Path) -> float:
    """The same under Lightning, with rows and checkpoints."""
    warm = WarmFrom()
    train(spec, folder, callbacks=(warm,))
    return time.process_time() - warm.time


def delivered(spec: Spec) -> tuple[float, float]:
    """CPU seconds of a full run, and of carrying its rows into MLflow."""
    with tempfile.TemporaryDirectory() as root:
        record = Record(Path(root))
        run_id = record.create_run(
            experiment=spec.name,
            name=spec.name,
            kind="session",
            parent=None,
            tags={},
            params=flatten(spec.to_dict()),
        )
        training = full(spec, record.folder(run_id))
        return training, seconds(lambda: record.deliver(run_id, final=True))


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process for ``work()``."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="Write docs/performance.md.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    quiet()
    spec = resolve(load_spec(WORKS["W1"].path, overrides={"env.max_frame": arguments.frames}), REGISTRY)
    plain, lightning, record = [], [], []
    for pair in range(arguments.pairs):
        if pair % 2:
            training, delivery = delivered(spec)
        plain.append(bare(spec))
        if not pair % 2:
            training, delivery = delivered(spec)
        lightning.append(100 * (training / plain[-1] - 1))
        record.append(100 * delivery / plain[-1])
        print(
            f"pair {pair}: bare {plain[-1]:.2f} s, Lightning, rows and checkpoints {training:.2f} s "
            f"({lightning[-1]:+.1f} %), delivery to MLflow {delivery:.2f} s (+{record[-1]:.1f} %)",
            flush=True,
        )
    rows = [
        ["bare loop, CPU seconds", spread(plain)],
        ["Lightning, rows and checkpoints, % more", spread(lightning, 1)],
        ["delivery to MLflow, % more", spread(record, 1)],
    ]
    text = table(["", "median (least–most)"], rows)
    print(text)
    if arguments.write:
        write("overhead", f"`{command()}`, on {machine()}\n\n{text}")


if __name__ == "__main__":
    main()
