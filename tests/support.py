"""What the end-to-end tests share: a small experiment, the command line, and how results compare."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
import torch

from slm_lightning.core import Keys, Stream
from slm_lightning.lab.result import Result
from slm_lightning.tracking import Record
from slm_lightning.updates.machine import lacking

REPOSITORY = Path(__file__).parents[1]
CLOCK = ("fps", "wall_t", "time")
"""Columns of the metrics that measure the machine, not the experiment."""
PATIENCE = 120
"""Seconds after which something that should happen counts as never happening."""

TINY: dict[str, Any] = {
    "agent": {
        "name": "A2C",
        "algorithm": {
            "name": "ActorCritic",
            "gamma": 0.99,
            "lam": 0.95,
            "val_loss_coef": 0.5,
            "entropy_coef_spec": {"start_val": 0.01},
            "training_frequency": 32,
        },
        "memory": {"name": "OnPolicyBatchReplay"},
        "net": {"type": "MLPNet", "hid_layers": [16], "optim_spec": {"name": "Adam", "lr": 0.01}},
    },
    "env": {"name": "CartPole-v1", "num_envs": 2, "max_frame": 1984},
    "meta": {"seed": 3, "max_session": 2, "log_frequency": 200},
}
"""A2C on CartPole in 31 rounds of 64 frames."""
FRAMES = [*range(200, 2000, 200), 1984]
"""The frames of its rows."""


def tiny(name: str = "tiny", **sections: Mapping[str, Any]) -> dict[str, Any]:
    """``TINY`` as a spec file holds it, with keys of its sections ``algorithm``, ``memory``, ``net``,
    ``env`` and ``meta`` replaced."""
    spec = copy.deepcopy(TINY)
    for section, keys in sections.items():
        (spec if section in spec else spec["agent"])[section] |= keys
    return {name: spec}


def faulty(fault: str, session: int = 1, at: int = 400, **options: Any) -> dict[str, Any]:
    """The section ``env`` with CartPole going wrong in vector step ``at`` of ``session``; see
    :class:`tests.lab.faults.Faulty`."""
    return {
        "name": "tests/Faulty-v0",
        "entry_point": "tests.lab.faults:Faulty",
        "fault": fault,
        "at": at,
        "first_seed": Keys(TINY["meta"]["seed"], session).seed_for(Stream.ENV, 0, 0),
        **options,
    }


def write_spec(path: Path, spec: Mapping[str, Any]) -> Path:
    path.write_text(json.dumps(spec), encoding="utf-8")
    return path


class Answer(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str


Lab = Callable[..., Answer]
"""``slm-lightning`` with these arguments, in this process."""


def start_lab(
    *arguments: object,
    cwd: Path,
    path: str = str(REPOSITORY),
    variables: Mapping[str, str] = {},
    **options: Any,
) -> subprocess.Popen[str]:
    """``slm-lightning`` as a process of its own, the leader of a process group as in a terminal; with
    Python's ``path``, and with further environment variables."""
    return subprocess.Popen(
        [Path(sys.executable).with_name("slm-lightning"), *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path, **variables},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        **options,
    )


def needs(module: str, extra: str) -> None:
    """Skips the test where ``module`` is not installed, but not in CI."""
    if importlib.util.find_spec(module) is None:
        sentence = f'{module} is not installed: pip install "slm-lightning[{extra}]"'
        if os.environ.get("CI") == "true":
            pytest.fail(sentence)
        pytest.skip(sentence)


def needs_compiler() -> None:
    """Skips the test where updates cannot be compiled, but not in CI."""
    if lack := lacking():
        sentence = f"there is no {lack.what}: {lack.remedy}"
        if os.environ.get("CI") == "true":
            pytest.fail(sentence)
        pytest.skip(sentence)


def can_mount() -> bool:
    """Whether a process may have a disk of its own."""
    tool = shutil.which("unshare")
    return bool(tool) and not subprocess.run([tool, "-m", "true"], capture_output=True).returncode


def wait_until(holds: Callable[[], Any], what: str) -> Any:
    """Polls until ``holds()`` is true and returns that; fails the test after ``PATIENCE`` seconds."""
    deadline = time.monotonic() + PATIENCE
    while not (found := holds()):
        if time.monotonic() > deadline:
            pytest.fail(f"in vain waited until {what}")
        time.sleep(0.05)
    return found


def numbers(table: pd.DataFrame) -> pd.DataFrame:
    """The columns that a spec and its code determine."""
    return table.drop(columns=[name for name in CLOCK if name in table])


def checkpoint(record: Record, run_id: str, which: str) -> dict[str, Any]:
    """``ckpt-best`` or ``ckpt-last`` of a session, without what measures the machine."""
    return stored_state(record.download(run_id, f"checkpoints/ckpt-{which}.ckpt"))


def stored_state(path: Path) -> dict[str, Any]:
    """A checkpoint without what measures the machine."""
    state = torch.load(path, weights_only=True)
    for callback in state.get("callbacks", {}).values():
        for clock in ("elapsed", "written"):
            callback.pop(clock, None)
    return state


def equal(one: Any, other: Any) -> bool:
    """Whether two nested states hold the same numbers, bit for bit."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def assert_same_numbers(one: Result, other: Result, record: Record) -> None:
    """Two trials in ``record`` came to the same metrics and checkpoints, bit for bit."""
    assert len(one.sessions) == len(other.sessions)
    for left, right in zip(one.sessions, other.sessions):
        pd.testing.assert_frame_equal(numbers(left.metrics), numbers(right.metrics), check_exact=True)
        for which in ("best", "last"):
            states = [checkpoint(record, run_id, which) for run_id in (left.run_id, right.run_id)]
            assert equal(*states), which
