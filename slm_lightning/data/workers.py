"""Several processes that train one model: each collects experience of its own, and all of them make
every update together, so that their models stay equal, bit for bit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, distributed, nn

from slm_lightning.data.collector import Episode
from slm_lightning.errors import LostWorkerError
from slm_lightning.rl.normalizers import RunningMoments


class Workers:
    """The ``size`` processes that train a model, of which this one is ``rank``. What one of them asks
    for all must ask for, in the same order; with one worker nothing is to be done.

    Raises LostWorkerError where another worker has ended.
    """

    def __init__(self, rank: int = 0, size: int = 1):
        self.rank, self.size = rank, size

    @property
    def first(self) -> bool:
        """Whether this worker is the one that writes the record."""
        return self.rank == 0

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Each tensor becomes its mean over the workers, all of them in one message."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        self._sum(flat)
        flat /= self.size
        for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors])):
            tensor.copy_(mean.view_as(tensor))

    def total(self, number: int) -> int:
        """The sum of the workers' numbers."""
        if self.size == 1:
            return number
        count = torch.tensor([number])
        self._sum(count)
        return int(count)

    def any(self, flag: bool) -> bool:
        """Whether some worker says so."""
        return self.total(int(flag)) > 0

    def gather(self, episodes: list[Episode]) -> list[Episode]:
        """The episodes of all workers, in order of time."""
        if self.size == 1:
            return episodes
        counts = torch.zeros(self.size, dtype=torch.int64)
        counts[self.rank] = len(episodes)
        self._sum(counts)
        if not counts.any():
            return []
        rows = torch.zeros(int(counts.sum()), len(Episode._fields), dtype=torch.float64)
        mine = rows[int(counts[: self.rank].sum()) :][: len(episodes)]
        mine.copy_(torch.tensor(episodes, dtype=torch.float64).view_as(mine))
        self._sum(rows)
        found = [Episode(int(frame), ret, int(length)) for frame, ret, length in rows.tolist()]
        return sorted(found, key=lambda episode: episode.frame)

    def wait(self) -> None:
        """Goes on when all workers are here."""
        self.total(0)

    def _sum(self, tensor: Tensor) -> None:
        with talking():
            distributed.all_reduce(tensor)


@contextlib.contextmanager
def talking() -> Iterator[None]:
    """Around what needs all workers: raises LostWorkerError where one of them has ended."""
    try:
        yield
    except RuntimeError as error:
        raise LostWorkerError(str(error)) from error


class Agreement:
    """What the workers' experience leaves outside the gradients, made equal at the end of each round.

    Running moments become those of all rows that any worker has seen; other statistics of the agent
    (of batch normalisation, of percentiles) and the metrics of the round become their means.
    """

    def __init__(self, workers: Workers, agent: nn.Module, normalizers: nn.Module):
        """Begins where all workers agree."""
        self.workers = workers
        modules = [*agent.modules(), *normalizers.modules()]
        self.moments = [module for module in modules if isinstance(module, RunningMoments)]
        self.before = [_copy(moments) for moments in self.moments]
        counted = {id(buffer) for moments in self.moments for buffer in moments.buffers()}
        self.statistics = [
            (module, name)
            for module in agent.modules()
            for name, buffer in module.named_buffers(recurse=False)
            if buffer.is_floating_point() and id(buffer) not in counted
        ]

    def reach(self, info: dict[str, Tensor]) -> dict[str, Tensor]:
        """Agrees with the other workers; returns the means of the metrics ``info``."""
        sums = [_sums(moments, before) for moments, before in zip(self.moments, self.before)]
        buffers = [getattr(module, name) for module, name in self.statistics]
        metrics = [value.double() for value in info.values()]
        shared = [*(tensor for group in sums for tensor in group), *metrics]
        means = [tensor.double() for tensor in buffers]
        self.workers.average([*shared, *means])
        for buffer, mean in zip(buffers, means):
            buffer.copy_(mean)
        for moments, before, group in zip(self.moments, self.before, sums):
            self._merge(moments, before, *group)
        self.before = [_copy(moments) for moments in self.moments]
        return dict(zip(info, metrics))

    def _merge(
        self, moments: RunningMoments, before: RunningMoments, n: Tensor, s: Tensor, q: Tensor
    ) -> None:
        """The rows of ``before`` are in every worker's sums, and shall count once."""
        again = (self.workers.size - 1) * before.count
        n, s, q = (self.workers.size * mean for mean in (n, s, q))
        total = n - again
        moments.mean.copy_(before.mean + s / total)
        moments.var.copy_(((q - again * before.var) / total - (s / total).square()).clamp(min=0))
        moments.count.copy_(total)


def _copy(moments: RunningMoments) -> RunningMoments:
    copy = RunningMoments(tuple(moments.mean.shape)).to(moments.mean.device)
    copy.load_state_dict(moments.state_dict())
    return copy


def _sums(moments: RunningMoments, origin: RunningMoments) -> tuple[Tensor, Tensor, Tensor]:
    """How many rows there are, and the sums of them and of their squares, from the mean of ``origin``
    on; of the rows of ``origin`` the sum is 0."""
    shift = moments.mean - origin.mean
    n = moments.count.clone()
    return n, n * shift, n * (moments.var + shift.square())
