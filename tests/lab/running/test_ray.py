"""Sessions and a search on a real Ray cluster of two nodes, one of which is lost."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import psutil
import pytest
import torch

from slm_lightning.api import search
from slm_lightning.errors import LabError, MissingError, UsageError
from slm_lightning.lab.running import ray_engine
from slm_lightning.lab.running.admission import Machine
from slm_lightning.lab.running.job import Job, Needs, Outcome, Reached
from slm_lightning.lab.running.launch import Launcher
from slm_lightning.lab.running.local_engine import LocalEngine
from slm_lightning.lab.running.ray_engine import RayEngine
from slm_lightning.lab.trial import read_metrics
from slm_lightning.registry import REGISTRY
from slm_lightning.spec.load import raw_spec
from slm_lightning.spec.resolve import resolve
from slm_lightning.tracking import Record
from tests.lab.searching import search_spec
from tests.support import REPOSITORY, equal, needs, numbers, stored_state, tiny, wait_until
from tests.tracking.support import free_port

NODE = {"object_store_memory": 100 * 2**20, "include_dashboard": False}
ENDLESS = {"max_frame": 10**12}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head, where nothing runs but Ray, and two nodes of one core each."""
    needs("ray", "ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(REPOSITORY))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster

        default = signal.getsignal(signal.SIGTERM)
        impatient = {"health_check_period_ms": 500, "health_check_failure_threshold": 2}
        head = {"num_cpus": 0, "_system_config": impatient, **NODE}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(2):
            cluster.add_node(num_cpus=1, **NODE)
        signal.signal(signal.SIGTERM, default)  # which Ray takes for its nodes
        yield cluster
        cluster.shutdown()


@pytest.fixture(scope="module")
def engine(cluster: Any) -> Iterator[RayEngine]:
    engine = RayEngine(cluster.address)
    yield engine
    engine.close()


def job(folder: Path, session: int = 0, **env: Any) -> Job:
    spec = resolve(raw_spec("tiny", tiny(env=env)["tiny"]), REGISTRY)
    folder = folder / f"s{session}"
    folder.mkdir(parents=True, exist_ok=True)
    return Job(spec.to_dict(), 0, session, str(folder), ("cpu",), Needs(cpus=1, memory=2**28))


def launch(
    engine: Any, jobs: list[Job], on_progress: Callable[[Job, Reached], None] = lambda *_: None
) -> dict[int, Outcome]:
    """Runs jobs; how each ended."""
    ends: dict[int, Outcome] = {}
    launcher = Launcher(engine, on_progress, lambda job, end: ends.update({job.session: end}))
    launcher.add(jobs)
    launcher.run()
    return ends


def rows(job: Job) -> pd.DataFrame:
    return numbers(read_metrics(Path(job.folder)))


def state(job: Job, which: str) -> dict[str, Any]:
    return stored_state(Path(job.folder) / "checkpoints" / f"ckpt-{which}.ckpt")


def test_sessions_come_to_the_numbers_of_one_machine(
    engine: RayEngine, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    remote = [job(tmp_path / "remote", s) for s in range(3)]
    local = [job(tmp_path / "local", s) for s in range(3)]
    assert set(launch(engine, remote).values()) == {Outcome("done")}
    assert capfd.readouterr() == ("", "")
    launch(LocalEngine(Machine.here()), local)
    for one, other in zip(remote, local):
        pd.testing.assert_frame_equal(rows(one), rows(other), check_exact=True)
        assert all(equal(state(one, which), state(other, which)) for which in ("best", "last"))
        names = {path.name for path in (Path(one.folder) / "checkpoints").iterdir()}
        assert names == {".resume", "ckpt-best.ckpt", "ckpt-last.ckpt"}


def test_ctrl_c_brings_everything_home(engine: RayEngine, tmp_path: Path) -> None:
    """What is asked to stop saves itself, and the driver has it; what has not begun never does."""
    jobs = [job(tmp_path, s, **ENDLESS) for s in range(3)]
    begun: list[int] = []

    def interrupt(job: Job, reached: Reached) -> None:
        if job.session not in begun:
            begun.append(job.session)
            if len(begun) == 2:
                os.kill(os.getpid(), signal.SIGINT)

    ends = launch(engine, jobs, interrupt)
    stopped = Outcome("stopped", "asked to stop")
    assert ends == {0: stopped, 1: stopped, 2: Outcome("stopped", "not started")}
    for job_ in jobs[:2]:
        last = torch.load(Path(job_.folder) / "checkpoints/ckpt-last.ckpt", weights_only=True)
        written = last["callbacks"]["MetricLog"]["written"]
        assert (Path(job_.folder) / "metrics.jsonl").stat().st_size == written > 0


def test_a_cancelled_session_makes_room(engine: RayEngine, tmp_path: Path) -> None:
    endless = [job(tmp_path, s, **ENDLESS) for s in range(2)]
    ends: dict[int, Outcome] = {}

    def cancel(job: Job, reached: Reached) -> None:
        if job in endless:
            launcher.cancel(job)

    launcher = Launcher(engine, cancel, lambda job, end: ends.update({job.session: end}))
    launcher.add([*endless, job(tmp_path, 2)])
    launcher.run()
    assert ends == {2: Outcome("done")}


@pytest.mark.parametrize(
    ("address", "kind", "said"),
    [
        (None, UsageError, "no address of a Ray cluster"),
        ("somewhere", UsageError, '"somewhere" is no address of a Ray cluster'),
        ("ray://host:10001", UsageError, '"ray://host:10001" is no address of a Ray cluster'),
        ("127.0.0.1:{free}", MissingError, "cannot be used: Connection refused"),
        ("nowhere.invalid:6379", MissingError, "cannot be used: Name or service not known"),
    ],
)
def test_no_cluster(address: str | None, kind: type[LabError], said: str) -> None:
    with pytest.raises(kind) as caught:
        RayEngine(address and address.format(free=free_port()))
    assert said in str(caught.value) and caught.value.hint


def test_ray_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingError, match="Ray is not installed") as caught:
        RayEngine("local")
    assert caught.value.hint == 'pip install "slm-lightning[ray]"'


def test_a_token_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    needs("ray", "ray")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    refusal = pytest.raises(MissingError, match="does not know our token")
    with socket.create_server(("127.0.0.1", 0)) as server, refusal as caught:
        RayEngine(f"127.0.0.1:{server.getsockname()[1]}")
    assert "RAY_AUTH_TOKEN_PATH" in caught.value.hint


def test_other_code_on_a_node_is_refused(
    engine: RayEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it is the driver that has another version than the nodes."""
    theirs = engine.code["torch"]
    monkeypatch.setitem(engine.code, "torch", "1.0")
    with pytest.raises(MissingError, match=re.escape(f"has torch {theirs} instead of 1.0")):
        launch(engine, [job(tmp_path)])


def test_how_many_sessions_fit(
    engine: RayEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = job(tmp_path)
    running = [SimpleNamespace(job=one)]
    assert engine.fits(one, running)
    assert not engine.fits(one, running * 2), "there are two cores"
    monkeypatch.setattr(engine, "cores", 1)
    assert not engine.fits(one, running)


def test_what_a_session_takes_of_a_node(engine: RayEngine, tmp_path: Path) -> None:
    def taken(needs: Needs, workers: int = 1) -> tuple[dict[str, float], tuple[str, ...]]:
        devices = ("cpu",) * workers
        wanted = replace(job(tmp_path), needs=needs, devices=devices)
        return engine.resources(wanted), engine.devices(wanted)

    small, large = {"CPU": 4.0, "memory": 8.0}, {"CPU": 8.0, "memory": 16.0, "GPU": 2.0}
    engine.seen = {"small": small}
    assert taken(Needs(2, 0.25, 6)) == ({"CPU": 2, "GPU": 0, "memory": 6}, ("cpu",))
    assert taken(Needs(6, 0, 99)) == ({"CPU": 4, "GPU": 0, "memory": 8}, ("cpu",))
    engine.seen = {"small": small, "large": large}
    assert taken(Needs(1, 0.25, 1)) == ({"CPU": 1, "GPU": 0.25, "memory": 1}, ("cuda:0",))
    assert taken(Needs(1, 0.5, 1), 4) == (
        {"CPU": 4, "GPU": 2, "memory": 1},
        ("cuda:0", "cuda:0", "cuda:1", "cuda:1"),
    )
    assert taken(Needs(1, 0.4, 1), 3)[0]["GPU"] == 2
    assert taken(Needs(3, 0, 1), 3)[0] == {"CPU": 8, "GPU": 0, "memory": 1}
    engine.seen = {"head": {"memory": 99.0}}
    assert taken(Needs(2, 0, 1))[0]["CPU"] == 2, "a node with cores is still to come"


def test_a_search_survives_the_loss_of_a_node(
    cluster: Any,
    engine: RayEngine,
    record: Record,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    bed = tmp_path / "bed"
    env = {"name": "tests/Sleeper-v0", "entry_point": "tests.lab.sleeper:Sleeper"}
    spec = search_spec(trials=3, sessions=2, batch=2)
    next(iter(spec.values()))["env"] |= {**env, "at": 100, "bed": str(bed)}
    monkeypatch.setattr(engine, "close", lambda: None)
    killer = threading.Thread(target=lose_the_node_of, args=(cluster, bed))
    killer.start()
    result = search(spec, where=Lent(engine), say=lambda text: None)
    killer.join()
    assert "ray" not in "".join(capfd.readouterr())
    assert len([node for node in engine.ray.nodes() if node["Alive"]]) == 2
    assert result.status == "done"
    trials = record.children(result.run_id)
    sessions = [run for trial in trials for run in record.children(trial.run_id)]
    assert len(trials) == 3 and len(sessions) == 6
    assert {run.status for run in (*trials, *sessions)} == {"FINISHED"}

    assert bed.exists(), "nobody falls asleep any more"
    unbroken = search(spec, say=lambda text: None)
    for one, other in zip(trials, record.children(unbroken.run_id), strict=True):
        assert one.tags["slm.drawn"] == other.tags["slm.drawn"]
        assert one.tags["slm.values"] == other.tags["slm.values"]
        for left, right in zip(record.children(one.run_id), record.children(other.run_id), strict=True):
            rows = [numbers(record.history(run.run_id)) for run in (left, right)]
            pd.testing.assert_frame_equal(*rows, check_exact=True)


def test_idle_actors_are_given_back(engine: RayEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine.idle
    monkeypatch.setattr(ray_engine, "IDLE_SECONDS", 0)
    assert list(engine.wait([])) == []
    assert not engine.idle
    wait_until(lambda: engine.ray.available_resources().get("CPU") == 1, "the core is free")


@dataclass
class Lent:
    """An engine that is already there."""

    lent: RayEngine

    def engine(self) -> RayEngine:
        return self.lent


def lose_the_node_of(cluster: Any, bed: Path) -> None:
    """Kills the node of the process that has written ``bed``, as a power cut would."""
    asleep = int(wait_until(lambda: bed.exists() and bed.read_text(), "a session sleeps"))
    above = {process.pid for process in psutil.Process(asleep).parents()}
    nodes = {node.all_processes["raylet"][0].process.pid: node for node in cluster.list_all_nodes()}
    cluster.remove_node(nodes[above.intersection(nodes).pop()], allow_graceful=False)
