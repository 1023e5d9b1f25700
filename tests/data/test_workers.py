"""What workers agree on, with threads in the place of processes: only the message itself is exchanged
by other means."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from slm_lightning.core import Keys, Stream
from slm_lightning.data.collector import Episode
from slm_lightning.data.workers import Agreement, Workers
from slm_lightning.rl.normalizers import RunningMoments
from slm_lightning.session import Session
from tests.algorithms.support import info, make_batch
from tests.conftest import assert_equal, make_spec


class Table:
    """Where threads meet."""

    def __init__(self, size: int):
        self.places: list[Tensor] = [torch.empty(0)] * size
        self.barrier = threading.Barrier(size, timeout=60)


class Threaded(Workers):
    def __init__(self, rank: int, table: Table):
        super().__init__(rank, len(table.places))
        self.table = table

    def _sum(self, tensor: Tensor) -> None:
        self.table.places[self.rank] = tensor.clone()
        self.table.barrier.wait()
        tensor.copy_(sum(self.table.places))
        self.table.barrier.wait()


def together(work: Callable[[Workers], Any], size: int = 2) -> list[Any]:
    """What ``work`` returns for each of the workers."""
    table = Table(size)
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(work, [Threaded(rank, table) for rank in range(size)]))


def test_one_worker_says_nothing_to_nobody():
    alone, tensor, episodes = Workers(), torch.ones(3), [Episode(4, 1.0, 4)]
    alone.average([tensor])
    alone.wait()
    assert (alone.total(7), alone.any(True), alone.any(False), alone.first) == (7, True, False, True)
    assert alone.gather(episodes) is episodes
    assert tensor.tolist() == [1, 1, 1]


def test_averages():
    def work(workers: Workers) -> list[Tensor]:
        tensors = [torch.full((2, 3), float(workers.rank)), torch.tensor(10.0 * workers.rank)]
        workers.average(tensors)
        return tensors

    for matrix, scalar in together(work, size=3):
        assert (matrix.tolist(), scalar.item()) == ([[1.0] * 3] * 2, 10.0)


def test_totals_and_votes():
    assert together(lambda workers: workers.total(workers.rank + 1), size=3) == [6, 6, 6]
    assert together(lambda workers: workers.any(workers.rank == 1)) == [True, True]
    assert together(lambda workers: workers.any(False)) == [False, False]


def test_episodes_of_all_in_order_of_time():
    own = [[Episode(8, 1.5, 4), Episode(24, -2.0, 3)], [], [Episode(8, 3.0, 2), Episode(16, 0.1, 1)]]
    expected = [own[0][0], own[2][0], own[2][1], own[0][1]]
    assert together(lambda workers: workers.gather(own[workers.rank]), size=3) == [expected] * 3
    assert together(lambda workers: workers.gather([]), size=3) == [[]] * 3


class Statistics(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.moments = RunningMoments((2,))
        self.register_buffer("running", torch.zeros(2))
        self.register_buffer("seen", torch.tensor(0))


def test_agreed_moments_are_those_of_all_rows(rng):
    rows = torch.randn(3, 2, 16, 2, generator=rng, dtype=torch.float64) * 3 + 100  # round, worker
    alone = RunningMoments((2,))
    for both in rows:
        alone.update(both.flatten(0, 1))

    def work(workers: Workers) -> Statistics:
        agent = Statistics()
        agreement = Agreement(workers, agent, nn.Module())
        for round in rows:
            agent.moments.update(round[workers.rank])
            agent.running += workers.rank
            found = agreement.reach({"loss": torch.tensor(2.0 * workers.rank)})
            assert found["loss"] == 1.0
        return agent

    first, second = together(work)
    assert_equal(dict(first.state_dict()), dict(second.state_dict()))
    assert_close(dict(first.moments.state_dict()), dict(alone.state_dict()), rtol=1e-9, atol=1e-9)
    assert first.running.tolist() == [1.5, 1.5]  # half of what the second added, in each round


@pytest.mark.parametrize("net", [{"shared": True}, {"actor_clip_grad_val": 0.05}], ids=str)
def test_two_workers_take_the_step_of_one_with_twice_the_data(net, rng):
    """The advantages are given: a worker standardises its own, which is another than for all."""
    spec = make_spec("ActorCritic", net={"clip_grad_val": 0.1, **net})
    rows = make_batch().flatten()
    advantage, target = torch.randn(2, len(rows.reward), generator=rng)
    one, coef = torch.tensor(1.0), torch.tensor(0.01)

    def learn(workers: Workers, model: Session, part: slice) -> Session:
        model.workers = workers
        model.configure_optimizers()
        for _ in range(3):
            tensors = rows.obs[part], rows.action[part], advantage[part], target[part], one, coef
            model.optimize(tuple(model.learners), model.agent.loss, *tensors)
        return model

    session, half = Session.build(spec, info(), Keys(0)), len(rows.reward) // 2
    parts = slice(0, half), slice(half, 2 * half)
    copies = [copy.deepcopy(session) for _ in parts]
    first, second = together(lambda w: learn(w, copies[w.rank], parts[w.rank]))
    assert_equal(dict(first.state_dict()), dict(second.state_dict()))
    alone = learn(Workers(), session, slice(0, 2 * half))
    for ours, theirs in zip(first.agent.parameters(), alone.agent.parameters()):
        assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_workers_share_their_initial_weights_and_no_other_draw():
    first, second = Keys(3), Keys(3, worker=1)
    assert first.seed_for(Stream.INIT) == second.seed_for(Stream.INIT)
    for stream, index in ((Stream.BLOCK, (4,)), (Stream.ENV, (0, 0)), (Stream.EVAL, (0, 0))):
        assert first.seed_for(stream, *index) != second.seed_for(stream, *index)
