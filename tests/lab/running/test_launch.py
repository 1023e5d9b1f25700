"""How sessions end, and what the trial, the record and the exit code then say. The faults are real."""

from __future__ import annotations

import json
import math
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from slm_lightning import run
from slm_lightning.lab import graphs
from slm_lightning.lab.result import Result
from slm_lightning.tracking import Record
from tests.support import (
    FRAMES,
    PATIENCE,
    Lab,
    assert_same_numbers,
    checkpoint,
    faulty,
    numbers,
    start_lab,
    tiny,
    wait_until,
    write_spec,
)

pytestmark = pytest.mark.usefixtures("no_pictures")
ENDLESS = 10**12


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    return tmp_path / "spec.json"


def states(record: Record) -> dict[str, tuple[str, str]]:
    """MLflow's status and the lab's, of every run by its name."""
    return {run.name: (run.status, run.tags["slm.status"]) for run in record.runs()}


def test_success(lab: Lab, record: Record, spec_file: Path) -> None:
    answer = lab("run", write_spec(spec_file, tiny()), "--sessions", 3)
    assert answer.code == 0
    assert "tiny_t0: 3 of 3 sessions done" in answer.out
    assert set(states(record).values()) == {("FINISHED", "done")}
    assert list((record.root / "runs").iterdir()) == []


def test_an_environment_that_raises_fails_its_session_alone(
    lab: Lab, record: Record, spec_file: Path
) -> None:
    answer = lab("run", write_spec(spec_file, tiny(env=faulty("raise"))))
    assert answer.code == 4
    said = "tests/Faulty-v0 raised RuntimeError: the motor burnt out (tests/lab/faults.py:"
    assert f"session 1 failed: {said}" in answer.err
    assert "Traceback" not in answer.err + answer.out
    assert "1 of 2 sessions done" in answer.out
    assert states(record) == {
        "tiny_t0": ("FAILED", "failed"),
        "tiny_t0_s0": ("FINISHED", "done"),
        "tiny_t0_s1": ("FAILED", "failed"),
    }
    trial = record.find("tiny_t0")
    good, bad = record.children(trial.run_id)
    assert record.history(good.run_id)["frame"].tolist() == FRAMES
    assert record.history(bad.run_id)["frame"].tolist() == [200, 400, 600]
    assert bad.tags["slm.reason"].startswith(said)
    log = record.download(bad.run_id, "session.log").read_text()
    assert 'raise RuntimeError("the motor burnt out")' in log
    assert (trial.metrics["sessions"], trial.metrics["sessions_ended_early"]) == (2, 1)
    kept = {path.name for path in (record.root / "runs").iterdir()}
    assert kept == {trial.run_id, bad.run_id}

    shown = lab("show", trial.run_id)
    assert "failed" in shown.out and "the motor burnt out" in lab("show", bad.run_id).out


def test_a_reward_that_is_no_number_is_a_divergence(lab: Lab, record: Record, spec_file: Path) -> None:
    answer = lab("run", write_spec(spec_file, tiny(env=faulty("nan"))), "--json")
    assert answer.code == 5
    assert "1 diverged: the environment gave a reward that is not finite, by frame 832" in answer.err
    summary = json.loads(answer.out)
    assert summary["status"] == "diverged"
    assert [s["status"] for s in summary["sessions"]] == ["done", "diverged"]
    bad = record.find("tiny_t0_s1")
    assert (bad.status, bad.tags["slm.status"]) == ("FAILED", "diverged")
    best = checkpoint(record, bad.run_id, "best")
    assert best["frame"] < 832 and math.isfinite(best["total_reward_ma"])
    assert all(value.isfinite().all() for value in best["state_dict"].values())
    assert lab("enjoy", bad.run_id, "--episodes", 1).code == 0


