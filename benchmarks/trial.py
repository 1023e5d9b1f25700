"""A trial of several sessions against one session, and how soon a command answers.

    python -m benchmarks.trial [--pairs 3] [--sessions 4] [--frames 200000] [--write]

Runs the work W1 by ``slm-lightning run`` with one session and with several, in turns, each with a
record of its own and with the compile caches that a first run has filled. Times are those of whole
processes by the wall clock, so that only an idle machine gives numbers that say something; how many
cores other work took meanwhile is printed beside them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measure.arguments import count
from benchmarks.measure.clocks import Cost, busy_seconds
from benchmarks.measure.page import command, machine, spread, table, write
from benchmarks.measure.programs import run_python, run_spec
from benchmarks.measure.works import WORKS

WORK = WORKS["W1"]


class Run(NamedTuple):
    """One run of the work."""

    cost: Cost
    others: float
    """Cores that other work took meanwhile."""
    begins: float
    """Seconds from its start to that of the first rollout."""
    first_row: float
    """Seconds to the first row of the record."""


def run(sessions: int, frames: int, cache: str) -> Run:
    """``slm-lightning run`` of the work with so many sessions."""
    options = f"--sessions={sessions}", f"--set=env.max_frame={frames}"
    with tempfile.TemporaryDirectory() as record:
        busy = busy_seconds()
        ended = run_spec(WORK.path, record, cache, *options)
        others = (busy_seconds() - busy - ended.cost.cpu) / ended.cost.wall
        row = first_row(Path(record))
    return Run(
        ended.cost,
        max(others, 0.0),
        row["time"] - row["wall_t"] - ended.begun,
        row["time"] - ended.begun,
    )


def first_row(record: Path) -> dict[str, Any]:
    """The row that any session of the record wrote first."""
    paths = record.rglob("metrics.jsonl")
    firsts = [json.loads(path.read_text(encoding="utf-8").splitlines()[0]) for path in paths]
    return min(firsts, key=lambda row: row["time"])


def help_seconds(repeats: int = 5) -> list[float]:
    """Seconds by the wall clock that ``slm-lightning --help`` takes."""
    return [run_python(["-m", "slm_lightning", "--help"]).cost.wall for _ in range(repeats)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=count, default=3, help="Times that all is measured, in turns.")
    parser.add_argument("--sessions", type=count, default=4, help="Of the trial.")
    parser.add_argument("--frames", type=count, default=WORK.frames, help="Of each session.")
    parser.add_argument("--write", action="store_true", help="Write docs/performance.md.")
    arguments = parser.parse_args()
    numbers = (1, arguments.sessions)
    runs: dict[int, list[Run]] = {number: [] for number in numbers}
    with tempfile.TemporaryDirectory() as cache:
        run(1, arguments.frames, cache)  # fills the caches
        for pair in range(arguments.pairs):
            for number in numbers if pair % 2 == 0 else reversed(numbers):
                runs[number].append(run(number, arguments.frames, cache))
                latest = runs[number][-1]
                print(
                    f"pair {pair}, sessions {number}: {latest.cost.wall:.1f} s, training begins after "
                    f"{latest.begins:.1f} s, first row after {latest.first_row:.1f} s, "
                    f"other work took {latest.others:.2f} cores",
                    flush=True,
                )
    text = results(runs, arguments.sessions, help_seconds())
    print(text)
    if arguments.write:
        write("trial", f"`{command()}`, on {machine()}\n\n{text}")


def results(runs: dict[int, list[Run]], sessions: int, helps: list[float]) -> str:
    """The table of all that was measured, in seconds."""
    one, several = runs[1], runs[sessions]
    ratios = [b.cost.wall / a.cost.wall for a, b in zip(one, several)]
    rows = [
        ["1 session", spread([run.cost.wall for run in one], 1)],
        [f"{sessions} sessions", spread([run.cost.wall for run in several], 1)],
        ["their ratio", f"**{spread(ratios)}**"],
        ["training begins", spread([run.begins for run in one], 1)],
        ["first row", spread([run.first_row for run in one], 1)],
        ["`slm-lightning --help`", spread(helps)],
        ["cores that other work took", spread([run.others for run in one + several])],
    ]
    return table(["", "seconds"], rows)


if __name__ == "__main__":
    main()
