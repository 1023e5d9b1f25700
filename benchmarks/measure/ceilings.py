"""What a device can do at most, and what a piece of work asks of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

REPEATS = 5


class Ceilings(NamedTuple):
    """Measured, not taken from a data sheet."""

    bandwidth: float
    """Bytes that a copy reads and writes in a second."""
    matrix: dict[torch.dtype, float]
    """Operations of a matrix product in a second, by the type of its numbers."""


class Asked(NamedTuple):
    """What a piece of work asks for."""

    flops: float
    """Operations of its matrix products and convolutions."""
    bytes: float
    """What its operations read and write, one after the other; fused ones need less."""


def measure_ceilings(device: torch.device, size: int) -> Ceilings:
    """Copies of ``size``² floats, and products of matrices ``[size, size]``."""
    source = torch.rand(size, size, device=device)
    target = torch.empty_like(source)
    seconds = best_seconds(lambda: target.copy_(source), device)
    matrix = {}
    for dtype in (torch.float32, torch.bfloat16):
        multiply = partial(torch.matmul, source.to(dtype), source.to(dtype))
        matrix[dtype] = 2 * size**3 / best_seconds(multiply, device)
    return Ceilings(2 * source.nbytes / seconds, matrix)


def best_seconds(work: Callable[[], object], device: torch.device, repeats: int = REPEATS) -> float:
    """The least time by the wall clock that ``work()`` took, of ``repeats`` after a first one."""
    work()
    best = float("inf")
    for _ in range(repeats):
        wait_for(device)
        start = time.perf_counter()
        work()
        wait_for(device)
        best = min(best, time.perf_counter() - start)
    return best


def wait_for(device: torch.device) -> None:
    """Until all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def asked_by(work: Callable[[], object]) -> Asked:
    """What ``work()``, which must not be compiled, asks for."""
    with FlopCounterMode(display=False) as flops, Traffic() as traffic:
        work()
    return Asked(flops.get_total_flops(), traffic.bytes)


class Traffic(TorchDispatchMode):
    """Counts the bytes of tensors that operations read and write; views of them cost nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if not func.is_view:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
            self.bytes += sum(tensor.nbytes for tensor in tensors)
        return result
