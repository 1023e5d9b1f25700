"""A benchmark set: a small file that lists specs, each of which is a row of the result pages.

A row is one setting of one algorithm in one environment. Files of specs stand in a set as one would
type them, from where the lab is run.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from slm_lightning.errors import Problem, SpecError, UsageError
from slm_lightning.lab.preflight import with_one_round
from slm_lightning.lab.report.known_scores import algorithm_of, environment_of
from slm_lightning.redact import conceal, redact_arguments
from slm_lightning.registry import REGISTRY
from slm_lightning.spec.base import SpecModel
from slm_lightning.spec.load import RawSpec, load_spec, read_specs, variables_in
from slm_lightning.spec.model import Spec
from slm_lightning.spec.parse import SUFFIXES, parse, read_text, repeated_keys
from slm_lightning.spec.resolve import resolve
from slm_lightning.spec.sections import Sections
from slm_lightning.spec.wording import file_name

SETS = Path("benchmarks/sets")
"""Where a repository keeps its sets."""
HOW = "docs/benchmarking.md says how a set is written"
SAYS_NOTHING = ("max_trial", "search", "search_resources", "search_scheduler", "hypothesis")
"""Keys of section ``meta`` that change no number of a trial."""


class RowParams(SpecModel):
    """A row as its set writes it; one that is no more than a file may be written as text."""

    spec: str
    """The file."""
    name: str | None = None
    """Which spec of several."""
    variables: dict[str, str] = Field(default_factory=dict)
    """Values of ``${name}`` in the file."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Dotted path -> value."""
    label: str | None = None
    """What its algorithm is called on the pages; by default what the spec says."""
    search: str | None = Field(default=None, min_length=8)
    """The run of the search that found its setting: its id, or how that begins."""
    note: str | None = None
    """What a reader should know of its result."""


class SetParams(SpecModel):
    """A set as its file writes it."""

    title: str
    rows: list[dict[str, Any] | str] = Field(min_length=1)
    """Each a :class:`RowParams`."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Those of all rows; a row's own go before."""
    note: str = ""
    """What a reader should know of the set."""


@dataclass(frozen=True, eq=False)
class Row:
    """One setting of one algorithm in one environment."""

    params: RowParams
    """With the overrides of its set."""
    raw: RawSpec
    spec: Spec

    @cached_property
    def environment(self) -> str:
        """The environment, as the pages call it."""
        return environment_of(self.spec.to_dict())

    @cached_property
    def algorithm(self) -> str:
        """The algorithm, as SLM Lab's tables call it."""
        return algorithm_of(self.spec.to_dict())

    @property
    def label(self) -> str:
        """What the pages call it."""
        return self.params.label or self.algorithm

    @property
    def id(self) -> str:
        """Environment and label: no other row of a benchmark has both."""
        return f"{self.environment}/{self.label}"

    @cached_property
    def key(self) -> str:
        """What its result depends on, see :func:`setting_key`."""
        return setting_key(self.spec)

    @property
    def command(self) -> str:
        """What runs it by itself, without secrets."""
        given = self.params
        words = ["slm-lightning", "run", given.spec, *([given.name] if given.name else [])]
        for name, value in given.variables.items():
            words += ["-s", f"{name}={value}"]
        for path, value in given.overrides.items():
            words += ["--set", f"{path}={value if isinstance(value, str) else json.dumps(value)}"]
        return shlex.join(redact_arguments(words))


@dataclass(frozen=True)
class BenchmarkSet:
    """The rows of a set in its order."""

    title: str
    path: Path
    rows: tuple[Row, ...]
    note: str = ""


