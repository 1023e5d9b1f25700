"""Sessions whose model is trained by two processes; the processes and the faults are real."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from slm_lightning import resume, run
from slm_lightning.core import Keys, Stream
from slm_lightning.errors import SpecError
from slm_lightning.lab.preflight import devices_of
from slm_lightning.lab.result import Result
from slm_lightning.tracking import Record
from tests.conftest import REPLAY, make_spec
from tests.support import (
    PATIENCE,
    TINY,
    Lab,
    assert_same_numbers,
    checkpoint,
    equal,
    faulty,
    start_lab,
    tiny,
    wait_until,
    write_spec,
)

pytestmark = pytest.mark.usefixtures("no_pictures")
SYNCED = {"distributed": "synced"}
DQN = {
    "name": "DQN",
    "gamma": 0.99,
    "training_frequency": 16,
    "training_iter": 2,
    "explore_var_spec": {"start_val": 0.1},
}
PPO = {
    "name": "PPO",
    "gamma": 0.99,
    "lam": 0.95,
    "clip_eps_spec": {"start_val": 0.2},
    "entropy_coef_spec": {"start_val": 0.01},
    "time_horizon": 16,
    "minibatch_size": 16,
    "training_epoch": 2,
}
LEARNERS: dict[str, dict[str, Any]] = {
    "A3C": {"env": {"normalize_obs": True, "normalize_reward": True}},
    "A3C with whole episodes": {
        "memory": {"name": "OnPolicyReplay"},
        "algorithm": {"training_frequency": 1, "normalize_v_targets": True},
        "env": {"num_envs": 1, "max_frame": 1000},
    },
    "DPPO": {"algorithm": PPO, "env": {"max_frame": 800}},
    "DQN": {"algorithm": DQN, "memory": REPLAY, "env": {"max_frame": 800}},
}


def spec_of(*, workers: int = 2, **sections: dict[str, Any]) -> dict[str, Any]:
    """``tests.support.TINY`` for several workers, with keys of its sections replaced."""
    meta = {**SYNCED, "max_session": workers} | sections.pop("meta", {})
    algorithm = sections.pop("algorithm", {})
    spec = tiny(**sections, meta=meta)
    agent = spec["tiny"]["agent"]
    agent["algorithm"] = algorithm if "name" in algorithm else agent["algorithm"] | algorithm
    return spec


def second(fault: str, at: int = 200, **options: Any) -> dict[str, Any]:
    """The section ``env`` with CartPole going wrong for the second worker."""
    seed = Keys(TINY["meta"]["seed"], worker=1).seed_for(Stream.ENV, 0, 0)
    return faulty(fault, at=at, first_seed=seed, **options)


def states(result: Result, record: Record) -> tuple[dict[str, Any], dict[str, Any]]:
    """The last checkpoints of both workers."""
    (session,) = result.sessions
    first = checkpoint(record, session.run_id, "last")
    name = f"checkpoints/ckpt-last.worker-1.round-{first['session']['version']}.ckpt"
    return first, torch.load(record.download(session.run_id, name), weights_only=True)


@pytest.mark.parametrize("name", LEARNERS)
def test_two_workers_train_one_model(name: str, record: Record) -> None:
    result = run(spec_of(**LEARNERS[name]), say=lambda text: None)
    assert result.status == "done"
    first, other = states(result, record)
    for key, value in first["state_dict"].items():
        if key != "normalizers.reward.returns":  # of the environments, which are each worker's own
            assert torch.equal(value, other["state_dict"][key]), key
    assert first["optimizer_states"] and equal(first["optimizer_states"], other["optimizer_states"])
    ours, theirs = first["RolloutData"], other["RolloutData"]
    assert ours["collector"]["frame"] == theirs["collector"]["frame"]
    assert not torch.equal(ours["collector"]["obs"], theirs["collector"]["obs"])


def test_the_record_is_of_all_workers(record: Record) -> None:
    """15 rounds of 128 frames; the episodes of both, each of as many frames as its return."""
    result = run(spec_of(), say=lambda text: None)
    (session,) = result.sessions
    assert session.metrics["frame"].tolist() == [*range(200, 2000, 200), 1920]
    last = session.metrics.iloc[-1]
    first, other = states(result, record)
    unfinished = sum(int(state["RolloutData"]["collector"]["length"].sum()) for state in (first, other))
    returns = first["callbacks"]["MetricLog"]["returns"]
    assert len(returns) == last["epi"] < 100
    assert sum(returns) + unfinished == 1920
    assert other["callbacks"]["MetricLog"]["returns"] == returns
    trial = record.find("tiny_t0")
    assert len(record.children(trial.run_id)) == 1
    assert trial.metrics["sessions_planned"] == trial.metrics["sessions"] == 1


def test_a_stopped_session_goes_on_to_the_same_numbers(
    lab: Lab, record: Record, tmp_path: Path
) -> None:
    """The signal comes to one worker; both end with the same round."""
    env = second("stop", once=str(tmp_path / "stopped")) | {"normalize_obs": True}
    file = write_spec(tmp_path / "spec.json", spec_of(env=env))
    assert lab("run", file).code == 75
    (session,) = record.children(record.find("tiny_t0").run_id)
    assert (session.status, session.tags["slm.status"]) == ("KILLED", "stopped")
    names = [path for path in record.artifacts(session.run_id) if "worker" in path]
    assert "checkpoints/ckpt-last.worker-1.round-7.ckpt" in names
    resumed = resume("tiny_t0", say=lambda text: None)
    undisturbed = run(spec_of(env=env), say=lambda text: None)
    assert_same_numbers(resumed, undisturbed, record)
    assert equal(*(states(result, record)[1]["RolloutData"] for result in (resumed, undisturbed))), (
        "the second worker's environments too"
    )


def test_a_killed_worker_ends_the_others_and_all_start_again(record: Record, tmp_path: Path) -> None:
    died = tmp_path / "died"
    env = second("kill", once=str(died))
    result = run(spec_of(env=env), say=lambda text: None)
    assert died.exists()
    assert result.status == "done"
    assert_same_numbers(result, run(spec_of(env=env), say=lambda text: None), record)


@pytest.mark.parametrize(
    "fault, code, message",
    [
        ("raise", 4, "session 0 failed: tests/Faulty-v0 raised RuntimeError: the motor burnt out"),
        (
            "nan",
            5,
            "diverged: the environment gave a reward that is not finite, by frame 896",
        ),
        ("kill", 4, "session 0 failed: its process died 4 times, at last by SIGKILL"),
    ],
)
def test_what_fails_one_worker_fails_the_session(
    fault: str, code: int, message: str, lab: Lab, record: Record, tmp_path: Path
) -> None:
    """With the reason of the worker that failed, and the best policy until then."""
    answer = lab("run", write_spec(tmp_path / "spec.json", spec_of(env=second(fault))))
    assert answer.code == code
    assert message in answer.err
    assert multiprocessing.active_children() == []
    (session,) = record.children(record.find("tiny_t0").run_id)
    assert "checkpoints/ckpt-best.ckpt" in record.artifacts(session.run_id)


def test_ctrl_c_in_a_terminal(record: Record, tmp_path: Path) -> None:
    file = write_spec(tmp_path / "spec.json", spec_of(env={"max_frame": 10**12}))
    process = start_lab("run", file, cwd=tmp_path)
    rows = record.root.glob
    wait_until(lambda: any(p.stat().st_size for p in rows("runs/*/metrics.jsonl")), "there are rows")
    children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    assert "stopped by SIGINT" in err and "0 of 1 sessions done" in out
    _, alive = psutil.wait_procs(children, timeout=PATIENCE)
    assert not alive, [child.cmdline() for child in alive]


@pytest.mark.parametrize(
    "spec, message",
    [
        (
            spec_of(env={"max_frame": 127}),
            "env.max_frame: 127 frames are less than one round of 128"
            " (32 vector steps x 2 sub-environments x 2 workers)",
        ),
        (
            spec_of(algorithm=PPO, memory={"name": "OnPolicyReplay"}, env={"num_envs": 1}),
            "agent.memory.name: with OnPolicyReplay the workers (meta.distributed) have rounds of"
            " different lengths, which are different numbers of minibatches;"
            " choose OnPolicyBatchReplay",
        ),
    ],
    ids=["budget", "minibatches"],
)
def test_what_several_workers_cannot_do(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as refused:
        run(spec, say=lambda text: None)
    assert str(refused.value) == message


def test_gpus_are_dealt_to_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    workers = make_spec("PPO", meta={**SYNCED, "max_session": 3})
    assert devices_of(workers, 0) == ("cuda:0", "cuda:1", "cuda:0")
    assert devices_of(make_spec("PPO", meta={"max_session": 3}), 1) == ("cuda:1",)
    assert devices_of(workers, 0, "cpu") == ("cpu",) * 3


def test_one_worker_is_a_plain_session(record: Record) -> None:
    one = run(spec_of(workers=1), say=lambda text: None)
    plain = run(tiny(meta={"max_session": 1}), say=lambda text: None)
    assert_same_numbers(one, plain, record)
