"""A Session: one training run of one agent with one seed, as a LightningModule."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from lightning import LightningModule
from torch import Tensor
from torch.optim import Optimizer

from slm_lightning.algorithms import algorithms
from slm_lightning.algorithms.agent import Agent, Info, Step
from slm_lightning.core import Batch, EnvInfo, Keys, Sample, Stream
from slm_lightning.data.rollout_data import RolloutData
from slm_lightning.data.workers import Agreement, Workers
from slm_lightning.nets.layers import look_for_hooks
from slm_lightning.rl.normalizers import Normalizers
from slm_lightning.rl.schedules import lr_schedule
from slm_lightning.spec.model import Spec
from slm_lightning.updates import CompiledStep, Loss, Updates, compiles, compiles_rollouts, prepare


class Session(LightningModule):
    """Wraps an agent; one ``training_step`` is a round of learning, from a rollout or from samples of a
    replay memory, or several short ones."""

    def __init__(
        self,
        agent: Agent,
        normalizers: Normalizers,
        workers: Workers | None = None,
        compiled: bool = False,
        precision: str = "32-true",
        compiled_rollouts: bool = False,
    ):
        super().__init__()
        self.compiled_rollouts = compiled_rollouts
        self.compiled, self.precision = compiled, precision
        self.automatic_optimization = False
        self.agent, self.normalizers = agent, normalizers
        self.workers = workers or Workers()
        agent.workers = self.workers.size
        self.learners = agent.learners()
        self.version = 0
        """Rounds learned: which policy collected a batch."""
        self.opt_step = 0
        """Optimizer steps so far."""
        self.restored_schedules: list[dict[str, Any]] = []
        self.info: Info = {}
        """Metrics of the latest round, scalars on the device."""
        self.gathered: tuple[int, dict[str, Tensor]] = -1, {}

    @classmethod
    def build(cls, spec: Spec, env: EnvInfo, keys: Keys, workers: Workers | None = None) -> Session:
        """The agent of ``spec`` for ``env``, initialised from its own key."""
        keys.seed_generators(Stream.INIT)
        algorithm = spec.agent.algorithm
        agent = algorithms()[algorithm.name].build(spec.agent, env)
        normalizers = Normalizers(spec.env, env.obs_shape, algorithm.gamma, env.mask_size)
        compiled, rollouts = compiles(spec), env.in_tensors and compiles_rollouts(spec)
        if compiled or rollouts:
            prepare()
        return cls(agent, normalizers, workers, compiled, spec.meta.precision, rollouts)

    @property
    def data(self) -> RolloutData:
        """The DataModule that feeds this session."""
        return self.trainer.datamodule  # type: ignore[attr-defined]

    @property
    def step_compiler(self) -> type[CompiledStep] | None:
        """What makes a graph of a vector step; None where it is to stay as it is."""
        return CompiledStep if self.compiled_rollouts else None

    def configure_optimizers(self) -> list[Optimizer]:
        self.updates = Updates(self.learners, self.workers, self.compiled, self.precision)
        self.optims = {name: stepper.optimizer for name, stepper in self.updates.steppers.items()}
        self.lr_schedules = [
            schedule
            for name, learner in self.learners.items()
            if (schedule := lr_schedule(self.optims[name], learner.net.lr_scheduler_spec))
        ]
        for schedule, state in zip(self.lr_schedules, self.restored_schedules):
            schedule.load_state_dict(state)
        return list(self.optims.values())

    def on_fit_start(self) -> None:
        if self.workers.size > 1:
            self.agreement = Agreement(self.workers, self.agent, self.normalizers)

    def training_step(self, batch: Iterable[Batch | Sample], batch_idx: int) -> None:
        look_for_hooks(self.agent)
        self.updates.look_again()
        for experience in batch:
            self.learn(experience)
            if not math.isfinite(self.info.get("loss", 0.0)):  # told while it is the latest
                return

    def learn(self, batch: Batch | Sample) -> None:
        """One round of learning."""
        if isinstance(batch, Batch):
            assert batch.version == self.version, "an on-policy rollout of an older policy"
        agent, data = self.agent, self.data
        for schedule in self.lr_schedules:
            schedule.step(data.round_start)
        agent.at(data.frame, data.round_start)
        with self.updates.autocast():
            info = agent.learn(batch, self.optimize)
        drawn = batch if isinstance(batch, Sample) else batch.past
        if drawn is not None and data.memory is not None and "td_error" in info:
            data.memory.feedback(drawn.place, info.pop("td_error"))
        self.info = info if self.workers.size == 1 else self.agreement.reach(info)
        self.version += 1

    def optimize(
        self, names: tuple[str, ...] | str, loss_fn: Loss, *tensors: Any, then: Sequence[Step] = ()
    ) -> Info:
        """One step of the named optimizers on ``loss_fn(*tensors) -> (loss, info)``, and those that
        follow it: see Updates."""
        names = (names,) if isinstance(names, str) else names
        self.opt_step += len(names) + sum(len(step[0]) for step in then)
        return self.updates(names, loss_fn, *tensors, then=then)

    def tensors(self) -> dict[str, Tensor]:
        """Those of ``state_dict``, which is gathered once for all who ask between two rounds."""
        if self.gathered[0] != self.version:
            self.gathered = self.version, self.state_dict()
        return self.gathered[1]

    def learning_rate(self) -> float:
        """The mean learning rate over the optimizers."""
        rates = [float(group["lr"]) for optim in self.optims.values() for group in optim.param_groups]
        return sum(rates) / max(len(rates), 1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["session"] = {
            "version": self.version,
            "opt_step": self.opt_step,
            "compiled": self.compiled,
            "compiled_rollouts": self.compiled_rollouts,
        }
        checkpoint["lr_schedules"] = [schedule.state_dict() for schedule in self.lr_schedules]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.version = checkpoint["session"]["version"]
        self.opt_step = checkpoint["session"]["opt_step"]
        self.compiled = checkpoint["session"]["compiled"]
        self.compiled_rollouts = checkpoint["session"].get("compiled_rollouts", False)
        self.restored_schedules = checkpoint["lr_schedules"]
