"""The lab's verbs in Python: a spec goes in, a result with tables and figures comes out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import pandas as pd
import plotly.graph_objects as go
import pytest

import slm_lightning
from slm_lightning.api import prepare, search
from slm_lightning.errors import MissingError, SpecError, StorageError, UsageError
from slm_lightning.lab.result import Result
from slm_lightning.lab.running.local_engine import LocalEngine
from slm_lightning.tracking import COMPILED, Record
from tests.lab.searching import search_spec
from tests.support import FRAMES, REPOSITORY, TINY, tiny, write_spec

pytestmark = pytest.mark.usefixtures("no_pictures")


def quiet(*arguments: object, **options: object) -> Result:
    return slm_lightning.run(*arguments, say=lambda text: None, **options)


class TestResult:
    def test_it_has_tables(self, finished: Result) -> None:
        assert (finished.name, finished.status, finished.stopped_by) == ("tiny_t0", "done", None)
        assert finished.error() is None
        table = finished.metrics
        assert isinstance(table, pd.DataFrame)
        assert table["session"].tolist() == [0] * len(FRAMES) + [1] * len(FRAMES)
        for index, session in enumerate(finished.sessions):
            own = table[table["session"] == index].drop(columns="session").reset_index(drop=True)
            pd.testing.assert_frame_equal(own, session.metrics, check_like=True)
            assert session.outcome.status == "done"

    def test_it_has_figures(self, finished: Result) -> None:
        assert all(isinstance(figure, go.Figure) for figure in finished.figures.values())
        curves = {trace.name for trace in finished.figures["trial"].data}
        assert len(curves) >= 3, "each session, and their mean"

    def test_it_has_the_metrics_of_the_lab(self, finished: Result) -> None:
        scores = [session.scalars["score"] for session in finished.sessions]
        assert finished.scalars["score"] == pytest.approx(sum(scores) / 2)
        assert finished.scalars["score_min"] == min(scores)


class TestRun:
    def test_a_spec_as_a_dict_and_what_is_said(self, record: Record) -> None:
        said: list[str] = []
        spec = TINY | {"name": "alone"}
        result = slm_lightning.run(spec, sessions=1, overrides={"env.max_frame": 640}, say=said.append)
        assert result.name == "alone_t0"
        compiled = "no, because a session makes about 10 updates, and compiling pays from 5000 on"
        assert said == [
            f"alone_t0: run {result.run_id[:8]} in {record}",
            f"updates compiled: {compiled}",
        ]
        (session,) = result.sessions
        assert {record.get(r).tags[COMPILED] for r in (result.run_id, session.run_id)} == {compiled}
        assert result.metrics["frame"].max() == 640
        assert spec == TINY | {"name": "alone"}, "the caller's spec stays as it is"

    def test_one_of_several_with_variables(self, record: Record, tmp_path: Path) -> None:
        specs = tiny("one") | tiny("two", env={"max_frame": "${frames}"})
        result = quiet(
            write_spec(tmp_path / "s.json", specs),
            "two",
            variables={"frames": "640"},
            sessions=1,
            seed=9,
        )
        assert (result.name, result.metrics["frame"].max()) == ("two_t0", 640)
        assert record.get(result.run_id).params["meta.seed"] == "9"

    def test_the_same_name_again_is_another_run(self, record: Record) -> None:
        ids = {quiet(tiny(env={"max_frame": 64}), sessions=1).run_id for _ in range(2)}
        assert len(ids) == 2
        trials = record.runs(kind="trial")
        assert {run.run_id for run in trials} == ids and {run.experiment for run in trials} == {"tiny"}

    @pytest.mark.parametrize(
        ("spec", "options", "kind"),
        [
            ("nofile.json", {}, SpecError),
            ({"agent": {}}, {}, SpecError),
            (tiny(), {"name": "other"}, SpecError),
            (tiny(), {"overrides": {"env.num_envs": -1}}, SpecError),
            (tiny(), {"overrides": {"env.name": "CartPool-v1"}}, MissingError),
            (tiny(), {"device": "cuda"}, MissingError),
        ],
    )
    def test_nothing_is_created_for_what_cannot_run(
        self,
        spec: object,
        options: dict,
        kind: type[Exception],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
        with pytest.raises(kind):
            quiet(spec, **options)
        assert list(tmp_path.iterdir()) == []

    def test_an_environment_of_ones_own(self, record: Record, monkeypatch: pytest.MonkeyPatch,
                                        tmp_path: Path) -> None:  # fmt: skip
        """In a module beside the spec: the working directory is where it is looked for. Its random
        baseline is measured, so that it has a strength."""
        (tmp_path / "walk.py").write_text(WALK)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", list(sys.path))
        result = quiet(tiny(env={"name": "mine/Walk-v0", "entry_point": "walk:Walk"}), sessions=1)
        assert result.status == "done", result.error()
        assert result.scalars["strength"] == pytest.approx(
            result.metrics["total_reward"].mean() - _baseline(record), abs=1e-9
        )
        policy = slm_lightning.load(result.run_id)
        assert policy.act([0.0]) in (0, 1)


def _baseline(record: Record) -> float:
    (entry,) = json.loads((record.root / "random_baselines.json").read_text()).values()
    return entry["mean"]


WALK = """
import gymnasium as gym
import numpy as np


