"""How the workers of one model find each other, and what Lightning may know of them."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import torch
from lightning.pytorch.plugins.environments import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import distributed

from slm_lightning.data.workers import Workers, talking
from slm_lightning.lab.running.job import Job

PATIENCE = timedelta(days=1)
"""How long a worker waits for the others, who may be evaluating; it is told at once where one ends."""


def meet(workers: Workers, job: Job) -> None:
    """Joins the other workers of ``job`` by way of its file. Messages between host memories go by gloo,
    between GPUs by NCCL, which wants one GPU for each worker.

    Raises LostWorkerError where another ends before all have come.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # else Lightning gives each its share of the cores
    apart = len(set(job.devices)) == workers.size and job.devices[0] != "cpu"
    with talking():
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if apart else "gloo",
            store=distributed.FileStore(str(job.meeting), workers.size),
            rank=workers.rank,
            world_size=workers.size,
            timeout=PATIENCE,
        )


class Together(DDPStrategy):
    """Lightning's strategy for processes that train one model, one device each.

    The module is not wrapped: ``Session.optimize`` says why, and averages the gradients.
    """

    def __init__(self, workers: Workers, job: Job):
        super().__init__(
            parallel_devices=[torch.device(device) for device in job.devices],
            cluster_environment=Place(workers),
        )

    def configure_ddp(self) -> None:
        """Nothing is to be wrapped."""

    def barrier(self, *args: Any, **kwargs: Any) -> None:
        with talking():
            super().barrier(*args, **kwargs)

    def reduce(self, *args: Any, **kwargs: Any) -> Any:
        with talking():
            return super().reduce(*args, **kwargs)


class Place(ClusterEnvironment):
    """Tells Lightning that the processes are there already, and which of them this one is."""

    creates_processes_externally = True
    main_address, main_port = "127.0.0.1", 0  # not asked for: they have met

    def __init__(self, workers: Workers):
        self.workers = workers

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self.workers.size

    def global_rank(self) -> int:
        return self.workers.rank

    def local_rank(self) -> int:
        return self.workers.rank

    def node_rank(self) -> int:
        return 0

    def set_world_size(self, size: int) -> None: ...

    def set_global_rank(self, rank: int) -> None: ...
