"""How a running trial looks in the terminal."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from slm_lightning.lab import wording
from slm_lightning.lab.report.findings import short_names
from slm_lightning.lab.running.job import Job, Outcome, Reached
from slm_lightning.lab.trial import Trial
from slm_lightning.spec.model import Spec

if TYPE_CHECKING:
    from slm_lightning.lab.search.study import Ended, Study

BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} frames, {rate_fmt}, {remaining} left{postfix}"
"""Where something runs; fits into 80 columns with a score behind it."""


class ProgressBars:
    """One line per session, in frames: speed, time left, latest score; whether it waits or how it has
    ended. Where the output is no terminal, a plain line for every tenth of a session."""

    def __init__(self, names: list[str], max_frame: int):
        self.names, self.max_frame = names, max_frame
        self.live = sys.stderr.isatty()
        self.tenths = [0] * len(names)
        self.bars = [self._bar(i, name) for i, name in enumerate(names)] if self.live else []

    def _bar(self, position: int, name: str) -> tqdm:
        return tqdm(
            total=self.max_frame,
            desc=name.rpartition("_")[2],  # the rest is the same for all
            position=position,
            unit="",
            unit_scale=True,
            dynamic_ncols=True,
            bar_format="{desc} waiting",
        )

    def update(self, job: Job, reached: Reached) -> None:
        """The session of ``job`` has come so far."""
        index, (frame, score, warning) = job.session, reached
        if warning:
            self._print(f"{self.names[index]}: warning: {warning}")
        if self.live:
            bar = self.bars[index]
            if bar.n == 0:
                bar.bar_format = "{desc} " + BAR
                bar.unpause()
                bar.initial = frame  # speed counts from here, which is not 0 where a run is resumed
            bar.set_postfix_str(_shown(score), refresh=False)
            bar.update(frame - bar.n)
            return
        tenth = 10 * frame // self.max_frame
        if tenth > self.tenths[index]:
            self.tenths[index] = tenth
            frames = f"{frame:,}/{self.max_frame:,} frames"
            self._print(f"{self.names[index]}  {frames}  {_shown(score)}")

    def _print(self, line: str) -> None:
        with contextlib.suppress(OSError):  # a closed pipe must not end a training
            tqdm.write(line, file=sys.stderr)
            sys.stderr.flush()

    def ended(self, session: int, outcome: Outcome) -> None:
        """Session ``session`` has ended, now or before this process went on with it."""
        if self.live:
            bar = self.bars[session]
            since = f" after {tqdm.format_interval(bar.format_dict['elapsed'])}" if bar.n else ""
            far = " {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} frames," if bar.n else ""
            bar.bar_format = f"{{desc}}{far} {outcome.status}{since}{{postfix}}"
            bar.refresh()

    def close(self) -> None:
        for bar in self.bars:
            bar.close()


class SearchProgress:
    """A search in the terminal: a line for every trial that has ended and, where the output is a
    terminal, one below them that says how many of the frames are run."""

    def __init__(self, spec: Spec, study: Study, say: Callable[[str], None]):
        self.spec, self.study, self.say = spec, study, say
        self.frames: dict[tuple[int, int], int] = {}
        self.labels = short_names([dimension.path for dimension in study.space.dimensions])
        (self.metric, self.direction), *_ = spec.meta.search.objectives.items()
        self.best: tuple[float, int] | None = None
        self.bar: tqdm | None = None
        self.each = spec.env.max_frame * spec.meta.sessions
        """Frames of a trial that runs to its end."""
        if sys.stderr.isatty():
            self.bar = tqdm(
                total=self.each * study.limit,
                initial=self.each * sum(t.state.is_finished() for t in study.trials),
                unit="",
                unit_scale=True,
                dynamic_ncols=True,
                bar_format=BAR,
            )
        for trial in study.finished():
            self._compare(trial.number, trial.values[0])

    def begun(self, trial: Trial) -> None:
        """The sessions of ``trial`` wait or run."""
        if trial.mode != "confirm":
            return
        self._print(f"{trial.name}: {len(trial.session_ids)} sessions with fresh seeds")
        if self.bar is not None:
            self.bar.total += trial.spec.env.max_frame * len(trial.session_ids)

    def reached(self, job: Job, reached: Reached) -> None:
        """The session of ``job`` has come so far."""
        key = job.trial, job.session
        before = self.frames.get(key, 0)
        self.frames[key] = max(before, reached.frame)
        if reached.warning:
            self._print(f"t{job.trial} s{job.session}: warning: {reached.warning}")
        if self.bar is not None:
            self.bar.update(self.frames[key] - before)

    def ended(self, number: int, drawn: Mapping[str, Any], end: Ended, reason: str) -> None:
        """Trial ``number`` of the search is told."""
        if end.values is None:
            first = reason.splitlines()[0] if reason else "no finite value"
            outcome = f"failed: {first}"
        elif end.pruned:
            outcome = f"{self.metric} {wording.number(end.values[0])}, pruned"
        else:
            better = self._compare(number, end.values[0])
            outcome = (
                f"{self.metric} {wording.number(end.values[0])}{', best so far' if better else ''}"
            )
        self._leave_out(number)
        setting = wording.setting(drawn, self.labels)
        self._print(f"t{number} of {self.spec.meta.max_trial}  {outcome}  ({setting})")
        if self.bar is not None and self.best:
            self.bar.set_postfix_str(f"best {wording.number(self.best[0])}, t{self.best[1]}")

    def _leave_out(self, number: int) -> None:
        """The frames that a trial that has ended did not spend are no longer to come."""
        if self.bar is not None:
            spent = sum(frame for (trial, _), frame in self.frames.items() if trial == number)
            self.bar.total -= self.each - spent

    def close(self) -> None:
        """Leaves the terminal as it was."""
        if self.bar is not None:
            self.bar.close()

    def _compare(self, number: int, value: float) -> bool:
        """Whether ``value`` is the best so far, which it then is."""
        sign = -1 if self.direction == "minimize" else 1
        better = self.best is None or sign * value > sign * self.best[0]
        if better:
            self.best = value, number
        return better

    def _print(self, line: str) -> None:
        with contextlib.suppress(OSError):  # a closed pipe must not end a search
            tqdm.write(line, file=sys.stderr) if self.bar is not None else self.say(line)


def _shown(score: float) -> str:
    return "no episode yet" if math.isnan(score) else f"total_reward_ma {score:.4g}"
