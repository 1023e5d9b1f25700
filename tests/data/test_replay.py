"""Replay memories: every transition comes back as it was, in whatever order it was seen."""

from __future__ import annotations

import pytest
import torch

from slm_lightning.core import ActionSpec, Batch, EnvInfo
from slm_lightning.data.memory import PrioritizedReplay, Replay
from slm_lightning.data.replay import PrioritizedMemory, ReplayMemory, make_memory
from tests.support import equal

N = 3
GAMMA = 0.5
CPU = torch.device("cpu")


class Counters:
    """``N`` sub-environments that show (episode, step) and end after ``lengths`` steps in turn, every
    other time by truncation. Each transition tells who it is by its reward."""

    def __init__(self, lengths: tuple[int, ...] = (1, 4, 2, 7)):
        self.lengths = lengths
        self.episode = torch.arange(N) * 1000
        self.step = torch.zeros(N, dtype=torch.int64)
        self.count = 0

    def play(self, steps: int) -> Batch:
        return Batch(*map(torch.stack, zip(*(self._one() for _ in range(steps)))), version=0)

    def _one(self) -> tuple[torch.Tensor, ...]:
        obs = torch.stack([self.episode, self.step], 1).float()
        next_obs = torch.stack([self.episode, self.step + 1], 1).float()
        ends = torch.tensor([self.lengths[int(e) % len(self.lengths)] for e in self.episode])
        done = self.step + 1 == ends
        terminated = done & (self.episode % 2 == 0)
        reward = (self.count * N + torch.arange(N)).float()
        self.episode, self.step = self.episode + done, torch.where(done, 0, self.step + 1)
        self.count += 1
        return obs, torch.zeros(N, dtype=torch.int64), reward, next_obs, terminated, done & ~terminated


def info(obs_shape: tuple[int, ...] = (2,), frame_stack: int = 1) -> EnvInfo:
    return EnvInfo(
        "x", N, obs_shape, torch.float32, ActionSpec("discrete", (2,)), frame_stack=frame_stack
    )


def memory(max_size: int = 60, **keys) -> ReplayMemory:
    params = Replay(**{"name": "Replay", "batch_size": 16, "max_size": max_size} | keys)
    return make_memory(params, info(), torch.float32, GAMMA, CPU)


def prioritized(max_size: int = 60, **keys) -> PrioritizedMemory:
    keys = {"alpha": 1.0, "epsilon": 0.0, "beta": 0.5, "batch_size": 16, "max_size": max_size} | keys
    params = PrioritizedReplay(name="PrioritizedReplay", **keys)
    found = make_memory(params, info(), torch.float32, GAMMA, CPU)
    assert isinstance(found, PrioritizedMemory)
    return found


def everything(replay: ReplayMemory):
    """All transitions that can be drawn, oldest first, as one minibatch."""
    first = replay.tail * N
    index = torch.arange(first, first + len(replay)) % (replay.steps * N)
    return replay._gather(index[None], torch.ones(1, len(index))).minibatches()[0]


@pytest.mark.parametrize("chunk", [1, 7, 50])
@pytest.mark.parametrize("steps", [10, 20, 21, 57, 200])
def test_every_transition_is_kept_with_its_true_successor(chunk, steps):
    """Before, at and after the ring is full, wherever episodes end."""
    replay, play = memory(), Counters()
    batches = []
    while sum(len(batch.reward) for batch in batches) < steps:
        batches.append(play.play(min(chunk, steps - sum(len(b.reward) for b in batches))))
        replay.add(batches[-1])
    kept = min(steps, 20)
    assert len(replay) == kept * N
    found = everything(replay)
    columns = (torch.cat(rows)[-kept:].flatten(0, 1) for rows in list(zip(*batches))[:5])
    obs, action, reward, next_obs, terminated = columns
    assert torch.equal(found.obs, obs)
    assert torch.equal(found.next_obs, next_obs)
    assert torch.equal(found.reward, reward)
    assert torch.equal(found.terminated, terminated)
    assert torch.equal(found.action, action)
    assert (found.discount == GAMMA).all()


