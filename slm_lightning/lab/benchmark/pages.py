"""The result pages: the compact record is filled, the pages are written, and both are checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path

import plotly.graph_objects as go

from slm_lightning.errors import StorageError
from slm_lightning.lab.benchmark.picture import draw, is_drawn, multi_trial_graph
from slm_lightning.lab.benchmark.results import (
    Trials,
    from_record,
    place,
    read,
    slug,
    write,
    write_text,
)
from slm_lightning.lab.benchmark.searches import SUFFIX, keep, search_of
from slm_lightning.lab.benchmark.sets import BenchmarkSet, Row
from slm_lightning.lab.benchmark.standing import Environment, environments
from slm_lightning.lab.benchmark.text import RECORD, environment_page, overview, picture
from slm_lightning.tracking import Record

OVERVIEW = "README.md"


@contextmanager
def stored(folder: Path) -> Iterator[None]:
    """Around all that reads or writes the pages in ``folder``: where the file system does not let it,
    that is a StorageError."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"the pages in {folder} cannot be read or written: {error.filename or folder}:"
            f" {error.strerror or error}; each file there is whole, the old or the new one",
            "name another folder by --folder, or mend this one and give the same command",
        ) from error


def collect(sets: Sequence[BenchmarkSet], folder: Path, record: Record) -> list[Row]:
    """Brings the results that ``record`` has, and the searches that rows name, into the compact record
    of the pages in ``folder``. Returns the rows of which that changed something."""
    trials = Trials(record)
    changed = []
    for row in _rows(sets):
        run = trials.result(row)
        is_new = run is not None and write(from_record(record, run), row, folder / RECORD)
        if keep(record, row, folder / RECORD) or is_new:
            changed.append(row)
    return changed


def write_pages(sets: Sequence[BenchmarkSet], folder: Path) -> tuple[list[Path], bool]:
    """Writes the pages and their pictures into ``folder``, from the compact record that lies there.
    Returns which texts are new, and whether the pictures could be drawn."""
    found = environments(sets, folder / RECORD)
    texts = _texts(sets, found, folder)
    written = [path for path, text in texts.items() if write_text(path, text)]
    return written, draw(_figures(found, folder))


def disagreements(sets: Sequence[BenchmarkSet], folder: Path, record: Record) -> list[str]:
    """Where pages, compact record and, of the runs that it has, ``record`` differ: a line for each."""
    found = environments(sets, folder / RECORD)
    return [
        *_of_record(sets, folder, record),
        *(line for path, text in _texts(sets, found, folder).items() for line in _of_page(path, text)),
        *(
            f"{path}: does not show what the record holds"
            for path, figure in _figures(found, folder).items()
            if not is_drawn(figure, path)
        ),
    ]


def _of_record(sets: Sequence[BenchmarkSet], folder: Path, record: Record) -> Iterator[str]:
    trials = Trials(record)
    for row in _rows(sets):
        if run := trials.result(row):
            kept = read(row, folder / RECORD)
            if kept is None or kept.run_id != run.run_id:
                yield f"{row.id}: run {run.run_id[:8]} is newer than what the pages are made of"
            else:
                files = from_record(record, run).files()
                yield from _of_run(run.run_id, files, row, folder)
        if row.params.search and (search := search_of(record, row.params.search)):
            yield from _of_run(search.run_id, {SUFFIX: search.text}, row, folder)


def _of_run(run_id: str, files: Mapping[str, str], row: Row, folder: Path) -> Iterator[str]:
    """Where the files of a row are not what a run recorded."""
    for suffix, text in files.items():
        path = place(row, folder / RECORD, suffix)
        kept = path.read_text(encoding="utf-8") if path.is_file() else ""
        if line := _parted(kept, text):
            yield f"{path}:{line}: not what run {run_id[:8]} recorded"


def _of_page(path: Path, text: str) -> Iterator[str]:
    if not path.is_file():
        yield f"{path}: is not there"
    elif line := _parted(path.read_text(encoding="utf-8"), text):
        said, *_ = path.read_text(encoding="utf-8").splitlines()[line - 1 :] or [""]
        meant, *_ = text.splitlines()[line - 1 :] or [""]
        yield f"{path}:{line}: says\n  {said}\nwhere the record says\n  {meant}"


def _parted(one: str, other: str) -> int:
    """The first line in which two texts differ, counted from 1; 0 where they are equal."""
    lines = zip_longest(one.splitlines(keepends=True), other.splitlines(keepends=True))
    return next((i for i, (a, b) in enumerate(lines, start=1) if a != b), 0)


def _texts(
    sets: Sequence[BenchmarkSet], found: dict[str, Environment], folder: Path
) -> dict[Path, str]:
    pages = {
        folder / f"{slug(name)}.md": environment_page(environment, folder)
        for name, environment in found.items()
    }
    return {folder / OVERVIEW: overview(sets, found), **pages}


def _figures(found: dict[str, Environment], folder: Path) -> dict[Path, go.Figure]:
    figures = {}
    for name, environment in found.items():
        results = {e.row.label: e.result for e in environment.entries if e.result}
        if results:
            path = folder / picture(name)
            figures[path] = multi_trial_graph(name, results, environment.target)
    return figures


def _rows(sets: Sequence[BenchmarkSet]) -> Iterator[Row]:
    return (row for each in sets for row in each.rows)
