"""What a session writes between rounds: rows, evaluations, checkpoints, signs of life."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from lightning import Callback

from slm_lightning.callbacks import Checkpoints, Evaluation, MetricLog, Progress
from slm_lightning.core import Keys, Stream
from slm_lightning.data.checkpoint_files import BEST, LAST
from slm_lightning.data.evaluate import evaluate
from slm_lightning.envs import make_env
from slm_lightning.files import atomically
from slm_lightning.session import Session
from slm_lightning.spec.model import Spec
from tests.conftest import Run, assert_equal, make_spec, train
from tests.envs.probes import probe


class Ramp(gym.Env):
    """Episodes of 1, 2, 3, … steps with reward 1 for each, so returns 1, 2, 3, …: those of one
    sub-environment end at vector steps 1, 3, 6, 10, 15, 21, …"""

    observation_space = spaces.Box(0, 1, (1,))
    action_space = spaces.Discrete(2)
    episodes = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episodes, self.steps = self.episodes + 1, 0
        return np.zeros(1, dtype=np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.ones(1, dtype=np.float32), 1.0, self.steps == self.episodes, False, {}


class Hump(gym.Env):
    """Episode k has 8 steps and the return -(k - 10)²."""

    observation_space = spaces.Box(0, 1, (1,))
    action_space = spaces.Discrete(2)
    episode = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.steps = self.episode + 1, 0
        return np.zeros(1, dtype=np.float32), {}

    def step(self, action):
        self.steps += 1
        over = self.steps == 8
        return np.ones(1, dtype=np.float32), -((self.episode - 10.0) ** 2) * over, over, False, {}


def ramp(num_envs: int, steps: int, **keys: Any) -> dict[str, Any]:
    return {
        "name": "tests/Ramp-v0",
        "entry_point": f"{__name__}:Ramp",
        "num_envs": num_envs,
        "max_frame": num_envs * steps,
        **keys,
    }


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a journal, which must be plain JSON."""

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def log(spec: Spec, folder: Path) -> tuple[Run, list[dict[str, Any]]]:
    """A run with its rows."""
    path = folder / "metrics.jsonl"
    run = train(spec, callbacks=[MetricLog(spec, path)])
    return run, rows_of(path)


def scores(rows: list[dict[str, Any]]) -> list[tuple[int, int, float | None, float | None]]:
    return [(r["frame"], r["epi"], r.get("total_reward"), r.get("total_reward_ma")) for r in rows]