def test_a_draw_is_uniform_over_what_is_kept():
    replay = memory(batch_size=6000)
    replay.add(Counters().play(33))
    torch.manual_seed(0)
    sample = replay.sample(2)
    assert sample.obs.shape == (2, 6000, 2)
    counts = sample.reward.flatten().long().bincount(minlength=33 * N)
    assert (counts[: 13 * N] == 0).all(), "those that made room"
    expected = 12_000 / 60
    chi2 = ((counts[13 * N :] - expected) ** 2 / expected).sum()
    assert chi2 < 98, "the 99.9 % point of chi-squared with 59 degrees of freedom"


class TestNStep:
    @pytest.mark.parametrize("n", [2, 3, 5])
    def test_against_a_loop(self, n):
        replay, play = memory(num_step_returns=n), Counters()
        batch = play.play(53)
        replay.add(batch)
        found, kept = everything(replay), 20
        for i in range(kept * N):
            t, env = 33 + i // N, i % N
            expected, m = 0.0, 0
            while True:
                expected += GAMMA**m * batch.reward[t + m, env].item()
                m += 1
                if m == n or batch.done[t + m - 1, env] or t + m == 53:
                    break
            assert found.reward[i].item() == pytest.approx(expected)
            assert found.discount[i].item() == pytest.approx(GAMMA**m)
            assert torch.equal(found.next_obs[i], batch.next_obs[t + m - 1, env])
            assert found.terminated[i] == batch.terminated[t + m - 1, env]


class TestCombined:
    def test_the_newest_stand_in_the_first_minibatch(self):
        replay, play = memory(use_cer=True), Counters()
        replay.add(play.play(15))
        replay.sample(1)
        replay.add(play.play(2))
        first, second = replay.sample(2).minibatches()
        newest = set(range(15 * N, 17 * N))
        assert set(first.reward[-6:].long().tolist()) == newest
        assert not newest <= set(second.reward.long().tolist())

    def test_more_news_than_a_minibatch_holds(self):
        replay = memory(use_cer=True, batch_size=4)
        replay.add(Counters().play(10))
        sample = replay.sample(1)
        assert sorted(sample.reward[0].tolist()) == [26, 27, 28, 29]


class TestPrioritized:
    def test_draws_are_proportional_to_the_td_errors(self):
        replay = prioritized(batch_size=8000)
        replay.add(Counters().play(20))
        everything_drawn = torch.arange(60)
        td_error = torch.linspace(-1, 1, 60)
        replay.feedback(everything_drawn[None], td_error[None])
        torch.manual_seed(0)
        index = replay.sample(1).place
        share = index.flatten().bincount(minlength=60) / 8000
        torch.testing.assert_close(share, td_error.abs() / td_error.abs().sum(), atol=2e-3, rtol=0)

    def test_the_weights_of_the_paper(self):
        """N = 60, p = 1 and 3 in halves: P = 1/120, 3/120; w = (N P)^-β = 2^β, (2/3)^β; the largest
        becomes 1, so the others are (1/3)^β. β = 0.5 + 0.5 · 0.5 half-way."""
        replay = prioritized(batch_size=64)
        replay.add(Counters().play(20))
        replay.feedback(torch.arange(60)[None], torch.tensor([1.0, 3.0]).repeat(30)[None])
        for progress, beta in ((0.0, 0.5), (0.5, 0.75), (1.0, 1.0)):
            sample = replay.sample(1, progress)
            rare = sample.place % 2 == 0
            assert sample.weight[rare].tolist() == pytest.approx([1.0] * int(rare.sum()))
            assert sample.weight[~rare].tolist() == pytest.approx([3**-beta] * int((~rare).sum()))

    def test_alpha_and_epsilon(self):
        replay = prioritized(alpha=0.5, epsilon=1.0)
        replay.add(Counters().play(20))
        replay.feedback(torch.tensor([[0, 1]]), torch.tensor([[3.0, -8.0]]))
        assert replay.tree.priority[:2].tolist() == [2.0, 3.0]

    def test_new_transitions_enter_with_the_highest_priority_so_far(self):
        replay, play = prioritized(), Counters()
        replay.add(play.play(2))
        assert replay.tree.priority[:6].tolist() == [1.0] * 6
        replay.feedback(torch.tensor([[4]]), torch.tensor([[5.0]]))
        replay.feedback(torch.tensor([[4]]), torch.tensor([[0.5]]))
        replay.add(play.play(1))
        assert replay.tree.priority[:9].tolist() == [1, 1, 1, 1, 0.5, 1, 5, 5, 5]

    def test_only_what_is_kept_has_a_priority(self):
        replay, play = prioritized(), Counters()
        for steps in (13, 13, 70):
            replay.add(play.play(steps))
            assert (replay.tree.priority[: len(replay)] > 0).all()
            assert (replay.tree.priority[60:] == 0).all()

    def test_where_nothing_has_an_error_all_are_drawn_alike(self):
        replay, play = prioritized(), Counters()
        replay.add(play.play(5))
        every = torch.arange(5 * N)
        replay.feedback(every, torch.zeros(5 * N))
        sample = replay.sample(100)
        assert set(sample.place.flatten().tolist()) == set(every.tolist())
        assert (sample.weight == 1).all()
        replay.feedback(every[:1], torch.ones(1))
        assert (replay.sample(100).place == 0).all()


