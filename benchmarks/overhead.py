"""What Lightning and the record cost over a bare loop, on the work W1.

    python -m benchmarks.overhead [--frames 100000] [--pairs 5] [--write]

Bare: the same agent, environment, seeds and updates in a plain for loop. Full: Lightning's Trainer with
the rows, checkpoints and progress of a session, and the delivery of its rows to MLflow. Both train the
same numbers in the same process, in turns; times are CPU seconds from the end of the second round on,
when all is compiled. On a busy machine they differ by more than is sought, so the full run is also held
against what collecting and learning took within it. The evaluation of the final policy, which the bare
loop does not have, is left out.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer

from benchmarks.measure.arguments import count
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


class Inner(AfterRound):
    """Takes what collecting and learning cost within a training, from the end of the warm rounds on."""

    cpu = start = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Session)
        agent: Any = pl_module.agent
        collector: Any = pl_module.data.collector
        agent.learn, collector.collect = self.timed(agent.learn), self.timed(collector.collect)

    def timed(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """``work``, whose CPU seconds count."""

        def call(*args: Any) -> Any:
            start = time.process_time()
            result = work(*args)
            self.cpu += time.process_time() - start
            return result

        return call

    def after_round(self, trainer: Trainer, session: Session, data: RolloutData) -> None:
        if data.rounds == WARM_ROUNDS:
            self.start, self.cpu = time.process_time(), 0.0


def bare(spec: Spec) -> float:
    """Collect, learn, repeat; CPU seconds of it."""
    torch.compiler.reset()  # what earlier trainings have compiled is not to be asked whether it fits
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


def full(spec: Spec, folder: Path) -> tuple[float, float]:
    """The same under Lightning, with rows and checkpoints; CPU seconds of all, and of collecting and
    learning alone."""
    torch.compiler.reset()
    inner = Inner()
    train(spec, folder, callbacks=(inner,))
    return time.process_time() - inner.start, inner.cpu


def delivered(spec: Spec) -> tuple[float, float, float]:
    """What ``full`` took, and CPU seconds of carrying its rows into MLflow."""
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
        training, inner = full(spec, record.folder(run_id))
        return training, inner, seconds(lambda: record.deliver(run_id, final=True))


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process for ``work()``."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=count, default=100_000, help="Of each training.")
    parser.add_argument("--pairs", type=count, default=5, help="Times that all is measured, in turns.")
    parser.add_argument("--write", action="store_true", help="Write docs/performance.md.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    quiet()
    spec = resolve(load_spec(WORKS["W1"].path, overrides={"env.max_frame": arguments.frames}), REGISTRY)
    plain, lightning, within, record = [], [], [], []
    for pair in range(arguments.pairs):
        if pair % 2:
            training, inner, delivery = delivered(spec)
        plain.append(bare(spec))
        if not pair % 2:
            training, inner, delivery = delivered(spec)
        lightning.append(100 * (training / plain[-1] - 1))
        within.append(100 * (training / inner - 1))
        record.append(100 * delivery / inner)
        print(
            f"pair {pair}: bare {plain[-1]:.2f} s, Lightning, rows and checkpoints {training:.2f} s "
            f"({lightning[-1]:+.1f} %; {within[-1]:+.1f} % over its own collecting and learning), "
            f"delivery to MLflow {delivery:.2f} s (+{record[-1]:.1f} %)",
            flush=True,
        )
    rows = [
        ["bare loop, CPU seconds", spread(plain)],
        ["Lightning, rows and checkpoints, % more", spread(lightning, 1)],
        ["the same, % over what collecting and learning took in it", spread(within, 1)],
        ["delivery to MLflow, % more", spread(record, 1)],
    ]
    text = table(["", "median (least–most)"], rows)
    print(text)
    if arguments.write:
        write("overhead", f"`{command()}`, on {machine()}\n\n{text}")


if __name__ == "__main__":
    main()
