"""Trials per hour of a search with two processes against one, and what pruning saves.

    python -m benchmarks.search [--pairs 3] [--trials 8] [--frames 40000] [--pruners]

Searches the PPO CartPole spec with one session at a time and with two, in turns, each search in a
record of its own and with the same settings and seeds. A search lasts from the start of its first trial
to the end of its last, so that the page behind it does not count. Printed beside it is how many cores
other work took meanwhile: two processes can be twice as quick only where two cores are free.

With ``--pruners`` the search is run with and without halving (trials of one session) and Wilcoxon's
test (of six), and their frames and best scores are printed side by side.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.measure.arguments import count
from benchmarks.measure.clocks import busy_seconds, own_seconds
from slm_lightning import api
from slm_lightning.lab import wording
from slm_lightning.tracking import Record

SPEC = Path(__file__).parent.parent / "specs" / "ppo" / "cartpole_search.json"


@contextmanager
def own_record() -> Iterator[None]:
    """A record that is empty now and gone afterwards."""
    with tempfile.TemporaryDirectory() as root:
        os.environ["SLM_MLRUNS"] = root
        yield


def search(trials: int, frames: int, sessions: int, parallel: int, pruner: Any = "none") -> Any:
    """Runs a search; returns its result."""
    return api.search(
        SPEC,
        trials=trials,
        sessions=sessions,
        overrides={"env.max_frame": frames, "meta.search.pruner": pruner},
        where=api.Where(parallel=parallel),
        say=lambda text: None,
    )


def trials_per_hour(trials: int, frames: int, parallel: int) -> float:
    """Trials of two sessions per hour, ``parallel`` sessions at a time."""
    with own_record():
        begun, busy, ours = time.perf_counter(), busy_seconds(), own_seconds()
        result = search(trials, frames, 2, parallel)
        others = busy_seconds() - busy - (own_seconds() - ours)
        cores = max(others / (time.perf_counter() - begun), 0)
        runs = Record().children(result.run_id)
        seconds = (max(r.end for r in runs if r.end) - min(r.start for r in runs)).total_seconds()
    rate = 3600 * trials / seconds
    print(
        f"  {parallel} at a time: {rate:.0f} trials/hour ({seconds:.1f} s), "
        f"other work took {cores:.2f} cores",
        flush=True,
    )
    return rate


def compare_processes(pairs: int, trials: int, frames: int) -> None:
    """Prints the ratio of both rates, pair by pair."""
    ratios = []
    for pair in range(pairs):
        rates = {n: trials_per_hour(trials, frames, n) for n in ((1, 2) if pair % 2 == 0 else (2, 1))}
        ratios.append(rates[2] / rates[1])
        print(f"pair {pair}: {ratios[-1]:.2f} x", flush=True)
    spread = f" +- {stdev(ratios):.2f}" if pairs > 1 else ""
    print(f"two processes against one: {mean(ratios):.2f}{spread} x over {pairs} pairs")


def compare_pruners(trials: int, frames: int) -> None:
    """Prints what pruners save, and the best scores with and without them."""
    halving = {"name": "halving", "grace_period": frames // 9, "reduction_factor": 3}
    for name, pruner, sessions in (("halving", halving, 1), ("wilcoxon", {"name": "wilcoxon"}, 6)):
        spent, best = [], []
        for given in ("none", pruner):
            with own_record():
                found = search(trials, frames, sessions, 2, given).findings
            spent.append(sum(trial.frames for trial in found.trials))
            best.append(found.best[0].values[0])
        print(
            f"{name}, {wording.count(trials, 'trial')} of {wording.count(sessions, 'session')}: "
            f"{1 - spent[1] / spent[0]:.0%} of {spent[0]:,} frames saved; "
            f"best score {best[1]:.1f}, without it {best[0]:.1f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=count, default=3)
    parser.add_argument("--trials", type=count, default=8)
    parser.add_argument("--frames", type=count, default=40_000)
    parser.add_argument("--pruners", action="store_true", help="Compare pruners instead.")
    arguments = parser.parse_args()
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    if arguments.pruners:
        compare_pruners(arguments.trials, arguments.frames)
    else:
        compare_processes(arguments.pairs, arguments.trials, arguments.frames)


if __name__ == "__main__":
    main()
