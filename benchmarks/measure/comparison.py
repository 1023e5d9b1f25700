"""What pairs of measurements say: the speed of both sides, their ratio, and what both have learned.

A pair is a dict with ``work``, ``seed``, ``frames`` and the answer of each of its measurements:
``sb3``, ``run``, ``ours`` and ``cold``; a variant's are ``ours VARIANT`` and ``cold VARIANT``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.measure.page import average, spread, table
from benchmarks.measure.works import Work

Pair = dict[str, Any]

SPEEDS = [
    "work",
    "frames",
    "pairs",
    "peer, frames/CPU s",
    "ours",
    "ratio",
    "ratio, cold",
    "whole process, peer",
    "ours",
]
SCORES = ["work", "training, peer", "ours", "greedy, peer", "ours"]


def speed(answer: dict[str, Any]) -> float:
    """Frames for each CPU second."""
    return answer["frames"] / answer["cpu"]


def ratios(pairs: Iterable[Pair], name: str) -> list[float]:
    """How many times the peer's speed that of the measurement ``name`` was, pair by pair."""
    return [speed(pair[name]) / speed(pair["sb3"]) for pair in pairs]


def tables(pairs: Iterable[Pair], works: Iterable[Work]) -> str:
    """Speeds, then scores, of all works among ``pairs``. Pairs of different frames are rows of their
    own."""
    pairs = list(pairs)
    speeds, scores = [], []
    for work in works:
        of_work = [pair for pair in pairs if pair["work"] == work.name]
        for frames in sorted({pair["frames"] for pair in of_work}, reverse=True):
            for suffix in ["", *(f" {variant}" for variant in work.variants)]:
                done = [
                    pair for pair in of_work if pair["frames"] == frames and f"ours{suffix}" in pair
                ]
                if done:
                    speeds.append([work.name + suffix, f"{frames:,}", *_speeds(done, suffix)])
                    scores.append([work.name + suffix, *_scores(done, suffix)])
    return f"{table(SPEEDS, speeds)}\n\n{table(SCORES, scores)}"


def _speeds(pairs: list[Pair], suffix: str) -> list[str]:
    ours, cold = f"ours{suffix}", f"cold{suffix}"
    wholes = [[pair["sb3"]["whole"]["wall"] for pair in pairs]]
    wholes.append([] if suffix else [pair["run"]["wall"] for pair in pairs])
    return [
        str(len(pairs)),
        spread([speed(pair["sb3"]) for pair in pairs], 0),
        spread([speed(pair[ours]) for pair in pairs], 0),
        f"**{spread(ratios(pairs, ours))}**",
        spread(ratios(pairs, cold)),
        *(spread(seconds, 1) + " s" if seconds else "–" for seconds in wholes),
    ]


def _scores(pairs: list[Pair], suffix: str) -> list[str]:
    """Those of every seed once: a seed that is measured again learns the same."""
    sides, seeds = ("sb3", f"ours{suffix}"), {pair["seed"]: pair for pair in pairs}
    return [
        average([pair[side][kind] for pair in seeds.values()])
        for kind in ("training", "greedy")
        for side in sides
    ]
