"""Memory and speed of a replay memory with a million Atari transitions.

    python benchmarks/replay.py [--transitions 1000000] [--prioritized]

Fills the memory with stacks of random images from 16 sub-environments whose episodes have 500 steps,
then draws minibatches as a DQN does (four of 32 for every four vector steps). Prints the peak of the
process's memory and what it held before, transitions added per second, and samples per second.
"""

from __future__ import annotations

import resource
import time

import click
import torch

from slm_lightning.core import ActionSpec, Batch, EnvInfo
from slm_lightning.data.memory import PrioritizedReplay, Replay
from slm_lightning.data.replay import ReplayMemory, make_memory

NUM_ENVS, STACK, SIDE, EPISODE, CHUNK = 16, 4, 84, 500, 64
GIB = 2**30


def peak() -> float:
    """The most memory this process has held so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB


def rollouts():
    """Endless rollouts ``[CHUNK, NUM_ENVS, ...]`` of consistent stacks of images."""
    images = torch.randint(1, 255, (CHUNK + STACK, NUM_ENVS, SIDE, SIDE), dtype=torch.uint8)
    windows = images.unfold(0, STACK, 1).permute(0, 1, 4, 2, 3).contiguous()
    flags = torch.zeros(CHUNK, NUM_ENVS, dtype=torch.bool)
    step = 0
    while True:
        ends = flags.clone()
        ends[[t for t in range(CHUNK) if (step + t) % EPISODE == EPISODE - 1]] = True
        yield Batch(
            obs=windows[:CHUNK],
            action=torch.zeros(CHUNK, NUM_ENVS, dtype=torch.int64),
            reward=torch.zeros(CHUNK, NUM_ENVS),
            next_obs=windows[1:],
            terminated=ends,
            truncated=flags,
            version=0,
        )
        step += CHUNK


def make(transitions: int, prioritized: bool) -> ReplayMemory:
    info = EnvInfo(
        "atari",
        NUM_ENVS,
        (STACK, SIDE, SIDE),
        torch.uint8,
        ActionSpec("discrete", (6,)),
        frame_stack=STACK,
    )
    keys = {"name": "", "batch_size": 32, "max_size": transitions}
    params = PrioritizedReplay(**keys, alpha=0.6, epsilon=1e-4) if prioritized else Replay(**keys)
    return make_memory(params, info, torch.uint8, 0.99, torch.device("cpu"))


@click.command()
@click.option("--transitions", default=1_000_000, show_default=True)
@click.option("--prioritized", is_flag=True, help="A prioritized memory.")
def main(transitions: int, prioritized: bool) -> None:
    """Fills a replay memory and draws from it."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    batches, before = rollouts(), peak()
    memory = make(transitions, prioritized)
    begun = time.perf_counter()
    while len(memory) < transitions:
        memory.add(next(batches))
    added = memory.head * NUM_ENVS / (time.perf_counter() - begun)
    begun, draws = time.perf_counter(), 500
    for _ in range(draws):
        sample = memory.sample(4)
        memory.feedback(sample.place, torch.rand(sample.place.shape))
    drawn = draws * sample.reward.numel() / (time.perf_counter() - begun)
    print(f"{transitions:,} transitions: peak {peak():.2f} GiB, {before:.2f} GiB before")
    print(f"added {added:,.0f} transitions/s, drawn {drawn:,.0f} transitions/s")


if __name__ == "__main__":
    main()