def read_sets(paths: Sequence[Path] = ()) -> list[BenchmarkSet]:
    """The sets of these files or folders of specs; by default of all files in ``benchmarks/sets``.

    Raises UsageError where there are none, or where two rows are one algorithm in one environment;
    SpecError for a set or a spec that is faulty.
    """
    paths = paths or sorted(path for path in SETS.glob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise UsageError(f"there are no sets in {SETS}", "name one: slm-lightning benchmark … SET")
    sets = [_read(path) for path in paths]
    seen: dict[str, Row] = {}
    for row in (row for each in sets for row in each.rows):
        other = seen.setdefault(row.id, row)
        if other is not row:
            raise UsageError(
                f"{other.params.spec} and {row.params.spec} are both {row.label} in {row.environment}",
                'give one of them a "label", or leave it out',
            )
    return sets


def setting_key(spec: Spec) -> str:
    """A hash of all in a spec that its result depends on: not its name, nor how it would be searched.

    A recorded spec is to be resolved anew before: a key that a later version knows then has its
    default, and the result counts on.
    """
    data = spec.to_dict()
    meta = {key: value for key, value in data["meta"].items() if key not in SAYS_NOTHING}
    agent = {key: value for key, value in data["agent"].items() if key != "name"}
    counted = json.dumps([agent, data["env"], meta], sort_keys=True)
    return hashlib.sha256(counted.encode()).hexdigest()


def resolved(source: str | Path | Mapping[str, Any]) -> Spec:
    """A recorded spec as this version understands it. Raises SpecError."""
    return resolve(load_spec(source), REGISTRY)


def _read(path: Path) -> BenchmarkSet:
    if path.is_dir():
        title, note = path.name, ""
        given = [(row.spec, row) for row in _rows_of(path)]
    else:
        whole, params = _parsed(path)
        title, note = whole.title, whole.note
        given = [(f"{path}: rows.{i} ({file_name(row.spec)})", row) for i, row in enumerate(params)]
    rows: list[Row] = []
    faults: list[SpecError] = []
    for where, each in given:
        try:
            rows.append(_row(each))
        except SpecError as error:
            faults.append(_placed(error, where, each))
    if faults:
        hint = next((fault.hint for fault in faults if fault.hint), "")
        raise SpecError([problem for fault in faults for problem in fault.problems], hint)
    return BenchmarkSet(title, path, tuple(rows), note)


def _rows_of(folder: Path) -> list[RowParams]:
    """The specs below a folder that are complete as they are."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    rows = [
        RowParams(spec=str(file), name=name)
        for file in files
        if not variables_in(file)
        for name in read_specs(file)
    ]
    if not rows:
        raise UsageError(
            f"{folder} holds no spec that needs no variable", "write a set that gives them"
        )
    return rows


def _parsed(path: Path) -> tuple[SetParams, list[RowParams]]:
    """Title and rows of a set's file, these with the overrides of the set."""
    data = parse(read_text(path), str(path), SUFFIXES[path.suffix.lower()])
    if not isinstance(data, dict):
        raise SpecError.at(str(path), "holds no set: its top level has title and rows", HOW)
    given = data["rows"] if isinstance(data.get("rows"), list) else []
    entries = {str(i): {"spec": row} if isinstance(row, str) else row for i, row in enumerate(given)}
    sections = Sections({"set": data, "rows": entries}, {}, strict=True)
    whole = sections.read("set", SetParams)
    rows = [sections.read(f"rows.{i}", RowParams) for i in entries]
    problems = [Problem(key, "stands there twice") for key in repeated_keys(data)] + sections.problems
    if whole is None or problems:
        inside = [(problem.path.removeprefix("set."), problem.message) for problem in problems]
        raise SpecError([Problem(f"{path}: {where}", message) for where, message in inside], HOW)
    shared = whole.overrides
    return whole, [
        row.model_copy(update={"overrides": {**shared, **row.overrides}}) for row in rows if row
    ]


def _row(params: RowParams) -> Row:
    raw = load_spec(params.spec, params.name, params.variables, params.overrides)
    conceal(raw.data)
    spec = resolve(raw, REGISTRY)
    return Row(params, raw, spec if raw.native else with_one_round(spec))


def _placed(error: SpecError, where: str, row: RowParams) -> SpecError:
    """What is wrong with the spec of a row, told of the row."""
    file = file_name(row.spec)
    inside = [(p.path.removeprefix(file).removeprefix(": "), p.message) for p in error.problems]
    problems = [Problem(f"{where}: {path}" if path else where, said) for path, said in inside]
    lacking = sorted(variables_in(row.spec) - row.variables.keys()) if Path(row.spec).is_file() else []
    values = json.dumps(dict.fromkeys(lacking, "VALUE"))
    return SpecError(problems, f'give the row "variables": {values}' if lacking else error.hint)
