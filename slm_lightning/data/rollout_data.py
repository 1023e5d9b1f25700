"""The rollout DataModule: every batch is a round of fresh experience, made on the training device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from lightning import LightningDataModule

from slm_lightning.core import Batch, Keys, Stream, VectorEnv
from slm_lightning.data.collector import Collector, Episode
from slm_lightning.spec.model import Spec


class RolloutData(LightningDataModule):
    """Feeds a Session with rounds until the frame budget is spent; a round is never cut short.

    One pass over the loader is the whole training. A round begins by restarting the global random
    generators from its own key, so a draw made between rounds cannot shift the next one.
    """

    def __init__(self, spec: Spec, keys: Keys, env: VectorEnv):
        super().__init__()
        self.spec, self.keys, self.env = spec, keys, env
        self.collector: Collector | None = None
        self.restored: dict[str, Any] | None = None
        self.rounds = 0
        self.round_start = 0
        """Frame at which the latest round began."""
        self.episodes: list[Episode] = []
        """Episodes that ended in the latest round."""

    @property
    def frame(self) -> int:
        """Frames collected so far."""
        return self.collector.frame if self.collector else 0

    @property
    def finished(self) -> bool:
        """No further round fits the budget."""
        return self._steps_left() < self._least_steps()

    def _steps_left(self) -> int:
        return (self.spec.env.max_frame - self.frame) // self.env.info.num_envs

    def _least_steps(self) -> int:
        return 1 if self.spec.agent.memory.whole_episodes else self.spec.agent.algorithm.horizon

    def train_dataloader(self) -> RoundLoader:
        assert self.trainer is not None
        session: Any = self.trainer.lightning_module
        device = self.trainer.strategy.root_device
        self.collector = Collector(self.env, session.agent, session.normalizers, device, self.restored)
        return RoundLoader(self)

    def collect(self) -> Batch | None:
        """The next round, or None when less than a round is left of the budget."""
        assert self.collector is not None and self.trainer is not None
        if self.finished:
            return None
        horizon = self.spec.agent.algorithm.horizon
        self.round_start = self.frame
        version = cast(int, self.trainer.lightning_module.version)
        self.keys.seed_generators(Stream.BLOCK, self.rounds)
        if self.spec.agent.memory.whole_episodes:
            limit = self._steps_left()
            batch, self.episodes = self.collector.collect_episodes(horizon, limit, version)
        else:
            batch, self.episodes = self.collector.collect(horizon, version)
        self.rounds += 1
        return batch

    def state_dict(self) -> dict[str, Any]:
        assert self.collector is not None
        return {"rounds": self.rounds, "collector": self.collector.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rounds, self.restored = state_dict["rounds"], state_dict["collector"]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch  # it was made there

    def teardown(self, stage: str) -> None:
        self.env.close()

    def on_exception(self, exception: BaseException) -> None:
        self.env.close()  # Lightning does not tear down after an exception


class RoundLoader:
    """The rounds as Lightning wants them: sized, because it fetches one item ahead from an iterable
    without a length, and a rollout fetched ahead would be one policy late."""

    def __init__(self, data: RolloutData):
        self.data = data

    def __len__(self) -> int:
        return self.data.spec.env.max_frame  # an upper bound; the iterator knows where to stop

    def __iter__(self) -> Iterator[Batch]:
        while (batch := self.data.collect()) is not None:
            yield batch
