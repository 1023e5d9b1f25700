"""Gymnasium environments in processes of their own, of which any may die or raise."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing.connection import wait
from typing import Any

import gymnasium as gym
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from slm_lightning.errors import LostEnvError
from slm_lightning.processes import in_worker

PARTING_SECONDS = 5.0
"""How long the end of a process may stay hidden behind that of its pipe."""


class Raised(Exception):
    """An environment in another process has raised ``error``; ``trace`` is the traceback there."""

    def __init__(self, index: int, error: BaseException, trace: str):
        super().__init__(str(error))
        self.index, self.error, self.trace = index, error, trace


class EnvProcesses(AsyncVectorEnv):
    """One process for each of ``makers``. Raises LostEnvError where one of them has died."""

    def __init__(self, makers: Sequence[Callable[[], gym.Env]]):
        mortal = [partial(in_worker, make, os.getpid()) for make in makers]
        servers = multiprocessing.get_context("forkserver")
        servers.set_forkserver_preload([__name__])  # which a server imports once for all
        super().__init__(mortal, copy=False, autoreset_mode=AutoresetMode.DISABLED)

    def step(self, actions: Any) -> Any:
        with self._answers():
            return super().step(actions)

    def reset(self, **options: Any) -> Any:
        with self._answers():
            return super().reset(**options)

    def close_extras(self, timeout: float | None = None, terminate: bool = False) -> None:
        """Kills the processes, whatever they are at: asking them may take for ever."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join()
        for pipe in filter(None, self.parent_pipes):
            pipe.close()

    @contextlib.contextmanager
    def _answers(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, ConnectionError) as error:
            raise LostEnvError(*self._who_died()) from error

    def _who_died(self) -> tuple[str, str]:
        wait([process.sentinel for process in self.processes], PARTING_SECONDS)
        for index, process in enumerate(self.processes):
            if process.exitcode is not None:
                code = process.exitcode
                how = signal.Signals(-code).name if code < 0 else f"exit {code}"
                return f"worker {index}", how
        return "a worker", "it closed its pipe"

    def _raise_if_errors(self, successes: Any) -> None:
        failed = sum(not success for success in successes)
        told = [self.error_queue.get() for _ in range(failed)]
        if told:
            index, _, error, trace = min(told, key=lambda one: one[0])
            raise Raised(index, error, trace)
