"""What happens between rounds of a session: evaluation, rows of the record, checkpoints, progress.

None of them touches what training depends on.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning import Callback, LightningModule, Trainer

from slm_lightning.core import Keys, Stream
from slm_lightning.data.collector import Episode
from slm_lightning.data.evaluate import evaluate
from slm_lightning.data.rollout_data import RolloutData
from slm_lightning.envs import make_env
from slm_lightning.errors import DivergedError, IntegrityError
from slm_lightning.session import Session
from slm_lightning.spec.model import Spec

FINAL_EPISODES = 30
EVAL_ENVS = 32
"""Evaluation episodes that are played side by side."""
MA_WINDOW = 100
CHECKPOINT_SECONDS = 30.0
CHECKPOINT_SHARE = 0.05
"""Of the time of a session, at most this much goes into writing checkpoints."""
BEST, LAST = "ckpt-best.ckpt", "ckpt-last.ckpt"
CALMER = "lower the learning rate, clip gradients, or normalise rewards"


class AfterRound(Callback):
    """A callback that acts between rounds."""

    def after_round(self, trainer: Trainer, session: Session, data: RolloutData) -> None:
        """Called when the agent has learned from a round."""
        raise NotImplementedError

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Session)
        self.after_round(trainer, pl_module, pl_module.data)


class Evaluation(AfterRound):
    """Greedy episodes in environments of their own: where ``rigorous_eval`` asks for them every
    ``eval_frequency`` frames, at the next row of the record; and always of the final policy. Of several
    workers the first plays them."""

    def __init__(self, spec: Spec, keys: Keys):
        self.spec, self.keys = spec, keys
        self.next_frame = spec.meta.eval_frequency

    def after_round(self, trainer: Trainer, session: Session, data: RolloutData) -> None:
        log_frequency = self.spec.meta.log_frequency
        has_row = data.frame // log_frequency > data.round_start // log_frequency
        due = self.spec.meta.rigorous_eval > 0 and data.frame >= self.next_frame
        if not ((due and has_row) or data.finished):
            return
        while self.next_frame <= data.frame:
            self.next_frame += self.spec.meta.eval_frequency
        if session.workers.first:
            self._evaluate(session, data.finished)

    def _evaluate(self, session: Session, finished: bool) -> None:
        episodes = self.spec.meta.rigorous_eval
        if finished:
            episodes = max(episodes, FINAL_EPISODES)
        together = min(episodes, EVAL_ENVS)
        sync = self.spec.env.model_copy(update={"vectorization_mode": "sync"})
        env = make_env(sync, self.keys, Stream.EVAL, num_envs=together)
        try:
            each = math.ceil(episodes / together)
            returns = evaluate(session.agent, session.normalizers, env, each).flatten()[:episodes]
        finally:
            env.close()
        std = returns.std(ddof=1) if episodes > 1 else 0.0
        found = {"return": returns.mean(), "std": std, "episodes": float(episodes)}
        for name, value in found.items():
            session.info[f"eval/{name}"] = torch.tensor(value, device=session.device)

    def state_dict(self) -> dict[str, Any]:
        return {"next_frame": self.next_frame}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.next_frame = state["next_frame"]


class MetricLog(AfterRound):
    """Appends a row to ``metrics.jsonl`` for every ``log_frequency`` frames, and a last one.

    ``total_reward`` is the mean raw return of the latest 100 training episodes (of the latest one with
    a single sub-environment), ``total_reward_ma`` its mean over the latest 100 rows. Marks that fall
    inside a round are logged as they stood at that frame, when the round has ended. Several workers
    all keep the record, of everybody's episodes, and the first writes it.
    Raises DivergedError when the loss is not finite.
    """

    def __init__(self, spec: Spec, path: Path):
        self.spec, self.path = spec, path
        self.next_mark = spec.meta.log_frequency
        self.frames_per_step = spec.env.num_envs * spec.meta.workers
        self.returns: deque[float] = deque(maxlen=100 if self.frames_per_step > 1 else 1)
        self.rewards: deque[float] = deque(maxlen=MA_WINDOW)
        self.finished_episodes = 0
        self.best = -math.inf
        self.elapsed = 0.0
        """Seconds of training before this process."""
        self.written = 0
        """Bytes of the file that belong to the session; what a killed process wrote after its last
        checkpoint is written again."""
        self.improved = False
        """Whether ``total_reward_ma`` reached its best value so far in the latest round."""
        self.rows: list[dict[str, float]] = []
        """The rows of the latest round."""

    @property
    def total_reward_ma(self) -> float:
        """Mean of the latest rows' total_reward; NaN before the first episode has ended."""
        return sum(self.rewards) / len(self.rewards) if self.rewards else math.nan

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.started = time.monotonic() - self.elapsed
        self.file: BinaryIO | None = None
        assert isinstance(pl_module, Session)
        if pl_module.workers.first:
            self._open()

    def _open(self) -> None:
        self.file = self.path.open("ab")
        if self.file.tell() < self.written:
            raise IntegrityError(f"{self.path} is shorter than its checkpoint says")
        self.file.truncate(self.written)

    def after_round(self, trainer: Trainer, session: Session, data: RolloutData) -> None:
        stride, frequency = self.frames_per_step, self.spec.meta.log_frequency
        episodes = deque(data.episodes)
        self.rows = rows = []
        while self.next_mark <= data.frame:
            frame = min(math.ceil(self.next_mark / stride) * stride, data.frame)
            rows.append(self._row(frame, episodes))
            self.next_mark = (frame // frequency + 1) * frequency
        if data.finished and not (rows and rows[-1]["frame"] == data.frame):
            rows.append(self._row(data.frame, episodes))
        self._count(episodes, data.frame)
        self.improved = bool(rows) and self.total_reward_ma >= self.best
        self.best = max(self.best, self.total_reward_ma) if self.improved else self.best
        diverged = not math.isfinite(session.info.get("loss", 0.0))  # Random has none
        if rows or diverged:
            self._write(rows or [self._row(data.frame, episodes)], session)
        if diverged:
            _blame_environment(data)
            raise DivergedError(
                f"the loss is {session.info['loss'].item()} at frame {data.frame}", CALMER
            )

    def _row(self, frame: int, episodes: deque[Episode]) -> dict[str, float]:
        self._count(episodes, frame)
        row: dict[str, float] = {"frame": frame, "epi": self.finished_episodes}
        if self.returns:
            self.rewards.append(sum(self.returns) / len(self.returns))
            row |= {"total_reward": self.rewards[-1], "total_reward_ma": self.total_reward_ma}
        return row

    def _count(self, episodes: deque[Episode], frame: int) -> None:
        while episodes and episodes[0].frame <= frame:
            self.returns.append(episodes.popleft().ret)
            self.finished_episodes += 1

    def _write(self, rows: list[dict[str, float]], session: Session) -> None:
        if self.file is None:
            return
        values = [value.double() for value in session.info.values()]
        info = dict(zip(session.info, torch.stack(values).tolist() if values else ()))
        self.elapsed = time.monotonic() - self.started
        learned = {k: v for k, v in info.items() if not k.startswith("eval/")}
        common = {
            "opt_step": session.opt_step,
            "lr": session.learning_rate(),
            **session.agent.schedules(),
            **learned,
            "wall_t": self.elapsed,
            "fps": rows[-1]["frame"] / max(self.elapsed, 1e-9),
            "time": time.time(),
        }
        for row in rows:
            row |= common
        rows[-1] |= {k: v for k, v in info.items() if k.startswith("eval/")}
        self.file.writelines((json.dumps(row) + "\n").encode() for row in rows)
        self.file.flush()
        self.written = self.file.tell()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self.file is not None:
            self.file.close()

    def state_dict(self) -> dict[str, Any]:
        plain = ("next_mark", "finished_episodes", "best", "elapsed", "written")
        state = {key: getattr(self, key) for key in plain}
        return state | {"returns": list(self.returns), "rewards": list(self.rewards)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for key, value in state.items():
            held = getattr(self, key)
            setattr(self, key, deque(value, held.maxlen) if isinstance(held, deque) else value)


class Checkpoints(AfterRound):
    """``ckpt-best`` (highest total_reward_ma) and ``ckpt-last``, each written whole or not at all.

    The best policy is held in memory and goes to disk with ckpt-last: every 30 seconds (less often
    where a large replay memory makes that slow), when the session is asked to stop, and at its
    end. Raises DivergedError instead of keeping weights that are not finite.

    Of several workers each writes its own ckpt-last, since each has environments and a memory of its
    own; the first comes last, and only with its file do those of the same round count.
    """

    def __init__(self, folder: Path, metrics: MetricLog):
        self.folder, self.metrics = folder, metrics
        self.best: dict[str, Any] | None = None
        self.pause = CHECKPOINT_SECONDS

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.written = time.monotonic()

    def after_round(self, trainer: Trainer, session: Session, data: RolloutData) -> None:
        late = session.workers.any(time.monotonic() - self.written >= self.pause)
        due = late or data.finished or trainer.should_stop
        if due or self.metrics.improved:
            _refuse_broken(session, data.frame)
        if self.metrics.improved and session.workers.first:
            state = {key: value.clone() for key, value in session.state_dict().items()}
            self.best = {
                "state_dict": state,
                "frame": data.frame,
                "total_reward_ma": self.metrics.total_reward_ma,
            }
        if due:
            self._save(trainer, session)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._save_best()

    def _save_best(self) -> None:
        if self.best is not None:
            best = self.best
            atomically(self.folder / BEST, lambda path: torch.save(best, path))
            self.best = None

    def _save(self, trainer: Trainer, session: Session) -> None:
        begun, rank = time.monotonic(), session.workers.rank
        if self.metrics.file is not None:
            self._save_best()
            os.fsync(self.metrics.file.fileno())
            atomically(self.folder / LAST, trainer.save_checkpoint)  # which waits for the others
        else:
            trainer.save_checkpoint(self.folder / last_of(rank, session.version))
        session.workers.wait()
        for old in self.folder.glob(last_of(rank, "*")):
            if old.name != last_of(rank, session.version):
                old.unlink()
        self.written = time.monotonic()
        self.pause = max(CHECKPOINT_SECONDS, (self.written - begun) / CHECKPOINT_SHARE)


class Progress(AfterRound):
    """Tells whoever watches how far the session is, at most five times a second; and stops the
    session after the current round when ``stop()`` says so to any of its workers."""

    def __init__(
        self, metrics: MetricLog, report: Callable[[int, float], None], stop: Callable[[], bool]
    ):
        self.metrics, self.report, self.stop = metrics, report, stop
        self.told = 0.0

    def after_round(self, trainer: Trainer, session: Session, data: RolloutData) -> None:
        now = time.monotonic()
        if now - self.told >= 0.2 or data.finished:
            self.told = now
            self.report(data.frame, self.metrics.total_reward_ma)
        trainer.should_stop = session.workers.any(trainer.should_stop or self.stop())


def last_of(rank: int, version: int | str) -> str:
    """Name of the ckpt-last of worker ``rank`` (but the first) that belongs to round ``version``."""
    return f"ckpt-last.worker-{rank}.round-{version}.ckpt"


def _blame_environment(data: RolloutData) -> None:
    """Raises DivergedError where what some worker collected last is not finite itself."""
    assert data.collector is not None
    latest = data.collector.latest
    for name in ("obs", "reward", "next_obs") if latest is not None else ():
        if data.workers.any(not getattr(latest, name).isfinite().all()):
            raise DivergedError(
                f"the environment gave a {name} that is not finite, by frame {data.frame}",
                f"look into {data.env.info.name}",
            )


def _refuse_broken(session: Session, frame: int) -> None:
    for name, value in session.state_dict().items():
        if not value.isfinite().all():
            raise DivergedError(f"{name} is not finite after the update at frame {frame}", CALMER)


def atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Writes aside, flushes to disk and renames: the file at ``path`` is the old or the new one."""
    aside = path.with_name(f".{path.name}.tmp")
    try:
        write(aside)
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    finally:
        aside.unlink(missing_ok=True)
