"""The rollout DataModule: fresh experience in rounds, made on the training device."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import astuple
from typing import Any, cast

import torch
from lightning import LightningDataModule

from slm_lightning.core import Batch, Keys, Sample, Stream, VectorEnv
from slm_lightning.data.collector import Collector, Episode
from slm_lightning.data.episodes import EpisodeMemory, best_episodes
from slm_lightning.data.memory import OnPolicyCrossEntropy, PastEpisodes, Replay
from slm_lightning.data.replay import ReplayMemory, make_memory
from slm_lightning.data.rounds import least_steps
from slm_lightning.data.segments import Segments
from slm_lightning.data.workers import Workers
from slm_lightning.errors import IntegrityError
from slm_lightning.spec.model import Spec

TOGETHER = 64
"""Rounds of fewer frames come together, at most so many: a batch costs Lightning as much as a short
round, and its first update is checked by Dynamo."""
MOST = 256
"""Frames of rounds that come together: a session that is to stop does so behind them."""
KEPT_MEMORY = 64 * 2**20
"""Bytes of a replay memory that a session which is done keeps, to be extended."""
CHUNK = 64
"""Vector steps that are collected at once on their way into a replay memory."""


class RolloutData(LightningDataModule):
    """Feeds a Session with rounds until the frame budget is spent; a round is never cut short.

    One pass over the loader is the whole training. A round begins by restarting the global random
    generators from its own key, so a draw made between rounds cannot shift the next one.

    Each of several ``workers`` collects its own share of a round; frames are those of all together.
    What a replay memory holds goes to disk in ``segments``; without them its state holds all of it.
    """

    def __init__(
        self,
        spec: Spec,
        keys: Keys,
        env: VectorEnv,
        workers: Workers | None = None,
        exact: bool = True,
        segments: Segments | None = None,
    ):
        """With ``exact`` false the environments cannot be brought back, and begin new episodes."""
        super().__init__()
        self.exact = exact
        self.spec, self.keys, self.env = spec, keys, env
        self.workers, self.segments = workers or Workers(), segments
        self.collector: Collector | None = None
        self.memory: ReplayMemory | None = None
        """What is kept over rounds, where the spec names a replay memory or past episodes."""
        self.restored: dict[str, Any] | None = None
        self.rounds = 0
        self.next = -1, 0, False
        """Frame at which a round begins, its least vector steps, whether they do not fit the budget."""
        self.round_start = 0
        """Frame at which the latest round began."""
        self.episodes: list[Episode] = []
        """Episodes that ended in the latest rounds that came together, of all workers."""

    @property
    def frame(self) -> int:
        """Frames collected so far."""
        return self.collector.frame if self.collector else 0

    @property
    def finished(self) -> bool:
        """No further round fits the budget."""
        return self._next_round()[1]

    def _next_round(self) -> tuple[int, bool]:
        """Least vector steps of the round that begins now, and whether they do not fit the budget."""
        frame = self.frame
        if frame != self.next[0]:
            steps = least_steps(self.spec, frame // self.workers.size)
            self.next = frame, steps, self._steps_left() < steps
        return self.next[1:]

    def _steps_left(self) -> int:
        frames_per_step = self.env.info.num_envs * self.workers.size
        return (self.spec.env.max_frame - self.frame) // frames_per_step

    def train_dataloader(self) -> RoundLoader:
        assert self.trainer is not None
        session: Any = self.trainer.lightning_module
        device = self.trainer.strategy.root_device
        restored = self.restored or {}
        self.collector = Collector(
            self.env,
            session.agent,
            session.normalizers,
            device,
            restored.get("collector"),
            self.workers.size,
            self.exact,
            session.step_compiler,
        )
        params, gamma = self.spec.agent.memory, self.spec.agent.algorithm.gamma
        obs_dtype, seq_len = self.collector.obs_dtype, getattr(self.spec.agent.net, "seq_len", 1)
        kept = self.env.info, obs_dtype, gamma, device, seq_len, session.agent.hidden_size
        if isinstance(params, Replay):
            self.memory = make_memory(params, *kept)
        elif isinstance(params, PastEpisodes):
            self.memory = EpisodeMemory(params.past, *kept)
        if self.memory is not None and "memory" in restored:
            self._refill(self.memory, restored["memory"])
        self.restored = None
        return RoundLoader(self)

    def together(self) -> Iterator[Batch | Sample]:
        """The next round, or up to TOGETHER short ones, until these are MOST frames or a row of the
        record is due. Each is to be learned from before the next is asked for."""
        start, frequency = self.frame, self.spec.meta.log_frequency
        self.episodes = []
        for _ in range(TOGETHER):
            yield self.collect()
            frame = self.frame
            row_is_due = frame // frequency > start // frequency
            is_long = frame - self.round_start >= TOGETHER or frame - start >= MOST
            if row_is_due or is_long or self.finished:
                return

    def collect(self) -> Batch | Sample:
        """The next round."""
        assert self.collector is not None and self.trainer is not None
        self.round_start = self.frame
        version = cast(int, self.trainer.lightning_module.version)
        self.keys.seed_generators(Stream.BLOCK, self.rounds)
        self.rounds += 1
        batch: Batch | Sample
        if self.memory is not None and self.spec.agent.memory.replay:
            batch, episodes = self._replay(self.memory, self.collector, version)
        elif self.spec.agent.memory.whole_episodes:
            batch, episodes = self._whole_episodes(self.collector, version)
        else:
            horizon = self.spec.agent.algorithm.horizon
            batch, episodes = self.collector.collect(horizon, version)
        self.episodes += self.workers.gather(episodes)
        return self._with_past(batch) if isinstance(batch, Batch) else batch

    def _whole_episodes(self, collector: Collector, version: int) -> tuple[Batch, list[Episode]]:
        """Every worker collects as many episodes, of which some are longer than others; the round ends
        at the frame that all their steps add up to."""
        horizon, limit = self.spec.agent.algorithm.horizon, self._steps_left()
        batch, episodes = collector.collect_episodes(horizon, limit, version)
        collector.frame = self.round_start + self.workers.total(batch.reward.numel())
        episodes = [e._replace(frame=min(e.frame, collector.frame)) for e in episodes]
        params = self.spec.agent.memory
        if isinstance(params, OnPolicyCrossEntropy):
            batch = best_episodes(batch, params.cross_entropy)
        return batch, episodes

    def _with_past(self, batch: Batch) -> Batch:
        """The rollout, with minibatches of past episodes where some are kept and one has ended, with
        every worker: they learn together."""
        if self.memory is None:
            return batch
        self.memory.add(batch)
        nothing = self.workers.any(not len(self.memory))
        return batch if nothing else batch._replace(past=self._draw(self.memory))

    def _replay(
        self, memory: ReplayMemory, collector: Collector, version: int
    ) -> tuple[Sample, list[Episode]]:
        """Fills the memory with what is new, and draws the round's minibatches."""
        steps, _ = self._next_round()
        episodes: list[Episode] = []
        while steps > 0:
            batch, ended = collector.collect(min(steps, CHUNK), version)
            memory.add(batch)
            episodes += ended
            steps -= CHUNK
        return self._draw(memory), episodes

    def _draw(self, memory: ReplayMemory) -> Sample:
        updates = self.spec.agent.algorithm.updates(self.env.info.num_envs)
        return memory.sample(updates, self.frame / self.spec.env.max_frame)

    def state_dict(self) -> dict[str, Any]:
        assert self.collector is not None
        state = {"keys": astuple(self.keys), "rounds": self.rounds}
        state |= {"collector": self.collector.state_dict()}
        if self.memory is not None and (rows := self._rows(self.memory)) is not None:
            state["memory"] = self.memory.state_dict() | {"rows": rows}
        return state

    def _rows(self, memory: ReplayMemory) -> Any:
        """What the memory holds: the names of its segments, or all of it where there are none. Segments
        end with the session; a small memory then stays in its last checkpoint, so that it can be
        extended, and of a large one nothing does."""
        if self.finished and self._bytes(memory) > KEPT_MEMORY:
            return None
        return self.segments.state_dict() if self.segments and not self.finished else memory.rows()

    def _bytes(self, memory: ReplayMemory) -> int:
        """About what the memory takes: mostly observations, of stacked ones the newest."""
        assert self.collector is not None
        env, size = self.env.info, self.collector.obs_dtype.itemsize
        return len(memory) * (math.prod(env.obs_shape) // env.frame_stack * size + 64)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raises IntegrityError for the state of another session."""
        if tuple(state_dict["keys"]) != astuple(self.keys):
            raise IntegrityError(
                "the checkpoint is of another session: its seed, session and worker are "
                f"{tuple(state_dict['keys'])}, and not {astuple(self.keys)}",
                "put the session's own checkpoint back, or start the run again",
            )
        self.rounds, self.restored = state_dict["rounds"], state_dict

    def _refill(self, memory: ReplayMemory, state: dict[str, Any]) -> None:
        memory.load_state_dict(state)
        if self.segments is not None and isinstance(state["rows"], list):
            self.segments.load_state_dict(state["rows"])
            self.segments.fill(memory)
        else:
            memory.put(state["rows"])

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

    def __iter__(self) -> Iterator[Iterator[Batch | Sample]]:
        while not self.data.finished:
            yield self.data.together()
