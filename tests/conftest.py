"""What every test shares: calm surroundings, a spec built by hand, and a short training run."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sqlite3
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import settings
from lightning import Callback, Trainer
from torch import Tensor

from slm_lightning.algorithms import algorithms
from slm_lightning.core import Keys
from slm_lightning.data.collector import Episode
from slm_lightning.data.memory import IMITATION_MEMORIES, MEMORIES
from slm_lightning.data.rollout_data import RolloutData
from slm_lightning.envs import make_env
from slm_lightning.nets.net import BODIES
from slm_lightning.session import Session
from slm_lightning.spec.model import AgentSpec, EnvParams, MetaParams, Spec

if TYPE_CHECKING:
    from slm_lightning.lab.result import Result
    from slm_lightning.tracking import Record
    from tests.hub.repositories import FakeHub
    from tests.support import Lab

if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in the background
torch.set_num_threads(1)
settings.register_profile("lab", max_examples=50, deadline=None, derandomize=True)
settings.load_profile("lab")
for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
    logging.getLogger(name).setLevel(logging.ERROR)
for text in (".*does not have many workers.*", ".*LeafSpec.*", ".*tensorboardX.*", ".*litlogger.*"):
    warnings.filterwarnings("ignore", message=text)

LONG = ("lab", "updates")
EPSILON = {"action_policy": "epsilon_greedy", "explore_var_spec": {"start_val": 0.1}}
OFF_POLICY = {"gamma": 0.99, "training_frequency": 4, "training_start_step": 32}
Q_LEARNING = {"gamma": 0.99, "training_frequency": 4, "training_iter": 2, **EPSILON}

ALGORITHMS: dict[str, dict[str, Any]] = {
    "PPO": {
        "gamma": 0.99,
        "lam": 0.95,
        "clip_eps_spec": {"start_val": 0.2},
        "entropy_coef_spec": {"start_val": 0.01},
        "val_loss_coef": 0.5,
        "time_horizon": 32,
        "minibatch_size": 32,
        "training_epoch": 4,
    },
    "ActorCritic": {
        "gamma": 0.99,
        "lam": 0.95,
        "entropy_coef_spec": {"start_val": 0.01},
        "val_loss_coef": 0.5,
        "training_frequency": 32,
    },
    "Reinforce": {
        "gamma": 0.99,
        "entropy_coef_spec": {"start_val": 0.01},
        "training_frequency": 32,
    },
    "SARSA": {"gamma": 0.99, "training_frequency": 8, **EPSILON},
    "Random": {},
    **dict.fromkeys(("VanillaDQN", "DQN", "DoubleDQN"), Q_LEARNING),
    "QRDQN": {**Q_LEARNING, "num_quantiles": 8},
    **dict.fromkeys(("SoftActorCritic", "CrossQ", "TD3"), OFF_POLICY),
}
ALGORITHMS |= {"SIL": ALGORITHMS["ActorCritic"], "PPOSIL": ALGORITHMS["PPO"]}
"""A short setting of each algorithm, which a test changes key by key."""

REPLAY = {"name": "Replay", "batch_size": 16, "max_size": 500}
PAST = {"sil_replay_name": "Replay", "batch_size": 16, "max_size": 500}
PRIORITIZED = {**REPLAY, "name": "PrioritizedReplay", "alpha": 0.6, "epsilon": 1e-4}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Folders with files that take a minute begin first, so that workers end at about the same time."""
    here = Path(__file__).parent
    items.sort(key=lambda item: item.path.relative_to(here).parts[0] not in LONG)


@pytest.fixture(autouse=True)
def isolated_surroundings(tmp_path, monkeypatch) -> None:
    """No test writes into, or reads from, the record or the tracking server of its user."""
    isolate(monkeypatch, tmp_path / "mlruns")


def isolate(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """The record is at ``root``, whatever the user's settings say."""
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "SLM_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLM_MLRUNS", str(root))


@pytest.fixture(scope="session")
def empty_record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record without runs. Made once, because MLflow takes seconds for its schema."""
    from slm_lightning.tracking import Record

    record = Record(tmp_path_factory.mktemp("empty"))
    with closing(sqlite3.connect(record.database)) as database:
        assert record.client and database.execute("pragma wal_checkpoint(truncate)").fetchone()[0] == 0
    return record.root


@pytest.fixture
def record(empty_record: Path) -> Record:
    """A record of the test's own, which is the one that the lab uses."""
    from slm_lightning.tracking import Record

    shutil.copytree(empty_record, os.environ["SLM_MLRUNS"])
    return Record()


@pytest.fixture(scope="session")
def finished_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("finished") / "mlruns"