class TestMetricLog:
    def test_one_environment_counts_its_latest_episode(self, tmp_path: Path) -> None:
        """Marks 5, 10, 15, 20 fall into rounds of 12 frames; 24 is the last frame."""
        algorithm = {"name": "ActorCritic", "training_frequency": 12}
        spec = make_spec(algorithm, ramp(1, 24), meta={"log_frequency": 5})
        _, rows = log(spec, tmp_path)
        assert scores(rows) == [
            (5, 2, 2, 2),
            (10, 4, 4, pytest.approx(6 / 2)),
            (15, 5, 5, pytest.approx(11 / 3)),
            (20, 5, 5, pytest.approx(16 / 4)),
            (24, 6, 6, pytest.approx(22 / 5)),
        ]
        assert [row["opt_step"] for row in rows] == [2, 2, 4, 4, 4], "two nets, one step a round"

    def test_several_environments_count_their_latest_hundred_episodes(self, tmp_path: Path) -> None:
        """Two of them: both end episodes at frames 2, 6, 12, 20, 30. A mark between two vector steps is
        logged at the later one; the last frame is a mark, and has one row."""
        algorithm = {"name": "ActorCritic", "training_frequency": 15}
        spec = make_spec(algorithm, ramp(2, 15), meta={"log_frequency": 5})
        _, rows = log(spec, tmp_path)
        assert scores(rows) == [
            (6, 4, 1.5, 1.5),
            (10, 4, 1.5, 1.5),
            (16, 6, 2, pytest.approx(5 / 3)),
            (20, 8, 2.5, pytest.approx(7.5 / 4)),
            (26, 8, 2.5, pytest.approx(10 / 5)),
            (30, 10, 3, pytest.approx(13 / 6)),
        ]

    def test_the_windows_are_a_hundred_long(self, tmp_path: Path) -> None:
        env = {"name": "CartPole-v1", "num_envs": 8, "max_frame": 9984}
        spec = make_spec("PPO", env, meta={"log_frequency": 40})
        run, rows = log(spec, tmp_path)
        assert len(rows) > 200 and len(run.episodes) > 200
        history: list[float] = []
        for row in rows:
            ended = [episode.ret for episode in run.episodes if episode.frame <= row["frame"]]
            assert row["epi"] == len(ended)
            if not ended:
                continue
            history.append(np.mean(ended[-100:]))
            assert row["total_reward"] == pytest.approx(history[-1], rel=1e-12)
            assert row["total_reward_ma"] == pytest.approx(np.mean(history[-100:]), rel=1e-12)
        assert [row["frame"] for row in rows] == [*range(40, 9984, 40), 9984]

    def test_before_the_first_episode_ends_there_is_no_score(self, tmp_path: Path) -> None:
        spec = make_spec("PPO", {"name": "Pendulum-v1", "max_frame": 512}, meta={"log_frequency": 128})
        _, rows = log(spec, tmp_path)
        assert scores(rows)[:3] == [(128, 0, None, None), (256, 0, None, None), (384, 0, None, None)]
        assert rows[3]["epi"] == 2 and rows[3]["total_reward"] < 0

    def test_what_a_round_learned_is_in_its_rows(self, tmp_path: Path) -> None:
        net = {"lr_scheduler_spec": {"name": "LinearToZero", "frame": 256}, "optim_spec": {"lr": 0.1}}
        run, rows = log(make_spec("PPO", net=net, meta={"log_frequency": 64}), tmp_path)
        assert [row["lr"] for row in rows] == pytest.approx([0.1, 0.075, 0.05, 0.025])
        for row, learned in zip(rows, run.metrics, strict=True):
            assert {key: row[key] for key in learned} == learned
            assert row["clip_eps"] == 0.2
            assert row["fps"] == pytest.approx(row["frame"] / row["wall_t"])

    def test_its_state_travels(self, tmp_path: Path) -> None:
        spec = make_spec("PPO", meta={"log_frequency": 64})
        metrics = MetricLog(spec, tmp_path / "metrics.jsonl")
        train(spec, callbacks=[metrics])
        other = MetricLog(spec, tmp_path / "other.jsonl")
        other.load_state_dict(json.loads(json.dumps(metrics.state_dict())))
        assert other.state_dict() == metrics.state_dict()
        assert other.total_reward_ma == metrics.total_reward_ma
        assert other.returns.maxlen == other.rewards.maxlen == 100


