"""Replay memories that went to disk and came back, wherever the session was stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from slm_lightning.core import Batch, Sequences
from slm_lightning.data import sealed
from slm_lightning.data.memory import Replay
from slm_lightning.data.replay import ReplayMemory, make_memory
from slm_lightning.data.segments import Segments
from slm_lightning.errors import IntegrityError
from tests.data.test_episodes import past_memory
from tests.data.test_replay import CPU, GAMMA, Counters, info, memory, prioritized
from tests.data.test_sequences import played
from tests.support import equal

Play = Callable[[int], Batch]
LENGTHS = (3, 8, 1, 20, 5, 31, 2)
"""Vector steps between two checkpoints; the memories hold twenty."""


class Images(Counters):
    """The same as stacks of three images of one pixel, which counts frames."""

    def play(self, steps: int) -> Batch:
        batch, back = super().play(steps), torch.tensor([2, 1, 0])
        stacks = []
        for obs in (batch.obs, batch.next_obs):
            episode, step = obs[..., :1].long(), obs[..., 1:].long()
            stack = torch.where(back <= step, (episode * 31 + step - back) % 255 + 1, 0)
            stacks.append(stack[..., None, None].to(torch.uint8))
        return batch._replace(obs=stacks[0], next_obs=stacks[1])


def images() -> ReplayMemory:
    params = Replay(name="Replay", batch_size=16, max_size=60)
    return make_memory(params, info((3, 1, 1), frame_stack=3), torch.uint8, GAMMA, CPU)


def large_images() -> ReplayMemory:
    """Of which there is room for hardly more than the transitions need, so that some are lost."""
    params = Replay(name="Replay", batch_size=16, max_size=60)
    return make_memory(params, info((3, 72, 72), frame_stack=3), torch.uint8, GAMMA, CPU)


class LargeImages(Images):
    def play(self, steps: int) -> Batch:
        batch = super().play(steps)
        obs, next_obs = (x.expand(-1, -1, -1, 72, 72) for x in (batch.obs, batch.next_obs))
        return batch._replace(obs=obs, next_obs=next_obs)


class Rollouts:
    """Steps of an agent that remembers."""

    def __init__(self) -> None:
        self.collector = played(0)[1]

    def play(self, steps: int) -> Batch:
        return self.collector.collect(steps, 0)[0]


KINDS: dict[str, tuple[Callable[[], ReplayMemory], Callable[[], Any]]] = {
    "uniform": (memory, Counters),
    "combined, 3-step": (lambda: memory(use_cer=True, num_step_returns=3), Counters),
    "prioritized": (prioritized, Counters),
    "past episodes": (lambda: past_memory(sil_replay_name="PrioritizedReplay"), Counters),
    "images": (images, Images),
    "images without room to spare": (large_images, LargeImages),
    "sequences": (lambda: played(0, max_size=60)[0], Rollouts),
}


def drawn(replay: ReplayMemory) -> Any:
    torch.manual_seed(7)
    sample = replay.sample(3, 0.5)
    replay.feedback(sample.place, torch.rand(sample.place.shape))
    return [[vars(x) if isinstance(x, Sequences) else x for x in part] for part in sample[:-1]], sample[
        -1
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_memory_from_disk_draws_the_same(kind: str, tmp_path: Path) -> None:
    """After every checkpoint, from the one before it too; and each transition was written once."""
    make, players = KINDS[kind]
    replay, play = make(), players().play
    segments, before = Segments(tmp_path), None
    for steps in LENGTHS:
        replay.add(play(steps))
        segments.write(replay)
        state = {"memory": replay.state_dict(), "rows": segments.state_dict()}
        sealed.save(state, tmp_path / "state")
        segments.tidy()
        state = sealed.load(tmp_path / "state")
        again = restored(make(), state, tmp_path)
        assert equal(again.state_dict(), replay.state_dict())
        assert equal(again.rows(), replay.rows())
        if len(replay):
            assert equal(drawn(again), drawn(replay))
        if before is not None:
            assert equal(restored(make(), before[0], tmp_path).rows(), before[1])
        before = state, replay.rows()
    ends = [segment.end for segment in segments.kept]
    starts = [segment.start for segment in segments.kept]
    assert starts[1:] == ends[:-1] and ends[-1] == replay.head
    assert starts[0] <= replay.tail < ends[0], "what has left the memory has left the disk"


def restored(fresh: ReplayMemory, state: dict[str, Any], folder: Path) -> ReplayMemory:
    fresh.load_state_dict(state["memory"])
    segments = Segments(folder)
    segments.verify(state["rows"])
    segments.load_state_dict(state["rows"])
    segments.fill(fresh)
    return fresh


def test_segments_of_workers_do_not_mix(tmp_path: Path) -> None:
    replays = [memory(), memory()]
    both = [Segments(tmp_path, rank) for rank in range(2)]
    for replay, segments, steps in zip(replays, both, (5, 9)):
        replay.add(Counters().play(steps))
        segments.write(replay)
    for segments in both:
        segments.tidy()
        segments.verify(segments.state_dict())
    with pytest.raises(IntegrityError, match="not the file"):
        (tmp_path / both[0].kept[0].name).write_bytes((tmp_path / both[1].kept[0].name).read_bytes())
        both[0].verify(both[0].state_dict())


def test_what_is_taken_back_is_written_again(tmp_path: Path) -> None:
    replay, play, segments = memory(), Counters(), Segments(tmp_path)
    replay.add(play.play(5))
    segments.write(replay)
    kept = segments.kept
    replay.add(play.play(4))
    segments.write(replay)
    segments.undo()
    assert segments.kept == kept and len(list(tmp_path.iterdir())) == 1
    replay.add(play.play(2))
    segments.write(replay)
    assert [(segment.start, segment.end) for segment in segments.kept] == [(0, 5), (5, 11)]
