"""Memory of one update that the next one has again, without asking the system for it."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from statistics import median
from slm_lightning.updates.heap import keep_freed

torch.set_num_threads(1)
net = torch.nn.Sequential(torch.nn.Conv2d(4, 32, 8, 4), torch.nn.ReLU(), torch.nn.Conv2d(32, 64, 4, 2))
images = torch.rand(256, 4, 84, 84)

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.autograd.grad(net(images * 2).square().mean(), list(net.parameters()))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def usual():
    return median([faults() for _ in range(9)][2:])

given_back = usual()
assert keep_freed() and keep_freed()
print(int(given_back), int(usual()))
"""
"""Pages that the system hands out for an update of an image net, before and after."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_an_update_asks_the_system_for_no_memory_that_the_last_one_had():
    run = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, timeout=120, check=True
    )
    given_back, kept = map(int, run.stdout.split())
    assert kept < given_back / 10