class TestEvaluation:
    def test_it_is_a_mean_of_episodes_of_its_own(self, tmp_path: Path) -> None:
        meta = {"log_frequency": 64, "rigorous_eval": 3, "eval_frequency": 128}
        spec, keys = make_spec("PPO", meta=meta), Keys(5, session=2)
        path = tmp_path / "metrics.jsonl"
        run = train(spec, keys, callbacks=[Evaluation(spec, keys), MetricLog(spec, path)])
        rows = rows_of(path)
        assert [row.get("eval/episodes") for row in rows] == [None, 3, None, 30]
        env = make_env(spec.env, keys, Stream.EVAL, num_envs=30)
        returns = evaluate(run.session.agent, run.session.normalizers, env).flatten()
        env.close()
        assert rows[3]["eval/return"] == returns.mean()
        assert rows[3]["eval/std"] == pytest.approx(returns.std(ddof=1))

    def test_none_is_made_that_has_no_row(self, tmp_path: Path) -> None:
        """Where rows are rarer than evaluations are due, they come with the rows."""
        meta = {"log_frequency": 128, "rigorous_eval": 1, "eval_frequency": 64}
        spec, keys = make_spec("PPO", meta=meta), Keys(0)
        path = tmp_path / "metrics.jsonl"
        run = train(spec, keys, callbacks=[MetricLog(spec, path), Evaluation(spec, keys)][::-1])
        assert len(run.metrics) == 4
        assert [row["eval/episodes"] for row in rows_of(path)] == [1, 30]
        assert [key for learned in run.metrics for key in learned if key.startswith("eval/")] == []

    def test_the_final_policy_is_always_evaluated(self, tmp_path: Path) -> None:
        spec, keys = make_spec("Reinforce", probe("ConstantReward")), Keys(0)
        path = tmp_path / "metrics.jsonl"
        train(spec, keys, callbacks=[Evaluation(spec, keys), MetricLog(spec, path)])
        (row,) = rows_of(path)
        assert (row["frame"], row["eval/return"], row["eval/std"], row["eval/episodes"]) == (
            256,
            1,
            0,
            30,
        )


class States(Callback):
    """The state of the session after every round, by frame."""

    def __init__(self) -> None:
        self.at: dict[int, dict[str, torch.Tensor]] = {}

    def on_train_batch_end(self, trainer: Any, session: Session, *args: Any) -> None:
        self.at[session.data.frame] = {k: v.clone() for k, v in session.state_dict().items()}


