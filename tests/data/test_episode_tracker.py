"""Returns and lengths of finished episodes against a naive loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slm_lightning.data import collector
from slm_lightning.data.collector import Episode, EpisodeTracker

CPU = torch.device("cpu")


class NaiveTracker:
    """One number for each sub-environment, one row at a time."""

    def __init__(self, num_envs: int):
        self.ret, self.length, self.frame = [0.0] * num_envs, [0] * num_envs, 0

    def update(self, reward: list[list[float]], done: list[list[bool]]) -> list[Episode]:
        episodes = []
        for rewards, ends in zip(reward, done):
            self.frame += len(rewards)
            for i, (r, end) in enumerate(zip(rewards, ends)):
                self.ret[i] += r
                self.length[i] += 1
                if end:
                    episodes.append(Episode(self.frame, self.ret[i], self.length[i]))
                    self.ret[i], self.length[i] = 0.0, 0
        return episodes


def rollouts(num_envs: int) -> st.SearchStrategy:
    row = st.lists(st.tuples(st.integers(-8, 8), st.booleans()), min_size=num_envs, max_size=num_envs)
    return st.lists(st.lists(row, min_size=1, max_size=6), min_size=1, max_size=4)


@given(st.integers(1, 4).flatmap(rollouts))
def test_it_equals_a_naive_loop_over_several_rollouts(parts):
    num_envs = len(parts[0][0])
    tracker, naive, start = EpisodeTracker(num_envs, CPU), NaiveTracker(num_envs), 0
    for part in parts:
        reward = [[float(r) for r, _ in row] for row in part]
        done = [[end for _, end in row] for row in part]
        episodes = tracker.update(np.float32(reward), np.array(done), start)
        assert episodes == naive.update(reward, done)
        start += len(part) * num_envs
    assert tracker.ret.tolist() == naive.ret
    assert tracker.length.tolist() == naive.length


@pytest.mark.parametrize("on_host", [True, False])
def test_by_hand(on_host, monkeypatch):
    """Elsewhere than in host memory all is reckoned by tensors."""
    tracker = EpisodeTracker(2, CPU)
    reward = np.float32([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]])
    done = np.array([[False, False], [True, False], [False, True]])
    if not on_host:
        monkeypatch.setattr(collector, "array", lambda x: x)
        reward, done = torch.from_numpy(reward), torch.from_numpy(done)
    # frames are counted over both: 2 a step
    assert tracker.update(reward, done, 100) == [Episode(104, 3.0, 2), Episode(106, 70.0, 3)]
    # the third reward of the first sub-environment is carried over
    assert tracker.update(reward, done, 106) == [Episode(110, 7.0, 3), Episode(112, 70.0, 3)]
    # two episodes of one sub-environment in one rollout, and none
    rows = [(114, 5.0, 2), (114, 10.0, 1), (116, 2.0, 1), (116, 20.0, 1)]
    assert tracker.update(reward[:2], done[:2] | True, 112) == [Episode(*row) for row in rows]
    assert tracker.update(reward, done & False, 116) == []
    assert (tracker.ret.tolist(), tracker.length.tolist()) == ([7.0, 70.0], [3, 3])


def test_a_long_episode_loses_no_precision():
    tracker = EpisodeTracker(1, CPU)
    reward, done = np.full((1000, 1), 0.1, np.float32), np.zeros((1000, 1), bool)
    for _ in range(200):
        assert tracker.update(reward, done, 0) == []
    done[-1] = True
    (episode,) = tracker.update(reward, done, 0)
    assert episode.ret == pytest.approx(201_000 * float(np.float32(0.1)), rel=1e-9)
