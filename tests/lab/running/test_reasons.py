"""Why a session failed: the sentence and the exit code."""

from __future__ import annotations

import errno

import pandas as pd
import pytest
import torch

from slm_lightning.errors import DivergedError, IntegrityError, StorageError
from slm_lightning.lab.result import Result, SessionResult
from slm_lightning.lab.running.job import Job, Outcome
from slm_lightning.lab.running.reasons import failure
from tests.conftest import make_spec

JOB = Job(make_spec("PPO", {"name": "CartPole-v1", "num_envs": 8}).to_dict(), 0, 0, "", ("cuda:0",))
CUDA = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 15.77 GiB of which"
    " 3.01 GiB is free. If reserved but unallocated memory is large try setting"
)


def test_a_gpu_that_is_full() -> None:
    outcome = failure(torch.OutOfMemoryError(CUDA), JOB, "cuda:0")
    assert (outcome.status, outcome.exit_code) == ("failed", 4)
    assert "cuda:0 is out of memory with 8 environments and minibatches of 32 rows" in outcome.message
    assert "Tried to allocate 20.00 GiB" in outcome.message and "3.01 GiB is free" in outcome.message
    assert "resume goes on" in outcome.message


@pytest.mark.parametrize(
    ("error", "status", "code", "kind"),
    [
        (DivergedError("the loss is nan", "calmer"), "diverged", 5, DivergedError),
        (StorageError("the disk is full"), "stopped", 6, StorageError),
        (OSError(errno.EMFILE, "no"), "stopped", 6, StorageError),
        (OSError(errno.ENOSPC, "no"), "stopped", 6, StorageError),
        (IntegrityError("another file"), "failed", 7, IntegrityError),
    ],
)
def test_the_exit_code_of_a_session_is_that_of_its_trial(
    error: Exception, status: str, code: int, kind: type[Exception]
) -> None:
    outcome = failure(error, JOB, "cpu")
    assert (outcome.status, outcome.exit_code) == (status, code)
    told = result(Outcome("done"), outcome).error()
    assert type(told) is kind and told.exit_code == code
    assert "slm-lightning show" in told.hint
    assert ("slm-lightning resume" in told.hint) == (code not in (5, 7))


def test_what_nobody_foresaw_is_traced_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = failure(ZeroDivisionError("division by zero"), JOB, "cpu")
    assert outcome == Outcome("failed", "ZeroDivisionError: division by zero", 4)
    assert "ZeroDivisionError" in capsys.readouterr().err
    told = result(outcome).error()
    assert told and told.exit_code == 4


def result(*outcomes: Outcome) -> Result:
    sessions = [SessionResult("0" * 32, outcome, pd.DataFrame(), {}) for outcome in outcomes]
    return Result("0" * 32, "t", sessions, {}, {})
