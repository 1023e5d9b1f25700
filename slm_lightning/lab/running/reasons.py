"""Why a session failed, in one sentence."""

from __future__ import annotations

import traceback

import torch

from slm_lightning.errors import DivergedError, LabError, SessionError, StorageError
from slm_lightning.lab.running.job import Job, Outcome, Status
from slm_lightning.limits import GIB, as_limit

ENDS: dict[type[LabError], Status] = {DivergedError: "diverged", StorageError: "stopped"}
"""How a session ends by an error that is no failure; what storage ends can go on when there is room."""


def failure(error: BaseException, job: Job, device: str) -> Outcome:
    """The outcome of a session that ``error`` ended; what nobody foresaw is traced in its log."""
    known = error if isinstance(error, LabError) else _out_of_gpu(error, job, device) or as_limit(error)
    if known is not error:
        traceback.print_exception(error)
    if known is None:
        return Outcome("failed", f"{type(error).__name__}: {error}", SessionError.exit_code)
    status = ENDS.get(type(known), "failed")
    return Outcome(status, "; ".join(filter(None, (str(known), known.hint))), known.exit_code)


def _out_of_gpu(error: BaseException, job: Job, device: str) -> LabError | None:
    if not isinstance(error, torch.OutOfMemoryError):
        return None
    agent, env = job.spec["agent"], job.spec["env"]
    batch = agent["memory"].get("batch_size") or agent["algorithm"].get("minibatch_size")
    rows = f"minibatches of {batch} rows" if batch else "one batch a round"
    detail = str(error).split(". If reserved")[0].rstrip(".")
    return SessionError(
        f"{device} is out of memory with {env['num_envs']} environments and {rows}"
        f"{_free(device)}: {detail}",
        "lower them, share the GPU with fewer sessions, or give --device cpu; resume goes on",
    )


def _free(device: str) -> str:
    if not torch.cuda.is_available():
        return ""
    free, total = torch.cuda.mem_get_info(device)
    return f" ({free / GIB:.1f} of {total / GIB:.1f} GiB free)"