def test_a_policy_that_is_no_number_is_not_kept_as_the_best(
    lab: Lab, record: Record, spec_file: Path
) -> None:
    """The update ruins the weights in the very round in which the first score is the best."""
    spec = tiny(
        net={"optim_spec": {"name": "SGD", "lr": 1e38}},
        env={"num_envs": 8},
        meta={"max_session": 1, "log_frequency": 64},
    )
    answer = lab("run", write_spec(spec_file, spec))
    assert answer.code == 5
    assert re.search(
        r"diverged: agent\.\S+ is not finite after the update at frame 256; lower", answer.err
    )
    assert "enjoy" not in answer.out
    run = record.find("tiny_t0_s0")
    assert not [path for path in record.artifacts(run.run_id) if path.startswith("checkpoints/")]
    refused = lab("enjoy", run.run_id)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == "error: tiny_t0_s0 (failed) has no ckpt-best\n"


def test_a_killed_session_goes_on_by_itself_to_the_same_numbers(record: Record, tmp_path: Path) -> None:
    died = tmp_path / "died"
    env = faulty("kill", once=str(died))
    result = run(tiny(env=env), say=lambda text: None)
    assert died.exists()
    assert result.status == "done"
    undisturbed = run(tiny(env=env), say=lambda text: None)
    assert_same_numbers(result, undisturbed, record)


def test_a_session_that_is_killed_again_and_again_is_reported(
    lab: Lab, record: Record, spec_file: Path
) -> None:
    answer = lab("run", write_spec(spec_file, tiny(env=faulty("kill"))))
    assert answer.code == 4
    assert "session 1 failed: its process died 4 times, at last by SIGKILL" in answer.err
    assert states(record)["tiny_t0_s1"] == ("FAILED", "failed")
    assert states(record)["tiny_t0_s0"] == ("FINISHED", "done")


def test_a_session_that_somebody_else_stops_is_no_success(
    lab: Lab, record: Record, spec_file: Path
) -> None:
    answer = lab("run", write_spec(spec_file, tiny(env=faulty("stop"))))
    assert answer.code == 75
    assert "1 of 2 sessions done" in answer.out
    assert states(record) == {
        "tiny_t0": ("KILLED", "stopped"),
        "tiny_t0_s0": ("FINISHED", "done"),
        "tiny_t0_s1": ("KILLED", "stopped"),
    }
    assert lab("resume", "tiny_t0").code == 0
    assert set(states(record).values()) == {("FINISHED", "done")}


@pytest.fixture
def one_core() -> Iterator[None]:
    """One session at a time."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


def test_a_signal_ends_a_trial_in_good_order(
    lab: Lab, record: Record, spec_file: Path, one_core: None
) -> None:
    env = faulty("signal", session=0, lab=os.getpid(), once=str(spec_file.with_name("signalled")))
    answer = lab("run", write_spec(spec_file, tiny(env=env)))
    assert answer.code == 75
    assert "stopped by SIGTERM; to go on: slm-lightning resume" in answer.err
    assert "0 of 2 sessions done" in answer.out
    assert set(states(record).values()) == {("KILLED", "stopped")}
    first, second = record.children(record.find("tiny_t0").run_id)
    assert second.tags["slm.reason"] == "not started"
    rows = journal(record, first.run_id)
    assert [row["frame"] for row in rows] == [200, 400, 600, 800], "the round is finished, and no more"
    history = record.client.get_metric_history(first.run_id, "total_reward_ma")
    assert sorted((p.step, p.value) for p in history) == [
        (row["frame"], row["total_reward_ma"]) for row in rows
    ]
    assert checkpoint(record, first.run_id, "last")["callbacks"]["MetricLog"]["next_mark"] == 1000
    assert checkpoint(record, first.run_id, "best")["frame"] <= 832
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL

    assert lab("resume", "tiny_t0").code == 0
    assert set(states(record).values()) == {("FINISHED", "done")}
    assert record.history(first.run_id)["frame"].tolist() == FRAMES


def test_a_second_signal_kills_what_does_not_stop(lab: Lab, record: Record, spec_file: Path) -> None:
    env = faulty("hang", session=0, lab=os.getpid())
    assert lab("run", write_spec(spec_file, tiny(env=env)), "--sessions", 1).code == 75
    assert states(record)["tiny_t0_s0"] == ("KILLED", "stopped")
    assert record.find("tiny_t0_s0").tags["slm.reason"] == "killed while stopping"


@pytest.mark.parametrize(
    "when", ["while it starts", pytest.param("while it trains", marks=pytest.mark.slow)]
)
def test_ctrl_c_in_a_terminal(when: str, record: Record, tmp_path: Path, spec_file: Path) -> None:
    """It reaches all processes of the terminal's group: the lab, its fork server and their helpers."""
    write_spec(spec_file, tiny(env={"max_frame": ENDLESS}))
    process = start_lab("run", spec_file, "--sessions", 1, cwd=tmp_path)
    if when == "while it starts":
        wait_until(lambda: len(psutil.Process(process.pid).children()) >= 2, "the fork server is there")
    else:
        wait_until(lambda: scored(record, 1), "the session writes rows")
    below = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert not psutil.wait_procs(below, timeout=5)[1]
    assert process.returncode == 130, err
    assert "Traceback" not in err and "Aborted" not in err
    if when == "while it starts":
        assert (out, err.strip(), record.runs()) == ("", "stopped by SIGINT", [])
    else:
        assert "stopped by SIGINT" in err and "0 of 1 sessions done" in out
        assert set(states(record).values()) == {("KILLED", "stopped")}