class Walk(gym.Env):
    observation_space = gym.spaces.Box(-10, 10, (1,))
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.steps = np.zeros(1, dtype=np.float32), 0
        return self.place.copy(), {}

    def step(self, action):
        self.place += 2 * action - 1
        self.steps += 1
        over = bool(abs(self.place[0]) >= 10) or self.steps >= 20
        return self.place.copy(), float(self.place[0]), over, False, {}
"""

SCRIPT = """
import sys
import slm_lightning

print("started")
result = slm_lightning.run("spec.json", say=lambda text: None)
print(result.status, result.metrics["frame"].max(), len(result.sessions))
print({"lightning", "optuna"} & set(sys.modules))
"""


def test_a_script_without_a_main_guard(record: Record, tmp_path: Path) -> None:
    """Its sessions are processes, and must not run it again. It starts without what only they need."""
    write_spec(tmp_path / "spec.json", tiny(env={"max_frame": 640}))
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "BROWSER_PATH": os.devnull},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "started\ndone 640 2\nset()\n"
    assert record.find("tiny_t0").status == "FINISHED"


class TestLoad:
    def test_a_policy_plays(self, finished: Result, finished_record: Record) -> None:
        policy = slm_lightning.load(finished.run_id)
        env = gym.make("CartPole-v1")
        obs, _ = env.reset(seed=0)
        for _ in range(5):
            obs, *_ = env.step(policy.act(obs))
        env.close()

    def test_a_policy_that_is_not_there(self, record: Record) -> None:
        with pytest.raises(UsageError, match='no run "nothing"'):
            slm_lightning.load("nothing")


def test_a_search_that_cannot_start_gives_its_engine_back(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray, for one, would not be connected a second time."""
    closed: list[object] = []
    monkeypatch.setattr(LocalEngine, "close", lambda engine: closed.append(engine))
    with pytest.raises(StorageError, match="no studies can be kept"):
        search(search_spec(trials=1), storage="mysql://host/studies", say=lambda text: None)
    assert len(closed) == 1


def test_a_plan_is_checked_and_not_run(tmp_path: Path) -> None:
    plan = prepare(tiny(), overrides={"env.num_envs": 4}, seed=1, sessions=3)
    assert (plan.spec.env.num_envs, plan.spec.meta.seed, plan.spec.meta.max_session) == (4, 1, 3)
    assert plan.raw.data["meta"]["seed"] == 1, "what is recorded as given has what was asked for"
    assert prepare(tiny(), mode="dev").spec.meta.max_session == 1
    assert list(tmp_path.iterdir()) == []


def test_the_package_is_light() -> None:
    code = (
        "import slm_lightning, sys; print(sorted({'torch', 'lightning', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, text=True, capture_output=True, check=True
    )
    assert done.stdout == "[]\n"
