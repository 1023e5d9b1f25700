"""Reading and checking specs leaves nothing behind in the process that does it."""

from __future__ import annotations

import gc
import random
import threading
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from slm_lightning.api import prepare
from slm_lightning.errors import SpecError
from tests.fuzz.broken import broken_spec
from tests.fuzz.valid import valid_spec


def look(number: int, folder: Any) -> None:
    """Prepares a valid spec and a broken one."""
    prepare({"fuzzed": valid_spec(number)})
    (folder / "spec.json").write_text(broken_spec(number).text, encoding="utf-8")
    with pytest.raises(SpecError):
        prepare(folder / "spec.json")


@pytest.mark.parametrize(
    ("warm", "count", "growth"), [(60, 60, 40), pytest.param(300, 1000, 60, marks=pytest.mark.slow)]
)
def test_nothing_grows(warm, count, growth, tmp_path, record_property):
    """Of threads, files and memory (MiB), once what is made but once is there."""
    process = psutil.Process()

    def grown() -> tuple[int, int, float]:
        gc.collect()
        return threading.active_count(), process.num_fds(), process.memory_info().rss / 2**20

    for number in range(warm):
        look(number, tmp_path)
    threads, files, memory = grown()
    for number in range(warm, warm + count):
        look(number, tmp_path)
    now = grown()
    record_property("growth", f"{count} specs: {now[2] - memory:.1f} MiB")
    assert now[:2] == (threads, files)
    assert now[2] - memory < growth


def test_what_the_caller_draws_is_not_shifted():
    def drawn() -> tuple[float, float, float]:
        return torch.rand(()).item(), random.random(), np.random.random()

    def seeded() -> None:
        torch.manual_seed(7)
        random.seed(7)
        np.random.seed(7)

    seeded()
    expected = drawn()
    seeded()
    for number in range(20):
        prepare({"fuzzed": valid_spec(number)})
    assert drawn() == expected
