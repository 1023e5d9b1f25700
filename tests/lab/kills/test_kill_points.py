"""Killed at any moment and resumed equals never killed, bit for bit."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil
import pytest

from slm_lightning.lab.trial import Trial
from slm_lightning.spec.model import Spec
from slm_lightning.tracking import Record, RunInfo
from tests.lab.kills.cases import QUICK, SLOW
from tests.lab.kills.zygote import Zygote
from tests.support import CLOCK, checkpoint, equal, needs, numbers, write_spec

OFTEN = ("PPO on Pendulum, normalised", "DQN on CartPole, prioritised", "SIL on CartPole")
"""Killed with each commit: between them their checkpoints hold normalisers, a replay memory with its
priorities, and past episodes."""
EXTRAS = {"mujoco": "mujoco", "box2d": "Box2D", "atari": "ale_py"}


@pytest.fixture(scope="module")
def zygote(empty_record: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    folder = tmp_path_factory.mktemp("killed")
    shutil.copytree(empty_record, folder / "mlruns")
    zygote = Zygote(folder)
    first = write_spec(folder / "first.json", {"first": next(iter(QUICK.values())).to_dict()})
    zygote.call("run", first, "--device", "cpu")  # imports, which takes longer than all that follow
    yield zygote
    zygote.close()


@dataclass
class Killer:
    """Runs a spec again and again, kills it at uniformly random moments, and goes on with it."""

    zygote: Zygote
    spec: Path
    random: random.Random

    def __post_init__(self) -> None:
        begun = time.monotonic()
        self.zygote.call("run", self.spec, "--device", "cpu")
        self.seconds = time.monotonic() - begun
        self.record = Record(self.zygote.folder / "mlruns")
        self.unbroken = self.newest()
        self.middle = 0
        """Kills after which some session went on from a checkpoint."""

    def newest(self) -> RunInfo:
        return self.record.top(1)[0]

    def kill(self, times: int) -> None:
        """Kills ``times`` times; whatever comes to its end is compared with what was never killed."""
        killed = 0
        self.go_on()
        while killed < times:
            moment = time.monotonic() + self.random.uniform(0, self.seconds)
            while time.monotonic() < moment and psutil.pid_exists(self.zygote.pid):
                time.sleep(0.01)
            code = self.zygote.kill()
            assert code in (0, -9), (self.zygote.folder / "out.txt").read_text()
            if code == -9:
                killed += 1
                self.middle += any(self.record.root.glob("runs/*/checkpoints/ckpt-last.ckpt"))
            self.go_on()
        assert self.zygote.wait() == 0, (self.zygote.folder / "out.txt").read_text()
        self.compare()

    def go_on(self) -> None:
        """Resumes the newest trial; starts another where that one is done, or was not yet begun."""
        trial = self.newest()
        if trial.status == "FINISHED":
            self.compare()
        elif Trial.is_whole(trial, self.record):
            self.zygote.start("resume", trial.run_id, "--device", "cpu")
            return
        self.zygote.start("run", self.spec, "--device", "cpu")

    def compare(self) -> None:
        """The newest trial has come to the same rows, tensors and metrics, bit for bit."""
        trial = self.newest()
        assert trial.status == "FINISHED" and trial.tags["slm.status"] == "done"
        pairs = zip(*(self.record.children(run.run_id) for run in (self.unbroken, trial)), strict=True)
        for one, other in pairs:
            tables = [numbers(self.record.history(run.run_id)) for run in (one, other)]
            pd.testing.assert_frame_equal(*tables, check_exact=True)
            kept = [self.checkpoints(run) for run in (one, other)]
            assert kept[0] == kept[1]
            for which in kept[0]:
                states = [checkpoint(self.record, run.run_id, which) for run in (one, other)]
                assert equal(*states), which
            for key in one.metrics.keys() - set(CLOCK):
                steps = tables[0]["frame"]
                assert self.curve(one, key, steps).equals(self.curve(other, key, steps)), key
        assert self.same(self.unbroken) == self.same(trial)

    def checkpoints(self, run: RunInfo) -> list[str]:
        """Of the last and the best policy; there is no best one before an episode has ended."""
        kept = {path.rsplit("/", 1)[-1] for path in self.record.artifacts(run.run_id)}
        assert "ckpt-last.ckpt" in kept
        return [which for which in ("best", "last") if f"ckpt-{which}.ckpt" in kept]

    def curve(self, run: RunInfo, key: str, steps: pd.Series) -> pd.Series:
        """What MLflow has of a metric: at each step one value, or that of the step before."""
        points = self.record.client.get_metric_history(run.run_id, key)
        values: dict[int, float] = {}
        for point in points:
            assert values.setdefault(point.step, point.value) == point.value, (key, point.step)
        return pd.Series(values, dtype=float).reindex(steps, method="ffill")

    @staticmethod
    def same(run: RunInfo) -> dict[str, float]:
        return {key: value for key, value in run.metrics.items() if key not in CLOCK}


@pytest.mark.parametrize("name", OFTEN)
def test_per_commit(name: str, zygote: Zygote, tmp_path: Path) -> None:
    kill(QUICK[name], 3, name, zygote, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", [*QUICK, *SLOW])
def test_at_night(name: str, seed: int, zygote: Zygote, tmp_path: Path) -> None:
    """10 kill points each: 520 in all."""
    extra, spec = SLOW.get(name) or ("", QUICK.get(name))
    if extra:
        needs(EXTRAS[extra], extra)
    kill(spec, 10, f"{name} {seed}", zygote, tmp_path)


def kill(spec: Spec, times: int, seed: str, zygote: Zygote, tmp_path: Path) -> None:
    spec_file = write_spec(tmp_path / "spec.json", {"killed": spec.to_dict()})
    killer = Killer(zygote, spec_file, random.Random(seed))
    killer.kill(times)
    print(f"{seed}: {killer.seconds:.1f} s, {killer.middle} of {times} in the middle")
