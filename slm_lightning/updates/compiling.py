"""Compiling an update, or a vector step, into one graph, by ``torch.compile``."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import gc
import os
import tempfile
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import torch

from slm_lightning.errors import LabError, MissingError, StorageError
from slm_lightning.updates.cache import CACHE, discard_torn, folder
from slm_lightning.updates.machine import WITHOUT

FULL = tuple(map(os.strerror, (errno.ENOSPC, errno.EDQUOT)))
"""What Python, the C++ compiler and the linker say where a disk is full."""


def as_graph(function: FunctionType, device: torch.device) -> Callable[..., Any]:
    """``function`` as one graph, which the first call traces and compiles: for a CPU one file of C++,
    which is also the quickest to compile. Graphs are kept with the code of a function, so each gets a
    copy of it: another session's are then not in its way."""
    prepare()
    code = function.__code__.replace()
    function = FunctionType(code, function.__globals__, closure=function.__closure__)
    from slm_lightning.updates.backend import compiled

    options: dict[str, Any] = {}
    if device.type == "cpu":
        from slm_lightning.updates.passes import Passes

        options = {"cpp_wrapper": True, "post_grad_custom_post_pass": Passes()}
    backend = functools.partial(compiled, options=options)
    return torch.compile(function, backend=backend, fullgraph=True, dynamic=False)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """The garbage collector rests: imports and tracing build much that stays, which it would look
    through again and again. Behind it all there is counts as old, as it would have to be looked through
    once more before it does: half a second."""
    collects, forked = gc.isenabled(), gc.get_freeze_count()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.freeze()
            if not forked:  # of the fork server, whose objects are no work for this process
                gc.unfreeze()
            gc.enable()


@functools.cache
@uncollected()
def prepare() -> None:
    """Imports the compiler, which takes most of a second, and sets it: it keeps what it makes, works in
    this process, and leaves random draws to the generators that an update draws from which is not
    compiled.

    PyTorch would compile its vector headers up to three times, to see whether the compiler knows this
    processor: one that can read them at all does. It would precompile the headers of a graph, which
    takes longer than the graph itself, keep them below /tmp, and check them again in every process. It
    would read all of its own source in every process, to know kept graphs of another PyTorch by: the
    commit that it was built from tells that.
    Its tanh takes four times as long as one exponential, from which it differs by 2e-7.
    """
    import torch._dynamo.config
    import torch._inductor.compile_fx
    import torch._inductor.config as inductor
    from torch._inductor.codecache import torch_key
    from torch._inductor.cpu_vec_isa import VecISA

    import slm_lightning.updates.backend
    import slm_lightning.updates.passes  # noqa: F401

    os.environ[CACHE] = str(folder())
    discard_torn(folder())
    torch._dynamo.config.trace_autograd_ops = True
    torch._dynamo.config.recompile_limit = 64
    torch._dynamo.config.run_gc_after_compile = False
    inductor.fallback_random = True
    inductor.compile_threads = 1
    inductor.cpp.threads = torch.get_num_threads()
    inductor.cpp.vec_isa_ok = True
    inductor.cpp.use_decompose_tanh = True
    inductor.cpp_cache_precompile_headers = False
    VecISA._probe_load = _loads  # type: ignore[method-assign,assignment]
    torch_key.clear()  # type: ignore[attr-defined]
    torch_key.set(f"{torch.__version__} {torch.version.git_version}".encode())  # type: ignore[attr-defined]


def _loads(isa: object, library: str) -> bool:
    """Whether this process can load ``library``, in which newer instructions are tried; PyTorch starts
    an interpreter for it, in every process."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def troubles() -> tuple[type[Exception], ...]:
    """What is raised where a function cannot be compiled."""
    from torch._dynamo.exc import TorchDynamoException

    return TorchDynamoException, OSError


def refusal(what: str, error: Exception) -> LabError:
    """That ``what`` cannot be compiled because of ``error``, and the ways out."""
    cannot = f"{what} cannot be compiled"
    if any(words in str(error) for words in FULL):
        places = f"{folder()} or {tempfile.gettempdir()}"
        return StorageError(f"{cannot}: there is no room in {places}", "make room, and go on")
    return MissingError(
        f"{cannot}: {_reason(error)}",
        f"if graphs on disk are damaged, delete {folder()}: they are made again; {WITHOUT}",
    )


def _reason(error: Exception) -> str:
    """What went wrong, in a line: that of the C++ compiler where it is the one that complains."""
    lines = [line.strip() for line in str(error).strip().splitlines()] or [type(error).__name__]
    return next((line for line in lines if "error: " in line), lines[0])
