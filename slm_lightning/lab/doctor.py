"""What a report of a fault should say of the machine, the libraries and the stores, and what is wrong
with them.

Every part is looked at by itself: one that fails is a problem that is told, and hides no other.
"""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import psutil

from slm_lightning.lab.preflight import has_display
from slm_lightning.lab.running.admission import usable_cores
from slm_lightning.provenance import Provenance
from slm_lightning.redact import redact
from slm_lightning.updates import compiler, folder, lacking

State = Literal["ok", "warning", "problem"]

GIB = 2**30
LOW_DISK = 2 * GIB
"""Free bytes below which there is little room for checkpoints."""
LOW_FILES = 1024
"""Open files with which many environments in processes of their own run short."""
INSTRUCTIONS = ("avx", "avx2", "fma", "avx512f", "amx_tile")
"""Extensions of the CPU that change which kernels PyTorch takes, and so the last bits."""
THREADS = re.compile(r"(OMP|MKL|OPENBLAS|ATEN|ONEDNN|CUBLAS|CUDA)_\w+|SLM_\w+")
"""Settings in the environment that change numbers or speed."""
SIMULATORS = ("numpy", "mujoco", "box2d", "jax")
"""What only other libraries require, and numbers depend on."""
TOOLS = ("pytest", "pytest-xdist", "hypothesis", "ruff", "mypy", "types-PyYAML")
"""What only those need who work on the lab."""
CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
"""The versions that a checkout was tested with."""


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is, and what to do where that is not well."""

    part: str
    name: str
    value: str
    state: State = "ok"
    advice: str = ""


def examine() -> list[Finding]:
    """Looks at everything; takes seconds and changes nothing."""
    origin = cache(lambda: Provenance.collect([]))
    parts: dict[str, Callable[[], Iterator[Finding]]] = {
        "lab": lambda: _lab(origin()),
        "libraries": _libraries,
        "machine": lambda: _machine(origin().machine),
        "tools": _tools,
        "record": _record,
        "studies": _studies,
    }
    findings: list[Finding] = []
    for part, look in parts.items():
        try:
            findings += look()
        except Exception as error:  # whatever it is, the other parts are still to be told
            said = redact(f"{type(error).__name__}: {error}")
            findings.append(Finding(part, part, said, "problem", "report this line as it is"))
    return findings


def exit_code(findings: list[Finding]) -> int:
    """6 where a store has a problem, 3 where something else has, else 0."""
    broken = {finding.part for finding in findings if finding.state == "problem"}
    return 6 if broken & {"record", "studies"} else 3 if broken else 0


def _lab(origin: Provenance) -> Iterator[Finding]:
    changed = " with changes that are not committed" if origin.source.dirty else ""
    yield Finding("lab", "slm-lightning", origin.version)
    yield Finding("lab", "commit", origin.source.commit + changed)
    yield Finding("lab", "python", f"{platform.python_version()} in {sys.prefix}")


def _libraries() -> Iterator[Finding]:
    tested = _constraints()
    for name in _dependencies():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Finding("libraries", name, "missing", "problem", f"pip install {name}")
            continue
        expected = tested.get(_canonical(name), version)
        if version.partition("+")[0] == expected:  # as torch 2.13.0+cpu
            yield Finding("libraries", name, version)
        else:
            advice = f"tested with {expected}: pip install {name}=={expected}"
            yield Finding("libraries", name, version, "warning", advice)


def _dependencies() -> list[str]:
    """The libraries of the lab itself, and those of its extras and simulators that are installed."""
    installed = {_canonical(dist.name) for dist in metadata.distributions() if dist.name}
    required = metadata.requires("slm-lightning") or []
    names = [re.split(r"[^\w.-]", text)[0] for text in required if "extra ==" not in text]
    extras = [re.split(r"[^\w.-]", text)[0] for text in required if "extra ==" in text]
    more = [name for name in (*extras, *SIMULATORS) if _canonical(name) in installed]
    return [name for name in dict.fromkeys([*names, *more]) if name not in TOOLS]


def _constraints() -> dict[str, str]:
    if not CONSTRAINTS.is_file():
        return {}
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line)
    return {_canonical(name): version.strip() for name, version in pairs}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _machine(facts: dict[str, Any]) -> Iterator[Finding]:
    yield Finding("machine", "system", facts["platform"])
    info = Path("/proc/cpuinfo")
    flags = set(info.read_text(encoding="utf-8").split()) if info.exists() else set()
    extensions = " ".join(flag for flag in INSTRUCTIONS if flag in flags)
    yield Finding("machine", "cpu", f"{facts['cpu']}, {extensions or 'extensions unknown'}")
    yield Finding("machine", "cores", f"{usable_cores()} of {facts['logical_cores']} may be used")
    memory = psutil.virtual_memory()
    free = f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free"
    low = memory.available < GIB
    yield Finding("machine", "memory", free, *_if(low, "end other programs, or use --parallel"))
    for gpu in facts["gpus"] or [{}]:
        yield Finding("machine", "gpu", ", ".join(gpu.values()) or "none")
    said = {k: v for k, v in sorted(os.environ.items()) if THREADS.fullmatch(k)}
    settings = " ".join(f"{key}={value}" for key, value in redact(said).items())
    yield Finding("machine", "settings", settings or "none")
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    yield Finding(
        "machine", "open files", f"at most {files}", *_if(files < LOW_FILES, "ulimit -n 4096")
    )
    shared = Path("/dev/shm")
    if shared.is_dir():
        room = shutil.disk_usage(shared).free
        advice = "give /dev/shm more room (docker run --shm-size=1g)"
        yield Finding("machine", "/dev/shm", f"{_size(room)} free", *_if(room < GIB / 16, advice))


def _tools() -> Iterator[Finding]:
    shown = "there" if has_display() else "none; enjoy --video writes a file"
    yield Finding("tools", "display", shown)
    places: dict[str, tuple[Callable[[], str | None], str]] = {
        "git": (lambda: shutil.which("git"), "install git: runs do not say their commit without it"),
        "ffmpeg": (_ffmpeg, 'pip install "imageio[ffmpeg]": enjoy --video needs it'),
        "chromium": (_browser, "kaleido_get_chrome: graphs are not written as pictures without it"),
    }
    for name, (look, advice) in places.items():
        try:
            place = look()
        except Exception:  # whatever a broken package raises
            place = None
        yield Finding("tools", name, place or "none", *_if(not place, advice))
    lack = lacking()
    there = f"{shutil.which(compiler())}, graphs in {folder()}"
    advice = f"{lack.remedy}: long trainings are several times slower without" if lack else ""
    yield Finding("tools", "compiler", f"no {lack.what}" if lack else there, *_if(bool(lack), advice))


def _ffmpeg() -> str | None:
    from imageio_ffmpeg import get_ffmpeg_exe

    return get_ffmpeg_exe()


def _browser() -> str | None:
    from choreographer.browsers.chromium import Chromium

    return Chromium.find_browser(skip_local=False)


def _record() -> Iterator[Finding]:
    from slm_lightning.tracking import health
    from slm_lightning.tracking.store import locate

    root, uri, is_local = locate()
    yield Finding("record", "folder", str(root))
    if not health.is_writable(root):
        advice = "give yourself the right to write there, or set SLM_MLRUNS to another folder"
        yield Finding("record", "writable", "no", "problem", advice)
    room = shutil.disk_usage(next(place for place in (root, *root.parents) if place.exists())).free
    yield Finding("record", "disk", f"{_size(room)} free", *_if(room < LOW_DISK, "free some space"))
    if uri.startswith(("http://", "https://")):
        answers, said = health.server_health(uri)
        value = f"{redact(uri)}, MLflow {said}" if answers else f"{redact(uri)}: {said}"
        advice = "start the server; runs go on without it, and slm-lightning sync delivers them"
        yield Finding("record", "server", value, *_if(not answers, advice, "problem"))
    elif is_local:
        yield from _database(root)
    else:
        yield Finding("record", "database", redact(uri))
    waits = health.waiting(root)
    value = f"{waits.values} values of {waits.runs} runs" if waits.values else "nothing"
    yield Finding("record", "waiting", value, *_if(waits.values > 0, "slm-lightning sync"))


def _database(root: Path) -> Iterator[Finding]:
    from slm_lightning.tracking import health

    file = root / "mlflow.db"
    if not file.exists():
        yield Finding("record", "database", "none; the first run makes it")
        return
    found = health.database_health(file, "select count(*) from runs")
    if found.damage:
        advice = f"put a backup of {file} in its place; runs and artifacts beside it are kept"
        locked = "locked" in found.damage
        advice = "end the process that holds it" if locked else advice
        yield Finding("record", "database", found.damage, "problem", advice)
        return
    value = f"whole, {_size(found.size)}, schema {found.schema}, runs: {found.counts[0]}"
    yield Finding("record", "database", value)
    if left := health.without_owner(file, root):
        value = f"{left} runs are RUNNING, and their processes are gone"
        yield Finding("record", "left", value, "warning", "the next run settles them, or sync does")


def _studies() -> Iterator[Finding]:
    from slm_lightning.errors import LabError
    from slm_lightning.lab.search.storage import look_at
    from slm_lightning.tracking.store import locate

    try:
        yield Finding("studies", "storage", look_at(None, locate()[0]))
    except LabError as error:
        yield Finding("studies", "storage", str(error), "problem", error.hint)


def _size(count: float) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / 2**20:.1f} MiB"


def _if(holds: bool, advice: str, state: State = "warning") -> tuple[State, str]:
    """The state and the advice of a finding that is as it should be, unless something ``holds``."""
    return (state, advice) if holds else ("ok", "")
