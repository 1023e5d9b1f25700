"""How a running trial looks in the terminal."""

from __future__ import annotations

import contextlib
import math
import sys

from tqdm import tqdm


class ProgressBars:
    """One line per session, in frames: speed, time left, latest score. Where the output is no terminal,
    a plain line for every tenth of a session."""

    def __init__(self, names: list[str], max_frame: int):
        self.names, self.max_frame = names, max_frame
        self.live = sys.stderr.isatty()
        self.tenths = [0] * len(names)
        self.bars = [self._bar(i, name) for i, name in enumerate(names)] if self.live else []

    def _bar(self, position: int, name: str) -> tqdm:
        return tqdm(
            total=self.max_frame,
            desc=name,
            position=position,
            unit=" frames",
            unit_scale=True,
            dynamic_ncols=True,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} "
            "[{elapsed}<{remaining}, {rate_fmt}]{postfix}",
        )

    def update(self, index: int, frame: int, score: float) -> None:
        """Session ``index`` has reached ``frame`` with ``total_reward_ma`` ``score``."""
        if self.live:
            bar = self.bars[index]
            if bar.n == 0:
                bar.unpause()
                bar.initial = frame  # speed counts from here, which is not 0 where a run is resumed
            bar.set_postfix_str(_shown(score), refresh=False)
            bar.update(frame - bar.n)
            return
        tenth = 10 * frame // self.max_frame
        if tenth > self.tenths[index]:
            self.tenths[index] = tenth
            frames = f"{frame:,}/{self.max_frame:,} frames"
            with contextlib.suppress(OSError):  # a closed pipe must not end a training
                print(f"{self.names[index]}  {frames}  {_shown(score)}", file=sys.stderr, flush=True)

    def close(self) -> None:
        for bar in self.bars:
            bar.close()


def _shown(score: float) -> str:
    return "no episode yet" if math.isnan(score) else f"total_reward_ma {score:.4g}"
