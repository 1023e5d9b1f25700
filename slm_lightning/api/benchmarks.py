"""The verbs of benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from slm_lightning.api.planning import Say
from slm_lightning.lab.running.local_engine import warm_up
from slm_lightning.lab.running.signals import deaf_to_hangup

PAGES = Path("docs/benchmarks")
"""Where a repository keeps its result pages."""


@dataclass(frozen=True)
class BenchmarkRun:
    """What became of the rows of a set: :class:`slm_lightning.lab.benchmark.execution.RowOutcome`."""

    outcomes: list[Any]
    left: list[Any]
    """Rows that were not begun."""
    stopped_by: str | None = None
    """The signal that ended it early."""

    @property
    def exit_code(self) -> int:
        """0 where every row has its result, else that of the first that failed, 4 where it has none of
        its own."""
        codes = [o.exit_code or 4 for o in self.outcomes if not o.is_result]
        return codes[0] if codes else 0

    def to_dict(self) -> dict[str, Any]:
        """The same for programs."""
        rows = [
            {
                "row": outcome.row.id,
                "status": outcome.status,
                "run_id": outcome.run_id,
                "score": outcome.score,
                "reason": outcome.reason,
            }
            for outcome in self.outcomes
        ]
        left = [{"row": row.id, "status": "not begun"} for row in self.left]
        return {"stopped_by": self.stopped_by, "rows": rows + left}


def run_benchmark(
    benchmark: str | Path,
    *,
    only: Sequence[str] = (),
    again: bool = False,
    parallel: int | None = None,
    device: str = "auto",
    say: Say = print,
) -> BenchmarkRun:
    """Runs the rows of a set as trials, only what is missing: a row whose setting has a result is left
    alone, an interrupted one goes on.

    Args:
        benchmark: the set's file, or a folder of specs.
        only: patterns of rows, as ``CartPole-v1/*``.
        again: run also what has a result; the newest counts.
        parallel: most cores in use at once; default all there are.
        device: ``auto``, ``cpu`` or ``cuda``.
        say: takes what there is to say on the way, a line at a time.

    Raises SpecError or UsageError before anything is created, StorageError where the record fails.
    A row that cannot run, or fails, does not stop the others.
    """
    warm_up()
    from slm_lightning.api.running import Where
    from slm_lightning.errors import UsageError
    from slm_lightning.lab.benchmark.execution import Execution
    from slm_lightning.lab.benchmark.progress import BenchmarkProgress
    from slm_lightning.lab.benchmark.sets import read_sets
    from slm_lightning.lab.running.admission import Machine
    from slm_lightning.tracking import Record

    (wanted,) = read_sets([Path(benchmark)])
    rows = [r for r in wanted.rows if not only or any(fnmatchcase(r.id, each) for each in only)]
    if not rows:
        known = ", ".join(row.id for row in wanted.rows)
        raise UsageError(f"{wanted.title} has no row that fits {' or '.join(only)}", f"it has {known}")
    for row in rows:
        if row.spec.search:
            say(f"note: {row.id}: a row is one trial, so its section search is not read")
    record = Record()
    progress = BenchmarkProgress(rows, say)
    execution = Execution(record, progress, device, again)
    cores = Machine.here(parallel).cores
    with closing(Where(parallel=parallel).engine()) as engine, deaf_to_hangup():
        try:
            stopped_by = execution.run(rows, engine, cores)
        except BaseException as error:
            error.add_note(f"what was done is kept; to go on: slm-lightning benchmark run {benchmark}")
            raise
        finally:
            progress.close()
    if waiting := sum(record.waiting().values()):
        say(f"mlflow: {waiting} pending; to deliver them: slm-lightning sync")
    left = [row for row in rows if row.id not in execution.outcomes]
    return BenchmarkRun(list(execution.outcomes.values()), left, stopped_by)


def write_benchmark_pages(
    sets: Sequence[str | Path] = (), folder: str | Path = PAGES
) -> tuple[list[str], list[Path], bool]:
    """Writes the result pages of ``sets``, by default of all in ``benchmarks/sets``, into ``folder``.

    What the record of this machine has of their rows is first brought into the compact record that lies
    beside the pages, from which alone they are made; so they can be written anywhere. Returns the rows
    that were brought, the pages that are new, and whether the pictures could be drawn.

    Raises SpecError or UsageError for faulty sets, StorageError where the folder cannot be written.
    """
    from slm_lightning.lab.benchmark.pages import collect, stored, write_pages
    from slm_lightning.lab.benchmark.sets import read_sets
    from slm_lightning.tracking import Record

    found = read_sets([Path(path) for path in sets])
    with stored(Path(folder)):
        brought = [row.id for row in collect(found, Path(folder), Record())]
        return brought, *write_pages(found, Path(folder))


def check_benchmark_pages(sets: Sequence[str | Path] = (), folder: str | Path = PAGES) -> list[str]:
    """Where the result pages and the record disagree, a line for each place; nothing is written.
    Errors as :func:`write_benchmark_pages`."""
    from slm_lightning.lab.benchmark.pages import disagreements, stored
    from slm_lightning.lab.benchmark.sets import read_sets
    from slm_lightning.tracking import Record

    found = read_sets([Path(path) for path in sets])
    with stored(Path(folder)):
        return disagreements(found, Path(folder), Record())