class TestCheckpoints:
    def best_of(self, spec: Spec, keys: Keys, folder: Path) -> tuple[dict[str, Any], States, list]:
        metrics, states = MetricLog(spec, folder / "metrics.jsonl"), States()
        train(spec, keys, callbacks=[metrics, states, Checkpoints(folder, metrics)])
        last = torch.load(folder / LAST, weights_only=True)
        assert_equal(last["state_dict"], states.at[spec.env.max_frame])
        best = torch.load(folder / BEST, weights_only=True)
        return best, states, rows_of(folder / "metrics.jsonl")

    def test_the_best_is_not_the_last(self, tmp_path: Path) -> None:
        """A row every fourth episode: their returns are -36, -4, -4, -36, -100, …"""
        env = {"name": "tests/Hump-v0", "entry_point": f"{__name__}:Hump", "num_envs": 1}
        spec = make_spec("ActorCritic", env | {"max_frame": 256}, meta={"log_frequency": 32})
        best, states, rows = self.best_of(spec, Keys(0), tmp_path)
        mean = [-36, -40 / 2, -44 / 3, -80 / 4, -180 / 5]
        assert [row["total_reward_ma"] for row in rows][:5] == pytest.approx(mean)
        assert (best["frame"], best["total_reward_ma"]) == (96, pytest.approx(-44 / 3))
        assert_equal(best["state_dict"], states.at[96])

    @pytest.mark.parametrize("seed", range(2))
    def test_the_best_is_the_state_of_the_highest_total_reward_ma(
        self, seed: int, tmp_path: Path
    ) -> None:
        env = {"name": "CartPole-v1", "num_envs": 1, "max_frame": 1280, "normalize_obs": True}
        net = {"optim_spec": {"name": "Adam", "lr": 0.05}}
        spec = make_spec("PPO", env, net, {"log_frequency": 32})
        best, states, rows = self.best_of(spec, Keys(seed), tmp_path)
        scored = [row for row in rows if "total_reward_ma" in row]
        highest = max(row["total_reward_ma"] for row in scored)
        frame = max(row["frame"] for row in scored if row["total_reward_ma"] == highest)
        assert (best["frame"], best["total_reward_ma"]) == (frame, highest)
        assert_equal(best["state_dict"], states.at[frame])

    def test_they_are_written_now_and_then(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Here after every round, because no time at all passes between two."""
        monkeypatch.setattr("slm_lightning.callbacks.checkpoints.CHECKPOINT_SECONDS", 0)
        monkeypatch.setattr("slm_lightning.callbacks.checkpoints.CHECKPOINT_SHARE", math.inf)
        spec = make_spec("PPO", meta={"log_frequency": 64})
        metrics = MetricLog(spec, tmp_path / "metrics.jsonl")
        seen: list[int] = []

        class Reader(Callback):
            def on_train_batch_end(self, *args: Any) -> None:
                last = torch.load(tmp_path / LAST, weights_only=True)
                seen.append(last["callbacks"]["MetricLog"]["next_mark"])

        train(spec, callbacks=[metrics, Checkpoints(tmp_path, metrics), Reader()])
        assert seen == [128, 192, 256, 320]

    def test_an_error_leaves_the_best(self, tmp_path: Path) -> None:
        spec = make_spec("PPO", {"name": "CartPole-v1", "max_frame": 6400}, meta={"log_frequency": 64})
        metrics = MetricLog(spec, tmp_path / "metrics.jsonl")

        class Trouble(Callback):
            def on_train_batch_start(self, trainer: Any, session: Session, *args: Any) -> None:
                if session.version == 10:
                    raise OSError("the cable is out")

        with pytest.raises(OSError, match="cable"):
            train(spec, callbacks=[metrics, Checkpoints(tmp_path, metrics), Trouble()])
        best = torch.load(tmp_path / BEST, weights_only=True)
        assert best["total_reward_ma"] == metrics.best
        assert not (tmp_path / LAST).exists()

    def test_a_write_that_fails_leaves_the_old_file(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        atomically(path, lambda aside: aside.write_text("old"))

        def fail(aside: Path) -> None:
            aside.write_text("ne")
            raise OSError("no space left on device")

        with pytest.raises(OSError, match="no space"):
            atomically(path, fail)
        assert path.read_text() == "old"
        assert os.listdir(tmp_path) == ["file"]
        atomically(path, lambda aside: aside.write_text("new"))
        assert path.read_text() == "new"

    def test_a_writer_that_dies_leaves_the_old_file(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_text("old")

        def die(aside: Path) -> None:
            aside.write_text("ne")
            os._exit(9)

        if (child := os.fork()) == 0:
            atomically(path, die)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        assert path.read_text() == "old"
        atomically(path, lambda aside: aside.write_text("new"))
        assert path.read_text() == "new" and os.listdir(tmp_path) == ["file"]


class TestProgress:
    def run(self, tmp_path: Path, stop_after: int) -> tuple[list[tuple[int, float]], Run, MetricLog]:
        spec = make_spec("PPO", meta={"log_frequency": 64})
        metrics = MetricLog(spec, tmp_path / "metrics.jsonl")
        told: list[tuple[int, float]] = []
        rounds = iter(range(1, 100))
        progress = Progress(
            metrics, lambda *news: told.append(news), lambda: next(rounds) >= stop_after
        )
        run = train(spec, callbacks=[metrics, progress, Checkpoints(tmp_path, metrics)])
        return told, run, metrics

    def test_the_last_news_is_the_end(self, tmp_path: Path) -> None:
        told, run, metrics = self.run(tmp_path, stop_after=100)
        assert told[-1] == (256, metrics.total_reward_ma)
        assert [frame for frame, _ in told] == sorted({frame for frame, _ in told})
        assert run.data.finished

    def test_a_session_that_is_asked_stops_after_its_round(self, tmp_path: Path) -> None:
        _, run, metrics = self.run(tmp_path, stop_after=2)
        assert (run.data.frame, run.data.finished) == (128, False)
        assert [row["frame"] for row in rows_of(metrics.path)] == [64, 128]
        last = torch.load(tmp_path / LAST, weights_only=True)
        assert_equal(last["state_dict"], run.parameters)
        assert not math.isnan(metrics.total_reward_ma)
