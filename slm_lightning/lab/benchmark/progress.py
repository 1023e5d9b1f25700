"""A benchmark in the terminal: a line where a row begins and ends, and how far all of them are."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Sequence

from tqdm import tqdm

from slm_lightning.lab.benchmark.execution import RowOutcome
from slm_lightning.lab.benchmark.sets import Row
from slm_lightning.lab.progress import BAR
from slm_lightning.lab.running.job import Job, Reached
from slm_lightning.lab.trial import Trial
from slm_lightning.lab.wording import count, duration, number

PARTS = 4
"""Lines that a row gets on its way where the output is no terminal."""


class BenchmarkProgress:
    """Where the output is a terminal, one bar over the frames of all rows; else a line for every
    quarter of a row."""

    def __init__(self, rows: Sequence[Row], say: Callable[[str], None]):
        self.rows, self.say = rows, say
        self.frames: dict[str, dict[int, int]] = {}
        """Frames that each session of a row has reached, by the row's id."""
        self.told: dict[str, int] = {}
        self.began: dict[str, float] = {}
        self.over = 0
        self.bar: tqdm | None = None
        if sys.stderr.isatty():
            total = sum(map(_frames, rows))
            self.bar = tqdm(total=total, unit="", unit_scale=True, dynamic_ncols=True, bar_format=BAR)

    def begun(self, row: Row, trial: Trial, resumed: bool) -> None:
        """The sessions of ``trial`` wait or run."""
        self.began[row.id], self.told[row.id] = time.monotonic(), 0
        self.frames[row.id] = dict.fromkeys(trial.outcomes, row.spec.env.max_frame)
        if self.bar is not None:  # what was done before is not to come
            self.bar.total -= sum(self.frames[row.id].values())
        how = "goes on" if resumed else "begins"
        left = count(len(trial.todo), "session")
        self._print(f"{row.id}: {how} as run {trial.run_id[:8]}, {left}")

    def reached(self, row: Row, job: Job, reached: Reached) -> None:
        """The session of ``job`` has come so far."""
        frames = self.frames[row.id]
        if reached.warning:
            self._print(f"{row.id} session {job.session}: warning: {reached.warning}")
        before = frames.get(job.session, 0)
        frames[job.session] = max(before, reached.frame)
        if self.bar is not None:
            self.bar.update(frames[job.session] - before)
            return
        part = PARTS * sum(frames.values()) // _frames(row)
        if self.told[row.id] < part < PARTS:
            self.told[row.id] = part
            score = f"session {job.session} total_reward_ma {number(reached.total_reward_ma)}"
            self._print(f"{row.id}: {100 * part // PARTS} % of its frames, {score}")

    def ended(self, outcome: RowOutcome) -> None:
        """A row is settled."""
        row = outcome.row
        self.over += 1
        if self.bar is not None:
            self.bar.total -= _frames(row) - sum(self.frames.get(row.id, {}).values())
            self.bar.refresh()
        said = [f"{row.id}: {describe(outcome)}"]
        if row.id in self.began:
            said.append(duration(time.monotonic() - self.began[row.id]))
        self._print(f"{', '.join(said)} ({self.over} of {len(self.rows)})")

    def close(self) -> None:
        """Leaves the terminal as it was."""
        if self.bar is not None:
            self.bar.close()

    def _print(self, line: str) -> None:
        with contextlib.suppress(OSError):  # a closed pipe must not end a benchmark
            tqdm.write(line, file=sys.stderr) if self.bar is not None else self.say(line)


def describe(outcome: RowOutcome) -> str:
    """What became of a row, in a few words."""
    reason = f": {outcome.reason.splitlines()[0]}" if outcome.reason else ""
    if outcome.status == "running":
        return "runs in another process"
    if outcome.status == "refused":
        return f"cannot run{reason}"
    what = "is there" if outcome.status == "there" else outcome.status
    score = "" if outcome.score is None else f", total_reward_ma {number(outcome.score)}"
    return f"{what}{'' if outcome.is_result else reason}{score if outcome.is_result else ''}"


def _frames(row: Row) -> int:
    """Frames of a row that is run from its beginning to its end."""
    return row.spec.env.max_frame * row.spec.meta.sessions
