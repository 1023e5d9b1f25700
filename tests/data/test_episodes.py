"""Past episodes with their true returns, and the best episodes of a rollout."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from slm_lightning.algorithms import algorithms
from slm_lightning.core import ActionSpec, Batch, EnvInfo, Sample
from slm_lightning.data.episodes import EpisodeMemory, best_episodes
from slm_lightning.data.memory import BatchWithPast
from tests.algorithms.support import Recorder, make_agent
from tests.conftest import PAST, make_spec, train
from tests.data.test_replay import Counters
from tests.envs.probes import probe
from tests.support import equal

GAMMA = 0.5


def past_memory(num_envs: int = 3, max_size: int = 60, **keys) -> EpisodeMemory:
    name = {"name": "OnPolicyBatchReplay", "max_size": max_size}
    params = BatchWithPast(**PAST | name | keys).past
    env = EnvInfo("x", num_envs, (2,), torch.float32, ActionSpec("discrete", (2,)))
    return EpisodeMemory(params, env, torch.float32, GAMMA, torch.device("cpu"))


def drawable(memory: EpisodeMemory) -> Sample:
    """All transitions that can be drawn, as one minibatch."""
    index = memory.tree.priority.nonzero().T
    assert len(memory) == index.numel()
    return memory._gather(index, torch.ones(index.shape)).minibatches()[0]


def rollout(reward: list, terminated: list, truncated: list, start: int) -> Batch:
    """Vector steps from ``start`` on of two sub-environments that show (number, step)."""
    steps = torch.arange(start, start + len(reward)).float()[:, None].expand(-1, 2)
    obs = torch.stack([torch.arange(2).expand_as(steps), steps], -1)
    ends = (torch.tensor(x, dtype=torch.bool) for x in (terminated, truncated))
    action = torch.zeros(len(reward), 2, dtype=torch.int64)
    return Batch(obs, action, torch.tensor(reward), obs + torch.tensor([0, 0.5]), *ends, version=0)


def test_returns_by_hand_over_the_borders_of_rollouts():
    """γ = 0.5. The first of two ends at its third step, terminated, the second at its fifth, truncated;
    a rollout is two steps."""
    memory, never = past_memory(num_envs=2), [[0, 0], [0, 0]]
    memory.add(rollout([[1.0, 1.0], [2.0, 1.0]], never, never, 0))
    assert len(memory) == 0
    memory.add(rollout([[4.0, 1.0], [8.0, 1.0]], [[1, 0], [0, 0]], never, 2))
    found = drawable(memory)
    assert found.obs.tolist() == [[0, 0], [0, 1], [0, 2]]
    assert found.reward.tolist() == [1 + 1 + 1, 2 + 2, 4]
    assert found.terminated.all()
    memory.add(rollout([[16.0, 1.0], [32.0, 64.0]], never, [[0, 1], [0, 0]], 4))
    found = drawable(memory)
    of_second = found.obs[:, 0] == 1
    assert len(memory) == 3 + 5
    assert found.reward[of_second].tolist() == [1.9375, 1.875, 1.75, 1.5, 1]
    assert found.discount[of_second].tolist() == [0.5**m for m in (5, 4, 3, 2, 1)]
    assert found.next_obs[of_second].tolist() == [[1, 4.5]] * 5, "the true successor of the last"
    assert not found.terminated[of_second].any()
    memory.add(rollout([[64.0, 1.0]], [[1, 0]], [[0, 0]], 6))
    found = drawable(memory)
    second_of_first = (found.obs[:, 0] == 0) & (found.obs[:, 1] > 2)
    assert found.reward[second_of_first].tolist() == [8 + 8 + 8 + 8, 16 + 16 + 16, 32 + 32, 64]


def naive(batches: list[Batch]) -> dict[tuple, tuple]:
    """By observation: reward to the end, γ^m, last observation, terminated; of finished episodes."""
    columns = [torch.cat(rows) for rows in list(zip(*batches))[:6]]
    obs, _, reward, next_obs, terminated, truncated = columns
    found = {}
    for n in range(obs.shape[1]):
        running: list[int] = []
        for t in range(len(obs)):
            running.append(t)
            if terminated[t, n] or truncated[t, n]:
                ret = 0.0
                for m, s in enumerate(reversed(running), 1):
                    ret = reward[s, n].item() + GAMMA * ret
                    key = (n, *obs[s, n].tolist())
                    found[key] = (ret, GAMMA**m, next_obs[t, n].tolist(), bool(terminated[t, n]), s)
                running = []
    return found


@pytest.mark.parametrize("lengths", [(3, 1, 7), (19, 2, 5), (1, 1, 1), (40, 3, 3)])
@pytest.mark.parametrize("chunk", [1, 5, 32])
def test_what_can_be_drawn_is_every_finished_episode_in_the_ring(lengths, chunk):
    """Episodes of three sub-environments end at different times, the ring of 20 steps goes round, and
    some episodes are longer than it."""
    memory, play, batches = past_memory(), Counters(lengths), []
    for _ in range(120 // chunk):
        batches.append(play.play(chunk))
        memory.add(batches[-1])
        steps = sum(len(batch.reward) for batch in batches)
        expected = {k: v for k, v in naive(batches).items() if v[-1] >= steps - 20}
        rows = drawable(memory)
        keys = [(int(obs[0]) // 1000, *obs.tolist()) for obs in rows.obs]
        assert sorted(keys) == sorted(expected)
        for key, *row in zip(keys, rows.reward, rows.discount, rows.next_obs, rows.terminated):
            ret, discount, next_obs, terminated, _ = expected[key]
            assert row[0].item() == pytest.approx(ret, rel=1e-5)
            assert row[1].item() == pytest.approx(discount)
            assert row[2].tolist() == next_obs
            assert bool(row[3]) == terminated


@pytest.mark.parametrize("name", ["Replay", "PrioritizedReplay"])
def test_a_restored_memory_goes_on_the_same(name):
    one, play = past_memory(sil_replay_name=name, use_cer=True), Counters((3, 11, 2))
    one.add(play.play(13))
    torch.manual_seed(0)
    sample = one.sample(2)
    one.feedback(sample.place, torch.rand(2, 16))
    other = past_memory(sil_replay_name=name, use_cer=True)
    other.load_state_dict(one.state_dict())
    other.put(one.rows())
    for steps in (1, 4, 30):
        batch = play.play(steps)
        samples = []
        for memory in (one, other):
            memory.add(batch)
            torch.manual_seed(steps)
            samples.append(memory.sample(3, 0.5))
            memory.feedback(samples[-1].place, samples[-1].reward)
        assert equal(*samples)
    assert equal(one.state_dict(), other.state_dict())
    assert equal(one.rows(), other.rows())


def test_a_uniform_draw_is_uniform_over_finished_episodes_whatever_their_errors():
    memory = past_memory(batch_size=3000)
    memory.add(Counters((3, 11, 2)).play(20))
    memory.feedback(torch.tensor([[0, 1, 4]]), torch.tensor([[0.0, 5.0, 100.0]]))
    torch.manual_seed(0)
    sample = memory.sample(2, progress=0.7)
    assert (sample.weight == 1).all()
    count = len(memory)
    counts = sample.place.flatten().bincount(minlength=60)
    assert (counts > 0).sum() == count < 60
    assert (counts[counts > 0] - 6000 / count).abs().max() < 5 * (6000 / count) ** 0.5


def test_a_prioritized_draw_takes_what_was_better_than_expected():
    memory = past_memory(num_envs=2, sil_replay_name="PrioritizedReplay", alpha=1.0, batch_size=1000)
    never = [[0, 0], [0, 0]]
    memory.add(rollout([[1.0, 1.0], [1.0, 1.0]], [[0, 0], [1, 1]], never, 0))
    memory.feedback(torch.tensor([[0, 1, 2, 3]]), torch.tensor([[3.0, 1.0, 0.0, 0.0]]))
    torch.manual_seed(0)
    counts = memory.sample(1).place.flatten().bincount(minlength=4)
    assert counts.tolist() == pytest.approx([750, 250, 0, 0], abs=1)
    memory.add(rollout([[1.0, 1.0]], [[1, 0]], [[0, 0]], 2))
    assert memory.tree.priority[:6].tolist() == pytest.approx([3, 1, 0, 0, 3, 0], abs=1e-5)


def test_the_newest_episodes_stand_in_the_first_minibatch():
    """The fifth step of three sub-environments ends five steps of the second and two of the third."""
    memory, play = past_memory(use_cer=True, batch_size=4), Counters((2, 5, 3))
    memory.add(play.play(4))
    assert memory.tree.priority.nonzero().flatten().tolist() == [0, 2, 3, 5, 8]
    memory.add(play.play(1))
    assert memory.newest.tolist() == [1, 4, 7, 10, 11, 13, 14]
    torch.manual_seed(0)
    first, second = memory.sample(2).place.tolist()
    assert first == [10, 11, 13, 14] != second
    never = torch.zeros(1, 3, dtype=torch.bool)
    memory.add(play.play(1)._replace(terminated=never, truncated=never))
    assert len(memory.newest) == 0


class TestBestEpisodes:
    REWARD = (1.0, 1.0, 5.0, 0.0, 0.0, 2.0, 2.0, 9.0)
    """Episodes of 2, 1, 3 and 1 steps with returns 2, 5, 2 and 2, and one that is cut short."""
    ENDS = (1, 2, 5, 6)

    def batch(self) -> Batch:
        steps = len(self.REWARD)
        ends = torch.zeros(steps, 1, dtype=torch.bool)
        ends[list(self.ENDS)] = True
        obs = torch.arange(steps).float()[:, None, None]
        action = torch.zeros(steps, 1, dtype=torch.int64)
        reward = torch.tensor(self.REWARD)[:, None]
        return Batch(obs, action, reward, obs + 1, ends, torch.zeros_like(ends), version=4)

    @pytest.mark.parametrize(
        ("quantile", "kept"),
        [
            (0.5, [0, 1, 2, 3, 4, 5, 6]),  # the median of 2, 2, 2, 5 is 2
            (0.75, [2]),  # 2.75
            (0.999, [2]),
            (0.0, [0, 1, 2, 3, 4, 5, 6]),
            (1.0, list(range(8))),
        ],
    )
    def test_by_hand(self, quantile, kept):
        found = best_episodes(self.batch(), quantile)
        assert found.obs.flatten().tolist() == kept
        assert found.next_obs.flatten().tolist() == [step + 1 for step in kept]
        assert found.done.flatten().tolist() == [step in self.ENDS for step in kept]
        assert found.reward.shape == (len(kept), 1)
        assert found.version == 4

    def test_where_no_episode_has_ended_there_is_nothing_to_choose_from(self):
        batch = self.batch()
        batch = batch._replace(terminated=torch.zeros_like(batch.terminated))
        assert best_episodes(batch, 0.5) is batch

    def test_a_lost_life_ends_no_episode(self):
        """The game goes on after step 1: its return is 7, the best."""
        batch = self.batch()
        over = batch.terminated.clone()
        over[1] = False
        found = best_episodes(batch._replace(over=over), 0.9)
        assert found.obs.flatten().tolist() == [0, 1, 2]

    def test_returns_do_not_flow_from_one_kept_episode_into_another(self):
        agent, recorder = make_agent("Reinforce", gamma=GAMMA), Recorder()
        batch = best_episodes(self.batch()._replace(obs=torch.randn(8, 1, 4)), 0.5)
        agent.learn(batch, recorder)
        returns = torch.tensor([1.5, 1, 5, 0.5, 1, 2, 2])
        advantage = (returns - returns.mean()) / returns.std()
        assert recorder.calls[0][2].tolist() == pytest.approx(advantage.tolist(), rel=1e-5)


def learners() -> Iterator[str]:
    for name, cls in algorithms().items():
        if "OnPolicyCrossEntropy" in cls.memories and cls.Params.learns:
            yield name


@pytest.mark.parametrize("name", sorted(learners()))
def test_it_learns_from_the_best_episodes_only(name):
    memory = {"name": "OnPolicyCrossEntropy", "cross_entropy": 0.75}
    seen: list[Batch] = []
    spec = make_spec(
        {"name": name, "training_frequency": 8},
        probe("ObservedReward") | {"num_envs": 1, "max_frame": 24},
        memory=memory,
    )
    learn = algorithms()[name].learn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            algorithms()[name], "learn", lambda self, b, o: (seen.append(b), learn(self, b, o))[1]
        )
        run = train(spec)
    assert run.session.version == len(seen) == 3
    assert len(run.episodes) == 24, "all of them are on the record"
    for batch, episodes in zip(seen, (run.episodes[i : i + 8] for i in (0, 8, 16))):
        returns = torch.tensor([episode.ret for episode in episodes])
        expected = returns[returns >= returns.quantile(0.75)]
        assert batch.reward[:, 0].tolist() == expected.tolist()