class TestStackedImages:
    """Images of one pixel whose value counts frames; a stack of three of them is an observation."""

    def play(self, steps: int, lengths: tuple[int, ...]) -> Batch:
        play, rows = Counters(lengths), []
        batch = play.play(steps)
        for obs in (batch.obs, batch.next_obs):
            episode, step = obs.unbind(-1)
            value = (episode % 10 * 20 + step + 1)[..., None]
            back = torch.arange(2, -1, -1)
            stack = torch.where(back <= step[..., None], value - back, 0)
            rows.append(stack[..., None, None].to(torch.uint8))
        return batch._replace(obs=rows[0], next_obs=rows[1])

    def memory(self, max_size: int) -> ReplayMemory:
        params = Replay(name="Replay", batch_size=8, max_size=max_size)
        return make_memory(params, info((3, 1, 1), frame_stack=3), torch.uint8, GAMMA, CPU)

    @pytest.mark.parametrize("steps", [5, 20, 33, 90])
    def test_each_is_kept_once_and_stacked_again(self, steps):
        batch = self.play(steps, (1, 4, 2, 7))
        replay = self.memory(60)
        assert replay.frames.frames.shape[1:] == (1, 1, 1)
        replay.add(batch)
        found, kept = everything(replay), min(steps, 20)
        assert torch.equal(found.obs, batch.obs[-kept:].flatten(0, 1))
        assert torch.equal(found.next_obs, batch.next_obs[-kept:].flatten(0, 1))

    def test_a_tight_ring_forgets_what_it_cannot_show(self, monkeypatch):
        """With room for a sixteenth more images than steps, episodes of one step push out old ones."""
        monkeypatch.setattr("slm_lightning.data.frames.SMALL", 0)
        batch = self.play(100, (1,))
        replay = self.memory(60)
        for t in range(100):
            replay.add(Batch(*(rows[t : t + 1] for rows in batch[:6]), version=0))
            found = everything(replay)
            kept = len(replay) // N
            assert kept >= min(t + 1, 10)
            assert torch.equal(found.obs, batch.obs[t + 1 - kept : t + 1].flatten(0, 1))
            assert torch.equal(found.next_obs, batch.next_obs[t + 1 - kept : t + 1].flatten(0, 1))


@pytest.mark.parametrize("make", [memory, prioritized])
@pytest.mark.parametrize("steps", [9, 31])
def test_a_restored_memory_goes_on_as_if_nothing_had_been(make, steps):
    one, play = make(use_cer=True), Counters()
    one.add(play.play(steps))
    sample = one.sample(2)
    one.feedback(sample.place, torch.randn(2, 16))
    other = make(use_cer=True)
    other.load_state_dict(one.state_dict())
    other.put(one.rows())
    rest = play.play(25)
    for replay in (one, other):
        replay.add(rest)
    samples = []
    for replay in (one, other):
        torch.manual_seed(4)
        samples.append(replay.sample(3, 0.5))
    assert equal(*samples)
    assert equal(one.state_dict(), other.state_dict())
    assert equal(one.rows(), other.rows())
