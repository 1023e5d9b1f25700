"""The lab's verbs in Python; the command line calls the same functions."""

from slm_lightning.api.benchmarks import check_benchmark_pages, run_benchmark, write_benchmark_pages
from slm_lightning.api.planning import Plan, prepare
from slm_lightning.api.reading import compare, export, load, publish, pull, report, reproduce, verify
from slm_lightning.api.running import Where, resume, run, search

__all__ = [
    "Plan",
    "Where",
    "check_benchmark_pages",
    "compare",
    "export",
    "load",
    "prepare",
    "publish",
    "pull",
    "report",
    "reproduce",
    "resume",
    "run",
    "run_benchmark",
    "search",
    "verify",
    "write_benchmark_pages",
]
