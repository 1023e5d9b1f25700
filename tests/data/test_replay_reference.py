"""Replay memories against one of Python lists, which keeps all that was ever seen and loops over it.

Rewards, γ and priorities are such that every sum is exact, so that both must give the same bits.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from itertools import accumulate, chain
from typing import Any

import pytest
import torch
from torch import Tensor

from slm_lightning.core import ActionSpec, Batch, EnvInfo
from slm_lightning.data.memory import PrioritizedReplay, Replay
from slm_lightning.data.replay import PrioritizedMemory, ReplayMemory, make_memory

GAMMA, STEPS, CPU = 0.5, 11, torch.device("cpu")
MODULES = ("replay", "frames", "sum_tree")


class World:
    """``N`` sub-environments with random ends, some of which only look like the end of an episode (a
    lost life), shown as ``stack`` images or as two numbers."""

    def __init__(self, num_envs: int, stack: int, seed: int):
        self.random, self.stack = random.Random(seed), stack
        self.seen = [[self._frame()] for _ in range(num_envs)]

    def play(self, steps: int) -> Batch:
        columns: Any = zip(*(zip(*map(self._step, self.seen)) for _ in range(steps)))
        obs, action, reward, next_obs, terminated, truncated = map(list, columns)
        return Batch(
            self._tensor(obs),
            torch.tensor(action),
            torch.tensor(reward),
            self._tensor(next_obs),
            torch.tensor(terminated),
            torch.tensor(truncated),
            version=0,
        )

    def _step(self, seen: list) -> tuple:
        obs = self._observe(seen)
        seen.append(self._frame())
        next_obs = self._observe(seen)
        end = self.random.choices(("", "terminated", "truncated", "life"), (8, 1, 1, 1))[0]
        if end in ("terminated", "truncated"):
            seen[:] = [self._frame()]
        reward = float(self.random.randint(-4, 4))
        terminated, truncated = end in ("terminated", "life"), end == "truncated"
        return obs, self.random.randrange(5), reward, next_obs, terminated, truncated

    def _frame(self) -> list:
        return [self.random.randint(1, 255) for _ in range(1 if self.stack > 1 else 2)]

    def _observe(self, seen: list) -> list:
        return (self.stack * [[0]] + seen)[-self.stack :] if self.stack > 1 else seen[-1]

    def _tensor(self, rows: list) -> Tensor:
        found = torch.tensor(rows)
        return found[..., None].to(torch.uint8) if self.stack > 1 else found.float()


class Lists:
    """The memory that is to be matched."""

    def __init__(self, replay: ReplayMemory):
        self.replay, self.params, self.num_envs = replay, replay.params, replay.num_envs
        self.rows: list[list[tuple]] = []
        """Every vector step: what each sub-environment did."""
        self.frames = [0] * self.num_envs
        self.places: list[list[tuple[int, int]]] = []
        """Of every vector step: position and age of the newest frame of obs."""
        self.latest: list[Any] = [None] * self.num_envs
        self.ages = [0] * self.num_envs
        self.tail = self.sampled = 0
        self.priority: dict[tuple[int, int], float] = {}
        self.highest = 1.0

    def add(self, batch: Batch) -> None:
        first = len(self.rows)
        for t in range(len(batch.reward)):
            self.rows.append([tuple(x[t, n] for x in batch[:6]) for n in range(self.num_envs)])
            seen = zip(batch.obs[t], batch.next_obs[t])
            self.places.append([self._place(n, *both) for n, both in enumerate(seen)])
            self.tail = max(self.tail, len(self.rows) - STEPS)
            while self._lost(self.tail):
                self.tail += 1
        for t in range(first, len(self.rows)):
            self.priority |= {(t, n): self.highest for n in range(self.num_envs)}

    def _place(self, n: int, obs: Tensor, next_obs: Tensor) -> tuple[int, int]:
        if self.latest[n] is None or not torch.equal(obs, self.latest[n]):
            self.frames[n] += 1
            self.ages[n] = 0
        found = self.frames[n] - 1, self.ages[n]
        self.frames[n] += 1
        self.ages[n] = min(self.ages[n] + 1, self.replay.frames.stack - 1)
        self.latest[n] = next_obs
        return found

    def _lost(self, step: int) -> bool:
        ring = self.replay.frames
        oldest = [position - ring.stack + 1 for position, _ in self.places[step]]
        return not ring.roomy and any(f - 1 - o >= ring.length for f, o in zip(self.frames, oldest))

    def kept(self) -> list[tuple[int, int]]:
        """Vector step and sub-environment of what can be drawn, oldest first."""
        return [(t, n) for t in range(self.tail, len(self.rows)) for n in range(self.num_envs)]

    def draw(self, minibatches: int) -> list[list[tuple[int, int]]]:
        kept, b = self.kept(), self.params.batch_size
        if isinstance(self.replay, PrioritizedMemory):
            by_place = sorted(kept, key=lambda step: (step[0] % STEPS, step[1]))
            sums = list(accumulate(self.priority[step] for step in by_place))
            noise = torch.rand(minibatches, b, dtype=torch.float64).tolist()
            drawn = [
                [by_place[bisect_right(sums, (i + x) / b * sums[-1])] for i, x in enumerate(row)]
                for row in noise
            ]
        else:
            index = torch.randint(len(kept), (minibatches, b)).tolist()
            drawn = [[kept[i] for i in row] for row in index]
        if self.params.use_cer:
            new = min((len(self.rows) - self.sampled) * self.num_envs, len(kept), b)
            drawn[0][b - new :] = kept[::-1][:new]
        self.sampled = len(self.rows)
        return drawn

    def transition(self, t: int, n: int) -> tuple:
        """obs, action, n-step return, next_obs, terminated and γ^m."""
        ret = 0.0
        for m in range(self.params.num_step_returns):
            _, _, reward, next_obs, terminated, truncated = self.rows[t + m][n]
            ret += GAMMA**m * reward.item()
            if terminated or truncated or t + m + 1 == len(self.rows):
                break
        obs, action = self.rows[t][n][:2]
        discount = torch.tensor(GAMMA ** (m + 1))
        return obs, action, torch.tensor(ret), next_obs, terminated, discount

    def feedback(self, drawn: list[list[tuple[int, int]]], td_error: Tensor) -> None:
        for step, error in zip(chain(*drawn), td_error.flatten().abs().tolist()):
            self.priority[step] = error
            self.highest = max(self.highest, error)


def make(num_envs: int, stack: int, **keys: Any) -> ReplayMemory:
    keys = {"name": "", "batch_size": 5, "max_size": STEPS * num_envs} | keys
    params = PrioritizedReplay(**keys) if "alpha" in keys else Replay(**keys)
    shape, dtype = ((stack, 1, 1), torch.uint8) if stack > 1 else ((2,), torch.float32)
    env = EnvInfo("x", num_envs, shape, dtype, ActionSpec("discrete", (5,)), frame_stack=stack)
    return make_memory(params, env, dtype, GAMMA, CPU)


def assert_same(replay: ReplayMemory, lists: Lists, seed: int) -> None:
    """Both draw the same, and take the same TD errors."""
    torch.manual_seed(seed)
    drawn = lists.draw(2)
    torch.manual_seed(seed)
    sample = replay.sample(2)
    places = torch.tensor([[t % STEPS * lists.num_envs + n for t, n in row] for row in drawn])
    assert torch.equal(sample.place, places)
    expected = zip(*(lists.transition(*step) for step in chain(*drawn)))
    for found, rows in zip(sample, expected):
        assert torch.equal(found.flatten(0, 1), torch.stack(rows).view(-1, *found.shape[2:]))
    td_error = torch.randint(1, 40, places.shape) / 8
    replay.feedback(sample.place, td_error)
    lists.feedback(drawn, td_error)


def assert_same_rows(replay: ReplayMemory, lists: Lists) -> None:
    """What goes to disk: where each observation lies, and all frames, which end with the latest."""
    rows = replay.rows()
    assert rows["start"] == lists.tail == replay.tail
    assert rows["position"].tolist() == [[p for p, _ in row] for row in lists.places[lists.tail :]]
    assert rows["age"].tolist() == [[age for _, age in row] for row in lists.places[lists.tail :]]
    assert rows["reward"].tolist() == [[x[2] for x in row] for row in lists.rows[lists.tail :]]
    assert rows["frames"]["last"].tolist() == [count - 1 for count in lists.frames]
    counts = rows["frames"]["last"] - rows["frames"]["first"] + 1
    newest = rows["frames"]["frames"][counts.cumsum(0) - 1].flatten(1)
    assert torch.equal(newest, torch.stack(lists.latest).flatten(1)[:, -newest.shape[1] :])


KINDS: dict[str, dict[str, Any]] = {
    "uniform": {},
    "combined, 3-step": {"use_cer": True, "num_step_returns": 3},
    "prioritized": {"alpha": 1.0, "epsilon": 0.0, "num_step_returns": 2},
    "prioritized, combined": {"alpha": 1.0, "epsilon": 0.0, "use_cer": True},
}


@pytest.mark.parametrize("memory", ["host", "device"])
@pytest.mark.parametrize(("stack", "small"), [(1, 4096), (3, 4096), (3, 0)])
@pytest.mark.parametrize("num_envs", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_as_one_of_lists(kind, num_envs, stack, small, memory, monkeypatch):
    """Rollouts of a step or of many, longer than the memory too; images with and without room to spare;
    in host memory, and as in a GPU's, which tensors alone can reach."""
    monkeypatch.setattr("slm_lightning.data.frames.SMALL", small)
    for module in MODULES if memory == "device" else ():
        monkeypatch.setattr(f"slm_lightning.data.{module}.array", lambda x: x)
    world, replay = World(num_envs, stack, seed=num_envs), make(num_envs, stack, **KINDS[kind])
    lists = Lists(replay)
    for i, steps in enumerate((1, 1, 2, 4, 1, 9, 3, 30, 1, 1, 12, 11, 1, 5, 23, 1, 1)):
        batch = world.play(steps)
        replay.add(batch)
        lists.add(batch)
        assert len(replay) == len(lists.kept())
        assert_same_rows(replay, lists)
        assert_same(replay, lists, seed=i)
