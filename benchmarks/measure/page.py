"""Results as a page shows them: medians with their spread, tables, the machine."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import mean, median

import psutil

from slm_lightning.lab.wording import count

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"


def spread(values: Sequence[float], digits: int = 2) -> str:
    """The median, with the least and the largest of several; a dash where there are none."""
    if not values:
        return "–"
    middle = f"{median(values):.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def average(values: Sequence[float | None]) -> str:
    """The mean, and the least where there are several; a dash where there are none."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    least = f", least {min(known):.1f}" if len(known) > 1 else ""
    return f"{mean(known):.1f}{least}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine() -> str:
    """The processor and the versions that numbers depend on, in a sentence."""
    bound = len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else 0
    cores = count(bound or psutil.cpu_count() or 1, "shared core")
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "lightning", "gymnasium"))
    return (
        f"{cores} ({processor()}), {platform.uname().system}, "
        f"Python {platform.python_version()}, {packages}."
    )


def processor() -> str:
    """Its name as the kernel has it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def command() -> str:
    """What was typed to start this program, but for the wish to see its results on the page."""
    options = [option for option in sys.argv[1:] if option != "--write"]
    return " ".join(["python -m", f"benchmarks.{Path(sys.argv[0]).stem}", *options])


def write(name: str, text: str, page: Path = PAGE) -> None:
    """Puts ``text`` between the marks of ``name`` on the page. Raises ValueError where it has none."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{page} has no marks {begin} and {end}")
    page.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}", encoding="utf-8")
