"""A trained policy out of the record: which one, what it does, and that the record stays as it is."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium as gym
import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control import CartPoleEnv
from gymnasium.error import DependencyNotInstalled
from PIL import Image

from slm_lightning import load, run
from slm_lightning.core import Keys, Stream
from slm_lightning.data import sealed
from slm_lightning.data.evaluate import evaluate
from slm_lightning.envs import make_env
from slm_lightning.errors import IntegrityError, RefusedError
from slm_lightning.lab.result import Result
from slm_lightning.tracking import Record
from tests.conftest import assert_equal, isolate
from tests.envs.probes import Identity, probe
from tests.support import Lab, checkpoint, tiny

pytestmark = pytest.mark.usefixtures("no_pictures")


def artifacts_of(record: Record, run_id: str) -> Path:
    return record.download(run_id, "spec_resolved.json").parent


def agent_of(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The agent's part of a session's state."""
    agent = {k.removeprefix("agent."): v for k, v in state.items() if k.startswith("agent.")}
    assert len(agent) >= 8
    return agent


@pytest.fixture
def best(finished: Result) -> str:
    """The session with the higher score."""
    return max(finished.sessions, key=lambda session: session.scalars["score"]).run_id


class TestWhichPolicy:
    def test_of_a_trial_the_session_with_the_highest_score(
        self, finished: Result, finished_record: Record, best: str
    ) -> None:
        name = finished_record.get(best).name
        for reference in (finished.run_id, finished.run_id[:8], "tiny_t0", best, best[:8], name):
            policy = load(reference)
            assert policy.name == name
            state = checkpoint(finished_record, best, "best")["state_dict"]
            assert_equal(policy.agent.state_dict(), agent_of(state))

    def test_of_a_session_its_own(self, finished: Result, finished_record: Record) -> None:
        for session in finished.sessions:
            state = checkpoint(finished_record, session.run_id, "best")["state_dict"]
            assert_equal(load(session.run_id).agent.state_dict(), agent_of(state))

    def test_the_last(self, finished_record: Record, best: str) -> None:
        state = checkpoint(finished_record, best, "last")["state_dict"]
        policy = load(best, checkpoint="last")
        assert_equal(policy.agent.state_dict(), agent_of(state))

    def test_a_folder(
        self, finished_record: Record, best: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A copy of the artifacts is all that is needed, and no database, where the lab is told that
        it is the record."""
        returns = load(best).play(3).tolist()
        shutil.copytree(artifacts_of(finished_record, best), tmp_path / "copy")
        monkeypatch.setenv("SLM_MLRUNS", str(tmp_path))
        policy = load(str(tmp_path / "copy"))
        assert (policy.name, policy.play(3).tolist()) == ("copy", returns)
        assert [path.name for path in tmp_path.iterdir()] == ["copy"]


class TestPlay:
    def test_it_repeats_itself_from_its_seed(self, finished_record: Record, best: str) -> None:
        policy = load(best)
        returns = policy.play(5).tolist()
        assert len(returns) == 5 and all(value >= 1 for value in returns)
        assert policy.play(5).tolist() == returns == load(best).play(5).tolist()
        assert policy.play(5, seed=99).tolist() != returns
        explored = policy.play(5, explore=True).tolist()
        assert explored != returns
        assert policy.play(5, explore=True).tolist() == explored

    def test_its_returns_are_those_of_the_environment(self, finished_record: Record, best: str) -> None:
        """Played by hand in Gymnasium, from the seed of the first episode."""
        policy = load(best)
        env = gym.make("CartPole-v1")
        obs, _ = env.reset(seed=Keys(3).seed_for(Stream.ENJOY, 0, 0))
        total, over = 0.0, False
        while not over:
            obs, reward, terminated, truncated, _ = env.step(policy.act(obs))
            total, over = total + float(reward), terminated or truncated
        env.close()
        assert policy.play(1).tolist() == [total]

    def test_in_a_window(self, finished_record: Record, best: str) -> None:
        """SDL's dummy driver is the display here."""
        policy = load(best)
        assert policy.play(1, window=True).tolist() == policy.play(1).tolist()

    def test_the_command(self, lab: Lab, finished_record: Record, best: str) -> None:
        returns = load(best).play(4).tolist()
        shown = lab("enjoy", best, "--episodes", 4)
        assert shown.code == 0 and shown.err == ""
        assert [float(x) for x in re.findall(r"episode \d: (\S+)", shown.out)] == returns
        assert f"mean return {np.mean(returns):.4g} (95 % interval " in shown.out
        data = json.loads(lab("enjoy", best, "--episodes", 4, "--json").out)
        assert (data["returns"], data["n"], data["mean"]) == (returns, 4, np.mean(returns))
        other = json.loads(lab("enjoy", best, "--episodes", 4, "--json", "--seed", 99).out)
        assert other["returns"] == load(best).play(4, seed=99).tolist()
        explored = json.loads(lab("enjoy", best, "--episodes", 4, "--json", "--explore").out)
        assert explored["returns"] == load(best).play(4, explore=True).tolist()
        last = json.loads(lab("enjoy", best, "--episodes", 4, "--json", "--checkpoint", "last").out)
        assert last["returns"] == load(best, "last").play(4).tolist()

    def test_the_record_stays_as_it_is(self, lab: Lab, finished_record: Record, tmp_path: Path) -> None:
        before = fingerprint(finished_record.root)
        assert lab("enjoy", "tiny_t0", "--video", tmp_path / "x.gif", "--episodes", 1).code == 0
        assert lab("enjoy", "tiny_t0_s1", "--explore", "--checkpoint", "last").code == 0
        assert fingerprint(finished_record.root) == before


def fingerprint(root: Path) -> tuple[list[str], dict[str, str]]:
    """Every row of the database, and the digest of every file beside it."""
    with closing(sqlite3.connect(root / "mlflow.db")) as database:
        rows = list(database.iterdump())
    files = [path for path in root.rglob("*") if path.is_file() and not path.match("mlflow.db*")]
    return rows, {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_video_has_a_picture_of_every_step(
    suffix: str, lab: Lab, finished_record: Record, tmp_path: Path
) -> None:
    path = tmp_path / "new folder" / f"replay{suffix}"
    answer = lab("enjoy", "tiny_t0_s0", "--episodes", 2, "--video", path)
    assert answer.code == 0, answer.err
    assert f"video: {path}" in answer.out
    steps = sum(float(x) for x in re.findall(r"episode \d: (\S+)", answer.out))
    pictures = list(imageio.imiter(path))
    assert len(pictures) == steps
    assert {picture.shape for picture in pictures} == {(400, 600, 3)}
    assert not np.array_equal(pictures[0], pictures[-1])
    if suffix == ".gif":
        with Image.open(path) as image:
            assert image.info["duration"] == 20, "CartPole renders 50 pictures a second"
            assert image.info["loop"] == 0


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--video", "x.avi"], "error: x.avi is neither .mp4 nor .gif\n"),
            (["--video", "/proc/none/x.gif"], "error: cannot write /proc/none/x.gif: "),
        ],
    )
    def test_a_video_that_cannot_be(
        self, arguments: list[str], message: str, lab: Lab, finished_record: Record
    ) -> None:
        answer = lab("enjoy", "tiny_t0", *arguments)
        assert (answer.code, answer.out) == (2, "")
        assert answer.err.startswith(message)

    def test_an_environment_that_has_no_pictures(
        self, lab: Lab, record: Record, tmp_path: Path
    ) -> None:
        env = probe("Counter", length=3, max_frame=64)
        run(tiny(env=env, meta={"max_session": 1}), say=lambda text: None)
        answer = lab("enjoy", "tiny_t0", "--video", tmp_path / "x.mp4")
        assert (answer.code, answer.err) == (3, "error: probe/Counter-v0 cannot be rendered\n")
        assert not (tmp_path / "x.mp4").exists()
        assert load("tiny_t0").play(2, window=True).tolist() == load("tiny_t0").play(2).tolist()

    @pytest.mark.parametrize(
        ("video", "message", "hint"),
        [
            (True, "error: CartPole-v1 cannot be rendered: no renderer\n", ""),
            (False, "error: no window shows it: CartPole-v1 raised ", "--video replay.mp4"),
        ],
    )
    def test_a_renderer_that_is_missing(
        self,
        video: bool,
        message: str,
        hint: str,
        lab: Lab,
        finished_record: Record,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def render(env: CartPoleEnv) -> None:
            raise DependencyNotInstalled("no renderer")

        monkeypatch.setattr(CartPoleEnv, "render", render)
        monkeypatch.setenv("DISPLAY", ":0")
        answer = lab("enjoy", "tiny_t0", *(["--video", tmp_path / "x.mp4"] if video else []))
        assert answer.code == 3 and answer.err.startswith(message) and hint in answer.err

    @pytest.fixture
    def folder(
        self, finished_record: Record, best: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Path:
        """A policy in a record of the test's own."""
        shutil.copytree(artifacts_of(finished_record, best), tmp_path / "policy")
        monkeypatch.setenv("SLM_MLRUNS", str(tmp_path))
        return tmp_path / "policy"

    def test_a_damaged_checkpoint(self, folder: Path, lab: Lab) -> None:
        path = folder / "checkpoints" / "ckpt-best.ckpt"
        path.write_bytes(path.read_bytes()[:-500])
        answer = lab("enjoy", folder)
        assert (answer.code, answer.out) == (7, "")
        assert answer.err.startswith(f"error: {path} is damaged: ")
        assert len(answer.err.splitlines()) == 1

    def test_a_checkpoint_of_another_net(self, folder: Path) -> None:
        spec = json.loads((folder / "spec_resolved.json").read_text())
        spec["agent"]["net"]["hid_layers"] = [17]
        (folder / "spec_resolved.json").write_text(json.dumps(spec))
        with pytest.raises(IntegrityError, match="size mismatch"):
            load(str(folder))

    def test_a_checkpoint_that_holds_code(self, folder: Path, tmp_path: Path) -> None:
        class Payload:
            def __reduce__(self) -> tuple[Any, ...]:
                return os.mkdir, (str(tmp_path / "executed"),)

        sealed.save({"state_dict": Payload()}, folder / "checkpoints" / "ckpt-best.ckpt")
        with pytest.raises(RefusedError, match="holds more than weights and was not loaded"):
            load(str(folder))
        assert not (tmp_path / "executed").exists()


@pytest.fixture(scope="module")
def pendulum(empty_record: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A trial with normalised observations; its agent would be lost without their statistics."""
    root = tmp_path_factory.mktemp("pendulum") / "mlruns"
    shutil.copytree(empty_record, root)
    env = {"name": "Pendulum-v1", "num_envs": 4, "max_frame": 2560, "normalize_obs": True}
    with pytest.MonkeyPatch.context() as monkeypatch:
        isolate(monkeypatch, root)
        return root, run(tiny("pendulum", env=env), sessions=1, say=lambda text: None)


class TestNormalised:
    @pytest.fixture(autouse=True)
    def here(self, pendulum: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SLM_MLRUNS", str(pendulum[0]))

    def test_the_policy_is_worth_what_the_live_session_found(
        self, pendulum: tuple[Path, Result]
    ) -> None:
        """The very episodes of the session's last evaluation, with the policy out of the record."""
        policy = load("pendulum_t0", checkpoint="last")
        env = make_env(policy.spec.env, Keys(3), Stream.EVAL, num_envs=30)
        returns = evaluate(policy.agent, policy.normalizers, env)
        table = pendulum[1].sessions[0].metrics
        assert returns.mean() == table["eval/return"].iloc[-1]
        fresh = type(policy.normalizers)(policy.spec.env, policy.info.obs_shape, 0.99)
        assert evaluate(policy.agent, fresh, env).mean() != returns.mean()
        env.close()

    def test_statistics_are_frozen(self) -> None:
        policy = load("pendulum_t0")
        before = {key: value.clone() for key, value in policy.normalizers.state_dict().items()}
        policy.play(2)
        policy.act(np.ones(3, dtype=np.float32))
        assert_equal(policy.normalizers.state_dict(), before)

    def test_actions_are_what_the_environment_takes(self) -> None:
        policy, env = load("pendulum_t0"), gym.make("Pendulum-v1")
        obs, _ = env.reset(seed=0)
        for explore in (False, True):
            action = policy.act(obs, explore)
            assert env.action_space.contains(action)
            obs, *_ = env.step(action)
        rows = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
        actions = policy.act(rows)
        assert actions.shape == (5, 1) and actions.dtype == np.float32
        singles = np.stack([policy.act(row) for row in rows])
        np.testing.assert_allclose(actions, singles, rtol=1e-6)
        assert np.ptp(actions) > 0
        env.close()


@pytest.mark.parametrize("kind", ["discrete", "multi_discrete", "multi_binary", "continuous"])
def test_actions_of_every_kind(kind: str, record: Record) -> None:
    env = probe("Identity", kind=kind, max_frame=64)
    run(tiny(env=env, meta={"max_session": 1}), say=lambda text: None)
    policy, space = load("tiny_t0"), Identity.SPACES[kind]
    space.seed(0)
    for explore in (False, True):
        assert space.contains(policy.act(space.sample(), explore)), "as the environment gives it"
        obs = np.zeros(policy.info.obs_shape, dtype=np.float32)
        assert space.contains(policy.act(obs, explore))
        batch = policy.act(np.stack([obs] * 4), explore)
        assert len(batch) == 4 and all(space.contains(action) for action in batch)
