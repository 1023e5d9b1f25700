"""Environments that raise, hang, die or do not repeat themselves, in sessions of real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from slm_lightning import run
from slm_lightning.cli.showing import show
from slm_lightning.core import Keys, Stream
from slm_lightning.lab.crash import play_again
from slm_lightning.tracking import Record
from tests.envs.misbehaving import misbehaving
from tests.support import REPOSITORY, TINY, Lab, faulty, numbers, tiny, write_spec

pytestmark = pytest.mark.usefixtures("no_pictures")
ASYNC = {"vectorization_mode": "async"}
ALONE = {"max_session": 1}


def outcome(env: dict[str, Any]) -> tuple[str, str]:
    """How the only session of a trial ended, and why."""
    result = run(tiny(env=env, meta=ALONE), say=lambda text: None)
    (session,) = result.sessions
    return session.outcome.status, session.outcome.message


def workers() -> set[psutil.Process]:
    """The processes below this one, but those that serve to start others."""
    servers = ("forkserver", "resource_tracker")
    below = psutil.Process().children(recursive=True)
    return {process for process in below if not any(word in str(process.cmdline()) for word in servers)}


@pytest.mark.parametrize("mode", [{}, pytest.param(ASYNC, marks=pytest.mark.slow)])
def test_an_error_can_be_played_again(record: Record, mode: dict[str, Any]) -> None:
    env = faulty("raise", session=0, at=100, **mode)
    result = run(tiny(env=env, meta=ALONE), say=lambda text: None)
    (session,) = result.sessions
    path = record.download(session.run_id, "crash.json")
    crash = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert crash["error"] == "RuntimeError: the motor burnt out"
    assert crash["where"].startswith("tests/lab/faults.py:")
    assert crash["sub_environment"] == 0
    assert len(crash["last_observation"]) == 4 and 0 < len(crash["actions"]) <= 100
    assert crash["traceback"][-1] == "RuntimeError: the motor burnt out"
    reason = session.outcome.message
    assert f"raised {crash['error']} ({crash['where']}) in step {len(crash['actions'])} of" in reason
    assert f"python -m slm_lightning.lab.crash {path}" in show(record, record.get(session.run_id))
    assert "the motor burnt out" in record.download(session.run_id, "session.log").read_text()

    taken = len(crash["actions"])
    assert play_again(path) == taken, "the fault comes with the hundredth step of an environment"
    crash["env"] |= {"at": taken, "first_seed": crash["episode_seed"]}
    path.write_text(json.dumps(crash))
    with pytest.raises(RuntimeError, match="the motor burnt out"):
        play_again(path)
    again = subprocess.run(
        [sys.executable, "-m", "slm_lightning.lab.crash", path],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert again.returncode == 1 and again.stderr.endswith("RuntimeError: the motor burnt out\n")


@pytest.mark.parametrize("mode", [{}, ASYNC], ids=["sync", "async"])
def test_a_step_that_hangs_is_ended(lab: Lab, record: Record, tmp_path: Path, mode: Any) -> None:
    env, before = faulty("sleep", session=0, step_timeout=0.5, **mode), workers()
    answer = lab("run", write_spec(tmp_path / "spec.json", tiny(env=env, meta=ALONE)))
    assert answer.code == 4
    assert "failed: a step took longer than 0.5 s (env.step_timeout); session.log says" in answer.err
    session = record.find("tiny_t0_s0")
    log = record.download(session.run_id, "session.log").read_text()
    assert ("in _fail" in log) == (not mode), "where it hung, if it was in the session's process"
    assert workers() <= before


def test_an_evaluation_that_hangs_is_ended(record: Record) -> None:
    seed = Keys(TINY["meta"]["seed"], 0).seed_for(Stream.EVAL, 0, 0)
    env = faulty("sleep", at=5, first_seed=seed, step_timeout=0.5)
    assert outcome(env)[1].startswith("a step took longer than 0.5 s")


def test_a_dead_environment_worker_is_a_restart(record: Record, tmp_path: Path) -> None:
    died = tmp_path / "died"
    env = faulty("kill", session=0, once=str(died), **ASYNC)
    results = [run(tiny(env=env, meta=ALONE), say=lambda text: None) for _ in range(2)]
    assert died.exists() and [result.status for result in results] == ["done", "done"]
    one, other = (numbers(result.sessions[0].metrics) for result in results)
    assert one.equals(other)


@pytest.mark.slow
def test_one_that_dies_again_and_again_is_named(record: Record) -> None:
    env, before = faulty("kill", session=0, **ASYNC), workers()
    assert outcome(env) == ("failed", "worker 0 died: SIGKILL, after 3 restarts")
    assert workers() <= before


def test_a_run_that_cannot_be_exact_says_so_and_goes_on(
    lab: Lab, record: Record, tmp_path: Path
) -> None:
    env = misbehaving("random", at=600, stopped=str(tmp_path / "stopped"))
    path = write_spec(tmp_path / "spec.json", tiny(env=env, meta=ALONE))
    answer = lab("run", path)
    assert answer.code == 75
    assert "note: env.name: tests/Misbehaving-v0 does not repeat itself" in answer.out + answer.err
    trial = record.find("tiny_t0")
    assert trial.tags["slm.exact"] == "approximate"
    before = record.history(record.children(trial.run_id)[0].run_id)
    resumed = lab("resume", trial.run_id)
    assert resumed.code == 0
    assert "warning: its environment does not repeat itself; new episodes begin" in (
        resumed.out + resumed.err
    )
    session = record.find("tiny_t0_s0")
    table = record.history(session.run_id)
    assert table["frame"].iloc[-1] == 1984 and len(table) > len(before) > 0
    log = record.download(session.run_id, "session.log").read_text()
    assert "new episodes begin, the numbers are approximate" in log


def test_validate_says_the_same(lab: Lab, tmp_path: Path) -> None:
    path = write_spec(tmp_path / "spec.json", tiny(env=misbehaving("leak")))
    answer = lab("validate", path)
    assert answer.code == 0
    assert "runs with notes" in answer.out
    assert "tests/Misbehaving-v0 keeps traces of earlier episodes over a reset" in answer.out
    write_spec(path, tiny(env=misbehaving("nan")))
    answer = lab("validate", path)
    assert answer.code in (2, 3) and "observation is not finite, in step 13" in answer.out


def test_a_baseline_that_kills_its_process_does_not_kill_the_lab(
    record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    """It plays 1000 steps; neither the walk before nor a sub-environment of training plays as many."""
    assert outcome(misbehaving("segfault", at=995)) == ("done", "")
    assert "no random baseline for tests/Misbehaving-v0" in caplog.text
    assert "ends the process that plays it: SIGSEGV" in caplog.text
