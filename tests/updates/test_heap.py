"""Memory of one update that the next one has again, without asking the system for it."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from slm_lightning.updates.heap import keep_freed

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
given_back = [faults(), faults()][1]
assert keep_freed() and keep_freed()
kept = [faults(), faults()][1]
print(given_back, kept)
"""
"""Pages that the system hands out for an array of 64 MiB, the second time, before and after."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_an_array_that_was_freed_lies_where_it_lay():
    run = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, timeout=120, check=True
    )
    given_back, kept = map(int, run.stdout.split())
    assert kept < 100 and kept < given_back
