"""A function in a process of its own, so that an environment which ends its process ends no more."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from slm_lightning.errors import LabError, MissingError
from slm_lightning.lab.running.local_engine import (
    HUNG,
    begin_process,
    hidden_main,
    how_ended,
    overdue,
    warm_up,
)
from slm_lightning.spec.model import EnvParams

T = TypeVar("T")


def apart(params: EnvParams, function: Callable[..., T], *arguments: Any, **keywords: Any) -> T:
    """``function(*arguments)``, which plays the environment of section ``env``; what can be pickled
    goes there and comes back. What it prints is lost.

    Raises the LabError that it raises, and MissingError where it raises another error, where its
    process dies, and where a step takes too long.
    """
    warm_up()
    ours, theirs = multiprocessing.Pipe(duplex=False)
    with hidden_main():
        context = multiprocessing.get_context("forkserver")
        process = context.Process(
            target=_enter, args=(theirs, partial(function, *arguments, **keywords)), name="apart"
        )
        process.start()
    theirs.close()
    try:
        answer: Any = ours.recv()
    except (EOFError, OSError):
        process.join()
        answer = MissingError(f"{params.name} {_died(process.exitcode or 0, params)}")
    finally:
        process.kill()
        process.join()
        ours.close()
    if isinstance(answer, LabError):
        raise answer
    return answer


def _died(exitcode: int, params: EnvParams) -> str:
    how = how_ended(exitcode)
    if how == HUNG:
        return f"hangs: {overdue(params.step_timeout)}"
    return f"ends the process that plays it: {how}"


def _enter(pipe: Connection, work: Callable[[], Any]) -> None:
    """First function of the process."""
    from slm_lightning.envs.step_limit import let_steps_kill

    begin_process()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    let_steps_kill()
    try:
        answer = work()
    except LabError as error:
        answer = error
    except Exception as error:
        answer = MissingError(f"{type(error).__name__}: {error}")
    pipe.send(answer)