@pytest.fixture(scope="session")
def finished(empty_record: Path, finished_root: Path) -> Result:
    """A trial of ``tests.support.TINY`` with all a user gets; its record is ``finished_record``."""
    from slm_lightning import run
    from tests.support import tiny

    shutil.copytree(empty_record, finished_root)
    with pytest.MonkeyPatch.context() as monkeypatch:
        isolate(monkeypatch, finished_root)
        return run(tiny(), say=lambda text: None)


@pytest.fixture
def finished_record(finished: Result, finished_root: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    """The record with ``finished``, which is the one that the lab uses."""
    from slm_lightning.tracking import Record

    monkeypatch.setenv("SLM_MLRUNS", str(finished_root))
    return Record()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A server that speaks as the HuggingFace Hub does, at which a user is logged in."""
    from tests.hub.account import logged_in

    yield from logged_in(tmp_path, monkeypatch)


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials end as where no browser is installed, which saves seconds."""
    from slm_lightning.lab import graphs

    monkeypatch.setattr(graphs, "write_png", lambda figs: False)


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Lab:
    """``slm-lightning`` in this process: ``lab("list", "--json")``."""
    from slm_lightning import cli
    from tests.support import Answer

    def call(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["slm-lightning", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        return Answer(int(end.value.code or 0), *capsys.readouterr())

    return call


def make_spec(
    algorithm: str | dict[str, Any] = "PPO",
    env: str | dict[str, Any] = "CartPole-v1",
    net: dict[str, Any] | None = None,
    meta: dict[str, Any] | None = None,
    memory: str | dict[str, Any] | None = None,
    critic_net: dict[str, Any] | None = None,
) -> Spec:
    """A typed spec from its sections. ``algorithm``, ``env`` and ``memory`` may be a bare name; what a
    section leaves out is filled in with something small."""
    algorithm = {"name": algorithm} if isinstance(algorithm, str) else algorithm
    env = {"name": env} if isinstance(env, str) else env
    algorithm = ALGORITHMS.get(algorithm["name"], {}) | algorithm
    kind = algorithms()[algorithm["name"]]
    small = {"type": "MLPNet", "hid_layers": [16]}
    net = net if net and "type" in net else small | (net or {})
    if memory is None:
        memory = "OnPolicyBatchReplay" if kind.on_policy else REPLAY
    memory = {"name": memory} if isinstance(memory, str) else memory
    memory = PAST | memory if kind.Params.imitates else memory
    memories = IMITATION_MEMORIES if kind.Params.imitates else MEMORIES
    return Spec(
        name="test",
        agent=AgentSpec(
            algorithm=kind.Params(**algorithm),
            memory=memories[memory["name"]](**memory),
            net=BODIES[net["type"]].Params(**net),
            critic_net=critic_net and BODIES["MLPNet"].Params(**small | critic_net),
        ),
        env=EnvParams(**{"num_envs": 2, "max_frame": 256} | env),
        meta=MetaParams(**(meta or {})),
    )


@dataclass
class Run(Callback):
    """A finished run of the Trainer, and what was seen after each of its rounds."""

    session: Session
    data: RolloutData
    metrics: list[dict[str, float]] = field(default_factory=list)
    episodes: list[Episode] = field(default_factory=list)

    def on_train_batch_end(self, *args: Any) -> None:
        self.metrics.append({key: float(value) for key, value in self.session.info.items()})
        self.episodes += self.data.episodes

    @property
    def parameters(self) -> dict[str, Tensor]:
        return {key: value.clone() for key, value in self.session.state_dict().items()}


def train(
    spec: Spec,
    keys: Keys | None = None,
    callbacks: Sequence[Callback] = (),
    accelerator: str = "cpu",
    checkpoint: Path | None = None,
) -> Run:
    """Trains ``spec`` to the end of its frames, as a session does, without any record; from
    ``checkpoint`` on where there is one."""
    keys = keys or Keys(spec.meta.seed)
    env = make_env(spec.env, keys)
    run = Run(Session.build(spec, env.info, keys), RolloutData(spec, keys, env))
    trainer = Trainer(
        accelerator=accelerator,
        devices=1,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[run, *callbacks],
    )
    trainer.fit(run.session, datamodule=run.data, ckpt_path=checkpoint, weights_only=True)
    return run


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    """Two state dicts hold the same numbers, bit for bit."""
    assert one.keys() == other.keys()
    for key in one:
        assert torch.equal(one[key], other[key]), key


@pytest.fixture
def rng() -> torch.Generator:
    """A generator of a test's own, seeded."""
    return torch.Generator().manual_seed(0)
