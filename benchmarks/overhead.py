"""What Lightning and the record cost over a bare loop, on the PPO CartPole spec.

    python benchmarks/overhead.py [--frames 50000] [--pairs 5]

Bare: the same agent, environment, seeds and updates in a plain for loop. Full: Lightning's Trainer with
the rows, checkpoints and progress of a session, and the delivery of its rows to MLflow. Both train the
same numbers in the same process, alternating; times are CPU seconds. The evaluation of the final
policy, which the bare loop does not have, is left out of both.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from slm_lightning.callbacks import Checkpoints, MetricLog, Progress
from slm_lightning.core import Keys, Stream
from slm_lightning.data.collector import Collector
from slm_lightning.data.rollout_data import RolloutData
from slm_lightning.envs import make_env
from slm_lightning.lab.running.worker import make_trainer, quiet
from slm_lightning.registry import REGISTRY
from slm_lightning.session import Session
from slm_lightning.spec.load import load_spec
from slm_lightning.spec.model import Spec
from slm_lightning.spec.resolve import resolve
from slm_lightning.tracking import Record, flatten

SPEC = Path(__file__).parent.parent / "specs" / "ppo" / "cartpole.json"


def bare(spec: Spec) -> Session:
    """Collect, learn, repeat."""
    keys, horizon = Keys(spec.meta.seed), spec.agent.algorithm.horizon
    env = make_env(spec.env, keys)
    session = Session.build(spec, env.info, keys)
    session.configure_optimizers()
    collector = Collector(env, session.agent, session.normalizers, torch.device("cpu"))
    for block in range(spec.env.max_frame // (horizon * spec.env.num_envs)):
        keys.seed_generators(Stream.BLOCK, block)
        batch, _ = collector.collect(horizon, block)
        session.agent.frame = collector.frame
        session.agent.learn(batch, session.optimize)
    env.close()
    return session


def full(spec: Spec, folder: Path) -> Session:
    """The same under Lightning, with rows and checkpoints."""
    keys = Keys(spec.meta.seed)
    env = make_env(spec.env, keys)
    session = Session.build(spec, env.info, keys)
    log = MetricLog(spec, folder / "metrics.jsonl")
    callbacks = [
        log,
        Progress(log, lambda *_: None, lambda: False),
        Checkpoints(folder / "checkpoints", log),
    ]
    make_trainer("cpu", callbacks=callbacks).fit(session, datamodule=RolloutData(spec, keys, env))
    return session


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
        training = seconds(lambda: full(spec, record.folder(run_id)))
        return training, seconds(lambda: record.deliver(run_id, final=True))


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process for ``work()``."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=50_000)
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    quiet()
    raw = load_spec(SPEC, overrides={"env.max_frame": arguments.frames})
    spec = resolve(raw, REGISTRY)
    bare(spec.model_copy(update={"env": spec.env.model_copy(update={"max_frame": 4096})}))  # warm up
    lightning, record = [], []
    for pair in range(arguments.pairs):
        plain = seconds(lambda: bare(spec))
        training, delivery = delivered(spec)
        lightning.append(100 * (training / plain - 1))
        record.append(100 * delivery / plain)
        print(
            f"pair {pair}: bare {plain:.2f} s, Lightning with rows and checkpoints {training:.2f} s "
            f"({lightning[-1]:+.1f} %), delivery to MLflow {delivery:.2f} s (+{record[-1]:.1f} %)",
            flush=True,
        )
    print(f"median: Lightning and rows {median(lightning):+.1f} %, MLflow +{median(record):.1f} %")


if __name__ == "__main__":
    main()
