"""Memory and speed of replay memories.

    python benchmarks/replay.py [--transitions 1000000] [--prioritized]

Fills a memory with stacks of random images from 16 sub-environments whose episodes have 500 steps,
then draws minibatches as a DQN does (four of 32 for every four vector steps). Prints the peak of the
process's memory and what it held before, transitions added per second, and samples per second. Then
what single calls cost where observations are four numbers of one sub-environment and a minibatch has
64 rows: CPU microseconds, the least of nine repeats.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from functools import partial

import click
import torch

from slm_lightning.core import ActionSpec, Batch, EnvInfo
from slm_lightning.data.memory import PrioritizedReplay, Replay
from slm_lightning.data.replay import ReplayMemory, make_memory

NUM_ENVS, STACK, SIDE, EPISODE, CHUNK = 16, 4, 84, 500, 64
SMALL, CALLS, REPEATS = 10_000, 1000, 9
"""Transitions of a small memory; calls between two looks at the clock, and how often."""
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


ATARI = EnvInfo(
    "atari",
    NUM_ENVS,
    (STACK, SIDE, SIDE),
    torch.uint8,
    ActionSpec("discrete", (6,)),
    frame_stack=STACK,
)
CARTPOLE = EnvInfo("cartpole", 1, (4,), torch.float32, ActionSpec("discrete", (2,)))


def make(env: EnvInfo, transitions: int, batch_size: int, prioritized: bool) -> ReplayMemory:
    keys = {"name": "", "batch_size": batch_size, "max_size": transitions}
    params = PrioritizedReplay(**keys, alpha=0.6, epsilon=1e-4) if prioritized else Replay(**keys)
    return make_memory(params, env, env.obs_dtype, 0.99, torch.device("cpu"))


def steps(count: int) -> Batch:
    """A rollout of ``count`` steps of four numbers."""
    obs, flags = torch.rand(count + 1, 1, 4), torch.zeros(count, 1, dtype=torch.bool)
    action, reward = torch.zeros(count, 1, dtype=torch.int64), torch.rand(count, 1)
    return Batch(obs[:-1], action, reward, obs[1:], flags, flags, version=0)


def microseconds(call: Callable[[], object]) -> float:
    """CPU time of one ``call()``."""
    times = []
    for _ in range(REPEATS):
        begun = time.process_time()
        for _ in range(CALLS):
            call()
        times.append(time.process_time() - begun)
    return min(times) / CALLS * 1e6


def small(prioritized: bool) -> None:
    """Prints what single calls cost."""
    memory = make(CARTPOLE, SMALL, 64, prioritized)
    while len(memory) < SMALL:
        memory.add(steps(CHUNK))
    for count in (1, 4, CHUNK):
        rollout = steps(count)
        print(f"add of {count:2} steps: {microseconds(partial(memory.add, rollout)):.1f} µs")
    sample = memory.sample(1)
    td_error = torch.rand(sample.place.shape)
    print(f"sample: {microseconds(lambda: memory.sample(1)):.1f} µs")
    print(f"feedback: {microseconds(lambda: memory.feedback(sample.place, td_error)):.1f} µs")


@click.command()
@click.option("--transitions", default=1_000_000, show_default=True)
@click.option("--prioritized", is_flag=True, help="A prioritized memory.")
def main(transitions: int, prioritized: bool) -> None:
    """Fills a replay memory and draws from it."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    batches, before = rollouts(), peak()
    memory = make(ATARI, transitions, 32, prioritized)
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
    small(prioritized)


if __name__ == "__main__":
    main()
