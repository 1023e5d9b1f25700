"""Checks many specs at once and says of each whether it can run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from slm_lightning.errors import LabError, MissingError, SpecError
from slm_lightning.lab.preflight import check
from slm_lightning.registry import REGISTRY
from slm_lightning.spec.load import load_spec, read_specs, variables_in
from slm_lightning.spec.notes import notes
from slm_lightning.spec.parse import SUFFIXES
from slm_lightning.spec.resolve import resolve


@dataclass(frozen=True)
class Finding:
    """What is to say about one spec."""

    where: str
    runs: bool
    lines: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        verdict = "cannot run" if not self.runs else "runs with notes" if self.lines else "runs"
        return "\n".join([f"{self.where}: {verdict}", *(f"    {line}" for line in self.lines)])


def check_paths(paths: list[Path], variables: Mapping[str, str]) -> list[Finding]:
    """A finding for every spec in the files and folders. Raises SpecError for a path without any."""
    findings = []
    for path in paths:
        files = sorted(f for f in path.rglob("*") if f.suffix in SUFFIXES) if path.is_dir() else [path]
        if not files:
            raise SpecError.at(str(path), "no spec files in this folder")
        findings += [finding for file in files for finding in _check_file(file, variables)]
    return findings


def _check_file(file: Path, variables: Mapping[str, str]) -> Iterator[Finding]:
    try:
        filled = {k: v for k, v in variables.items() if k in variables_in(file)}
        names = list(read_specs(file, filled))
    except SpecError as error:
        yield Finding(str(file), False, _lines(error))
        return
    for name in names:
        yield _check_one(file, name, filled)


def _check_one(file: Path, name: str, variables: Mapping[str, str]) -> Finding:
    where = f"{file}:{name}"
    try:
        raw = load_spec(file, name, variables)
        spec = resolve(raw, REGISTRY)
        said = notes(raw, spec)
        check(spec)
    except MissingError as error:
        return Finding(where, False, [f"not on this machine: {error}", error.hint])
    except LabError as error:
        return Finding(where, False, _lines(error))
    return Finding(where, True, said)


def _lines(error: LabError) -> list[str]:
    return [line for line in (*str(error).splitlines(), error.hint) if line]
