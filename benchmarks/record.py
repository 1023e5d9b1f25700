"""What it costs to record and to read a large search.

    python -m benchmarks.record [--trials 1000] [--sessions 4] [--rows 20] [--root FOLDER]

A search runs as always, on an engine that trains nothing: each session ends at once and leaves a
journal of so many rows and a checkpoint. So what is timed is the lab itself: drawing settings, creating
runs, delivering rows, closing trials. Then the commands that read the record run on it, and MLflow's
own server answers as its table of runs asks. Seconds are those of the clock and, beside them, of the
CPU, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure.arguments import count
from slm_lightning import api
from slm_lightning.lab.running.job import Job, Outcome, Reached
from slm_lightning.tracking import Record
from slm_lightning.tracking.ui import server

SPEC = Path(__file__).parent.parent / "specs" / "ppo" / "cartpole_search.json"
LOG_FREQUENCY = 500
LOSSES = 16
"""Metrics of a row that differ in each, besides the returns."""
CHECKPOINT_BYTES = 40_000
WINDOWS = 5
"""Parts of the search whose costs are printed one by one."""


@dataclass(frozen=True)
class Ended:
    """A session that was over when it began."""

    job: Job

    def end(self) -> Outcome:
        return Outcome("done")

    def ask_to_stop(self) -> None: ...

    def kill(self) -> None: ...


class Scribe:
    """An engine whose sessions write what real ones would, and train nothing."""

    def __init__(self, rows: int):
        self.rows = rows
        self.begun: dict[int, tuple[float, float]] = {}
        """When the first session of each trial began: wall clock and CPU."""

    def engine(self) -> Scribe:
        return self

    def fits(self, job: Job, running: Sequence[Any]) -> bool:
        return False

    def start(self, job: Job) -> Ended:
        self.begun.setdefault(job.trial, clocks())
        folder = Path(job.folder)
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "ckpt-best.ckpt").write_bytes(os.urandom(CHECKPOINT_BYTES))
        with (folder / "metrics.jsonl").open("w", encoding="utf-8") as journal:
            for i in range(1, self.rows + 1):
                journal.write(json.dumps(row(job.trial, job.session, i)) + "\n")
        return Ended(job)

    def wait(self, running: Sequence[Any]) -> Iterator[tuple[Any, Reached]]:
        return iter(())

    def close(self) -> None: ...


def row(trial: int, session: int, i: int) -> dict[str, float]:
    """Row ``i`` of a session's journal: a curve that rises to a height of the trial's own."""
    height = 200 + 200 * math.sin(trial) + 20 * math.sin(7 * session + 3 * trial)
    total_reward = 20 + height * (1 - math.exp(-i / 10))
    losses = {f"loss_{k}": math.sin(trial + session + i * k + k) for k in range(LOSSES)}
    return {
        "frame": LOG_FREQUENCY * i,
        "time": time.time(),
        "epi": 10 * i,
        "opt_step": 64 * i,
        "total_reward": total_reward,
        "total_reward_ma": total_reward,
        "lr": 0.001,
        **losses,
    }


def clocks() -> tuple[float, float]:
    """Seconds of the wall clock and of this process on the CPU, all threads together."""
    return time.perf_counter(), time.process_time()


def write(trials: int, sessions: int, rows: int) -> str:
    """Records the search and prints its costs. Returns its run's id."""
    scribe, begun = Scribe(rows), clocks()
    overrides = {
        "env.max_frame": LOG_FREQUENCY * rows,
        "meta.log_frequency": LOG_FREQUENCY,
    }
    result = api.search(
        str(SPEC),
        trials=trials,
        sessions=sessions,
        overrides=overrides,
        where=scribe,  # type: ignore[arg-type]
        say=lambda text: None,
    )
    ended = clocks()
    width = max(trials // WINDOWS, 1)
    for first in range(0, trials - 1, width):
        last = min(first + width, trials - 1)
        wall, cpu = ((b - a) / (last - first) for a, b in zip(scribe.begun[first], scribe.begun[last]))
        say(f"write a trial, {first} to {last}", wall, cpu)
    say("write the whole search, with its page", *(b - a for a, b in zip(begun, ended)))
    return result.run_id


def read(record: Record, run_id: str) -> None:
    """Times the commands that read the record, each a process of its own."""
    trials = [run.run_id for run in record.children(run_id)[:2]]
    timed("children of the experiment", lambda: record.children(run_id))
    for command in (["list"], ["show", run_id], ["report", run_id], ["compare", *trials]):
        before = time.perf_counter(), children_seconds()
        subprocess.run(
            [sys.executable, "-m", "slm_lightning", *command], check=False, stdout=subprocess.DEVNULL
        )
        wall, cpu = time.perf_counter() - before[0], children_seconds() - before[1]
        say(f"slm-lightning {command[0]}", wall, cpu)


def children_seconds() -> float:
    """CPU seconds of the processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def browse(record: Record, run_id: str) -> None:
    """Times MLflow's server on what its table of runs asks for: the newest hundred, and all."""
    experiment = record.get(run_id).experiment_id
    with server(record) as running:
        asked = {"experiment_ids": [experiment], "order_by": ["attributes.start_time DESC"]}
        search(running.address, asked, 1)  # the first request of a server connects
        timed("MLflow's table of runs, 100", lambda: search(running.address, asked, 100))
        whole = {**asked, "filter": "tags.`slm.kind` = 'trial'"}
        timed("MLflow's table of runs, every trial", lambda: search(running.address, whole, 1000))


def search(address: str, asked: dict[str, Any], most: int) -> None:
    """One request of the table of runs."""
    request = urllib.request.Request(
        f"{address}/api/2.0/mlflow/runs/search",
        json.dumps({**asked, "max_results": most}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        answer.read()


def timed(what: str, work: Any) -> None:
    """Prints what ``work()`` takes in this process."""
    begun = clocks()
    work()
    say(what, *(b - a for a, b in zip(begun, clocks())))


def say(what: str, wall: float, cpu: float) -> None:
    print(f"{what:<42}{wall:9.3f} s{cpu:9.3f} s CPU", flush=True)


def sizes(root: Path) -> None:
    """Prints what lies on the disk."""
    for name in ("mlflow.db", "optuna.db", "artifacts", "runs"):
        place = root / name
        files = [place] if place.is_file() else [f for f in place.rglob("*") if f.is_file()]
        size = sum(file.stat().st_size for file in files)
        print(f"{name:<42}{size / 1e6:9.1f} MB in {len(files)} files", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=count, default=1000)
    parser.add_argument("--sessions", type=count, default=4)
    parser.add_argument("--rows", type=count, default=20)
    parser.add_argument("--root", type=Path, help="Keep the record here; default a temporary folder.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = arguments.root or Path(scratch)
        os.environ["SLM_MLRUNS"] = str(root)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        run_id = write(arguments.trials, arguments.sessions, arguments.rows)
        record = Record()
        read(record, run_id)
        browse(record, run_id)
        sizes(root)


if __name__ == "__main__":
    main()
