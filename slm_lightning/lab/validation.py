"""Checks many specs at once and says of each whether it can run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from slm_lightning.envs.walk import Look
from slm_lightning.errors import LabError, MissingError, SpecError
from slm_lightning.lab.preflight import check_agent, device_of, doubts, look_at, with_one_round
from slm_lightning.lab.sizes import check_sizes
from slm_lightning.registry import REGISTRY
from slm_lightning.spec.families import gone
from slm_lightning.spec.load import (
    VARIABLE,
    RawSpec,
    fill,
    holds_specs,
    raw_spec,
    read_specs,
    variables_in,
)
from slm_lightning.spec.model import EnvParams, Spec
from slm_lightning.spec.notes import notes
from slm_lightning.spec.parse import SUFFIXES
from slm_lightning.spec.resolve import resolve
from slm_lightning.spec.search import check_search, searched
from slm_lightning.spec.search_values import check_values
from slm_lightning.spec.slm_lab import GONE

Verdict = Literal["runs", "runs with notes", "runs once installed", "cannot run"]
VERDICTS: tuple[Verdict, ...] = ("runs", "runs with notes", "runs once installed", "cannot run")

EXAMPLES = {
    "playground": "playground/CartpoleBalance",
    "atari": "ALE/Pong-v5",
    "conv": "ALE/Pong-v5",
    "mujoco": "Hopper-v5",
    "": "CartPole-v1",
}
"""What ``${env}`` is taken to be where it has no value, by a word of the spec's name or content."""
BUDGET = "10000000"
"""What ``${max_frame}`` is taken to be where it has no value."""


@dataclass(frozen=True)
class Finding:
    """What is to say about one spec. ``gone`` says that it cannot run because it names what no longer
    exists, ``assumed`` what its variables were taken to be."""

    spec: str
    verdict: Verdict
    lines: list[str] = field(default_factory=list)
    gone: bool = False
    assumed: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        given = "".join(f" -s {key}={value}" for key, value in self.assumed.items())
        verdict = f"{self.verdict}, as with{given}" if given else self.verdict
        return "\n".join([f"{self.spec}: {verdict}", *(f"    {line}" for line in self.lines)])

    @property
    def faulty(self) -> bool:
        """Whether something is wrong with the spec itself."""
        return self.verdict == "cannot run" and not self.gone


def summary(findings: list[Finding]) -> str:
    """``3 specs: 2 run, 1 cannot run``."""
    counts = {verdict: sum(f.verdict == verdict for f in findings) for verdict in VERDICTS}
    said = [f"{n} {verdict.replace('runs', 'run')}" for verdict, n in counts.items() if n]
    return f"{len(findings)} spec{'s' * (len(findings) != 1)}: {', '.join(said)}"


def exit_code(findings: list[Finding]) -> int:
    """0 where every spec runs on this machine, 2 where one is faulty, 3 where all that hinders is not
    installed or no longer exists."""
    if any(finding.faulty for finding in findings):
        return SpecError.exit_code
    hindered = any(finding.verdict not in ("runs", "runs with notes") for finding in findings)
    return MissingError.exit_code if hindered else 0


def check_paths(paths: list[Path], variables: Mapping[str, str]) -> list[Finding]:
    """A finding for every spec in the files and folders. Raises SpecError for a path without any.

    A variable that ``variables`` does not fill is taken to be what specs of its kind are run with. JSON
    and YAML files of a folder that hold no specs are passed over.
    """
    checker, findings = _Checker(variables), []
    for path in paths:
        files = [path]
        if path.is_dir():
            files = sorted(f for f in path.rglob("*") if f.suffix in SUFFIXES and _may_hold(f))
        if not files:
            raise SpecError.at(str(path), "no spec files in this folder")
        findings += [finding for file in files for finding in checker.file(file)]
    return findings


def _may_hold(file: Path) -> bool:
    """Whether a file holds specs, or cannot be read."""
    try:
        return holds_specs(file)
    except SpecError:
        return True


class _Checker:
    """Looks at each environment once, however many specs have it."""

    def __init__(self, variables: Mapping[str, str]):
        self.variables = variables
        self.seen: dict[str, Look | LabError] = {}

    def file(self, file: Path) -> Iterator[Finding]:
        try:
            filled = {k: v for k, v in self.variables.items() if k in variables_in(file)}
            specs = read_specs(file, filled)
        except SpecError as error:
            yield Finding(str(file), "cannot run", _lines(error))
            return
        for name, data in specs.items():
            yield self.one(f"{file}:{name}", name, data)

    def one(self, where: str, name: str, data: dict[str, Any]) -> Finding:
        assumed = _assumed(name, data)
        try:
            raw = raw_spec(name, fill(data, assumed) if assumed else data)
            spec = resolve(raw, REGISTRY)
            spec = spec if raw.native else with_one_round(spec)
            said = notes(raw, spec)
            look = self.look_at(spec.env)
            said += doubts(look)
            check_sizes(spec, look.info, device_of(spec, 0))
            check_agent(spec, look.info)
            if raw.native and spec.search:
                said += _as_search(raw, spec)
        except MissingError as error:
            if "pip install" not in error.hint:
                return Finding(where, "cannot run", _lines(error), assumed=assumed)
            return Finding(where, "runs once installed", [*_lines(error), *said], assumed=assumed)
        except LabError as error:
            return Finding(where, "cannot run", _lines(error), _names_what_is_gone(data), assumed)
        return Finding(where, "runs with notes" if said else "runs", said, assumed=assumed)

    def look_at(self, env: EnvParams) -> Look:
        """Raises SpecError or MissingError."""
        env = env.model_copy(update={"num_envs": 1, "max_frame": 1})
        key = env.model_dump_json()
        if key not in self.seen:
            try:
                self.seen[key] = look_at(env)
            except LabError as error:
                self.seen[key] = error
        found = self.seen[key]
        if isinstance(found, LabError):
            raise found
        return found


def _as_search(raw: RawSpec, spec: Spec) -> list[str]:
    """What keeps the search of a spec from starting, which runs by itself all the same."""
    try:
        spec, _ = searched(raw, spec)
        check_search(spec)
        problems = check_values(raw, spec, REGISTRY)
    except SpecError as error:
        problems = error.problems
    return [f"cannot be searched: {problem}" for problem in problems]


def _assumed(name: str, data: dict[str, Any]) -> dict[str, str]:
    """A value for each variable that a spec still says."""
    text = json.dumps(data)
    words = f"{name} {text}".lower()
    example = next(EXAMPLES[word] for word in EXAMPLES if word in words)
    examples = {"env": example, "max_frame": BUDGET}
    return {key: examples[key] for key in sorted(set(VARIABLE.findall(text))) if key in examples}


def _names_what_is_gone(data: dict[str, Any]) -> bool:
    """Whether a spec names what no longer exists."""

    def said(*keys: str) -> Any:
        value: Any = data
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value if isinstance(value, str) else ""

    named = said("agent", "algorithm", "name"), said("agent", "net", "type")
    return not GONE.isdisjoint(named) or bool(gone(said("env", "name")))


def _lines(error: LabError) -> list[str]:
    return [line for line in (*str(error).splitlines(), error.hint) if line]
