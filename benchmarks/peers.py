"""The lab against Stable-Baselines3 on the same works, side by side.

    python -m benchmarks.peers [--works W1 W2] [--pairs 4] [--frames-scale 1] [--json FILE] [--write]

Needs ``pip install stable-baselines3==2.9.2 opencv-python-headless==5.0.0.93``. A pair is, one after
the other and each in a process of its own with one thread:

- cold: our training with empty compile caches, so that what it compiles counts;
- ours: the same with the caches that the cold one filled;
- sb3: the peer's, in every other pair before ``ours``;
- run: ``slm-lightning run`` of the same spec as a user starts it, from its start to its exit.

Speed is frames for each CPU second of the training loop (ours: ``Trainer.fit`` with rows and
checkpoints; the peer's: ``learn``), of all processes that took part; imports and the making of
environments are left out of both. Ratios are taken within a pair. The seed is the number of the pair.
A part of the frames (``--frames-scale``) may be too few updates for ``meta.compile: auto`` to compile.

With ``--json`` every pair is a line of FILE as soon as it is done, and the lines that FILE has already
count too: ``--works --json FILE --write``, with no work named, only writes the page.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.measure.arguments import count, share
from benchmarks.measure.comparison import Pair, ratios, speed, tables
from benchmarks.measure.page import machine, write
from benchmarks.measure.programs import CACHE, run_python, run_spec
from benchmarks.measure.works import WORKS, Work

NEEDED = {"stable-baselines3": "2.9.2", "opencv-python-headless": "5.0.0.93"}


def train(work: Work, variant: str, seed: int, frames: int, cache: str) -> dict[str, Any]:
    """One training of ours with the compile caches in ``cache``."""
    arguments = ["-m", "benchmarks.measure.ours", work.name, variant, str(seed), str(frames)]
    return run_python(arguments, {CACHE: cache}).answer


def train_peer(work: Work, seed: int, frames: int) -> dict[str, Any]:
    """One training of the peer; its whole process is without the evaluation."""
    ended = run_python(["-m", "benchmarks.measure.sb3", work.name, str(seed), str(frames)])
    answer = ended.answer
    wall, cpu = answer.pop("evaluation")
    return answer | {"whole": {"wall": ended.cost.wall - wall, "cpu": ended.cost.cpu - cpu}}


def run(work: Work, seed: int, frames: int, cache: str) -> dict[str, float]:
    """What the whole process costs as a user runs it, with a record of its own."""
    options = f"--seed={seed}", f"--set=env.max_frame={frames}"
    with tempfile.TemporaryDirectory() as record:
        return run_spec(work.path, record, cache, *options).cost._asdict()


def measure(work: Work, seed: int, scale: float) -> Pair:
    """All measurements of a pair."""
    frames = round(work.frames * scale)
    pair: Pair = {"work": work.name, "seed": seed, "frames": frames}
    with tempfile.TemporaryDirectory() as cache:
        pair["cold"] = train(work, "", seed, frames, cache)
        if seed % 2:
            pair["sb3"] = train_peer(work, seed, frames)
        pair["ours"] = train(work, "", seed, frames, cache)
        if "sb3" not in pair:
            pair["sb3"] = train_peer(work, seed, frames)
        pair["run"] = run(work, seed, frames, cache)
    for variant in work.variants:
        with tempfile.TemporaryDirectory() as cache:
            pair[f"cold {variant}"] = train(work, variant, seed, frames, cache)
            pair[f"ours {variant}"] = train(work, variant, seed, frames, cache)
    return pair


def show(pair: Pair) -> None:
    """A line for each of our measurements in a pair."""
    for name in pair:
        if name.startswith(("cold", "ours")):
            print(
                f"{pair['work']} seed {pair['seed']} {name}: {speed(pair[name]):.0f} frames/CPU s, "
                f"peer {speed(pair['sb3']):.0f}: {ratios([pair], name)[0]:.2f} x",
                flush=True,
            )


def check_peer() -> None:
    """Ends with a sentence where the peer is not there in the version that counts."""
    for name, wanted in NEEDED.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            found = "not installed"
        if found != wanted:
            install = " ".join(f"{name}=={wanted}" for name, wanted in NEEDED.items())
            raise SystemExit(f"{name} is {found}, not {wanted}: pip install {install}")


def remake(pairs: list[Pair], kept: Path | None = None) -> str:
    """The command that makes the tables again: of the pairs ``kept``, or by measuring what ``pairs``
    hold."""
    if kept:
        return f"python -m benchmarks.peers --works --json {kept} --write"
    command = f"python -m benchmarks.peers --pairs {1 + max(pair['seed'] for pair in pairs)}"
    works = [name for name in WORKS if any(pair["work"] == name for pair in pairs)]
    if works != list(WORKS):
        command += f" --works {' '.join(works)}"
    scales = {pair["frames"] / WORKS[pair["work"]].frames for pair in pairs}
    if scales != {1.0}:
        command += f" --frames-scale {min(scales):g}"
    return command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--works", nargs="*", choices=list(WORKS), default=list(WORKS))
    parser.add_argument("--pairs", type=count, default=4, help="Seeds of each work, from 0 on.")
    parser.add_argument("--frames-scale", type=share, default=1.0, help="Share of each work's frames.")
    parser.add_argument("--json", type=Path, help="Keep every pair as a line of this file.")
    parser.add_argument("--write", action="store_true", help="Write docs/performance.md.")
    arguments = parser.parse_args()
    check_peer()
    works = [WORKS[name] for name in arguments.works]
    pairs: list[Pair] = []
    if arguments.json and arguments.json.exists():
        pairs = [json.loads(line) for line in arguments.json.read_text(encoding="utf-8").splitlines()]
    for seed in range(arguments.pairs):
        for work in works:
            pairs.append(measure(work, seed, arguments.frames_scale))
            show(pairs[-1])
            if arguments.json:
                with arguments.json.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(pairs[-1]) + "\n")
    text = tables(pairs, WORKS.values())
    print(text)
    if arguments.write:
        write("peers", f"`{remake(pairs, arguments.json)}`, on {machine()}\n\n{text}")


if __name__ == "__main__":
    main()