def test_ctrl_c_while_the_graphs_are_drawn(
    lab: Lab, record: Record, spec_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost: resuming does what was left to do."""

    def interrupted(figs: object) -> bool:
        os.kill(os.getpid(), signal.SIGINT)
        return False

    with monkeypatch.context() as patch:
        patch.setattr(graphs, "write_png", interrupted)
        assert lab("run", write_spec(spec_file, tiny())).code == 130
    assert {run.status for run in record.runs()} == {"KILLED"}
    resumed = lab("resume", "tiny_t0")
    assert resumed.code == 0 and "2 of 2 sessions done" in resumed.out
    assert set(states(record).values()) == {("FINISHED", "done")}
    assert "checkpoints/ckpt-best.ckpt" in record.artifacts(record.find("tiny_t0_s1").run_id)
    assert list((record.root / "runs").iterdir()) == []
    again = lab("resume", "tiny_t0")
    assert (again.code, again.err) == (0, "tiny_t0 is done: nothing to do\n")
    assert again.out == resumed.out


def test_nothing_survives_a_killed_lab(record: Record, tmp_path: Path, spec_file: Path) -> None:
    """Not even a session that waits for an environment which does not answer, in its own process."""
    sleeps = tmp_path / "sleeps"
    env = faulty("sleep", session=0, once=str(sleeps), vectorization_mode="async")
    write_spec(spec_file, tiny(env=env))
    process = start_lab("run", spec_file, "--sessions", 1, cwd=tmp_path)
    wait_until(sleeps.exists, "the environment sleeps")
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 5, "fork server, its helper, the session, its two environments"
    process.kill()
    process.communicate(timeout=PATIENCE)
    _, alive = psutil.wait_procs(children, timeout=PATIENCE)
    assert not alive, [child.cmdline() for child in alive]
    Record().sweep()
    assert {run.status for run in record.runs()} == {"KILLED"}


def test_sessions_at_once_do_not_disturb_each_other(finished: Result, record: Record) -> None:
    """Three sessions beside each other where there are cores for them; the first two as ever."""
    result = run(tiny(), sessions=3, say=lambda text: None)
    for before, now in zip(finished.sessions, result.sessions):
        assert numbers(now.metrics).equals(numbers(before.metrics))


def journal(record: Record, run_id: str) -> list[dict[str, float]]:
    """The rows in the working folder of a run."""
    text = (record.working_folder(run_id) / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def scored(record: Record, sessions: int) -> bool:
    """Whether this many sessions have written a score."""
    found = record.root.glob("runs/*/metrics.jsonl")
    return sum("total_reward_ma" in path.read_text() for path in found) == sessions
