"""A publication that was fetched: what is in it, once it is known to be no more than data.

Names, numbers and settings are a stranger's. They are looked at here, before anything is recorded.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, Field, ValidationError, model_validator

from slm_lightning.errors import IntegrityError
from slm_lightning.lab.bundle import ABOUT, open_bundle
from slm_lightning.lab.extension import TAG as EXTENDED
from slm_lightning.lab.publish.publication import FORMAT, MANIFEST, ROWS, RUNS, WINNER
from slm_lightning.lab.publish.runs import COMMIT, PLACE, PUBLIC, SPECS
from slm_lightning.registry import REGISTRY
from slm_lightning.spec.load import load_spec
from slm_lightning.spec.resolve import resolve
from slm_lightning.spec.trust import refuse_code
from slm_lightning.tracking import PUBLISHED, RESOLVED
from slm_lightning.tracking.creation import as_name

NUMBERS = ("slm.trial", "slm.session", "slm.confirm", "slm.confirms")
"""Tags that are whole numbers."""
NUMBER = re.compile("[0-9]{1,15}")
DATA = {"slm.drawn": dict, "slm.values": list}
"""Tags that are JSON, and of which kind."""
NEEDED = {
    "experiment": ({"spec.json", RESOLVED}, set()),
    "trial": ({RESOLVED}, {"slm.trial"}),
    "session": (set(), {"slm.trial", "slm.session"}),
}
"""Specs and tags without which a run cannot be read."""
REQUIREMENT = re.compile(r"[A-Za-z0-9][\w.-]*==[\w.+!-]+", re.ASCII)


class ToldRun(BaseModel, extra="forbid", strict=True):
    """A run as :func:`slm_lightning.lab.publish.runs.described` has it."""

    id: str = Field(pattern="^[0-9a-f]{32}$")
    parent: str | None
    kind: Literal["experiment", "trial", "session"]
    name: str = Field(pattern="^.{1,250}$")
    experiment: str = Field(pattern="^.{1,250}$")
    status: Literal["FINISHED", "FAILED", "KILLED"]
    start: str
    end: str | None
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]
    specs: dict[str, dict[str, Any]]

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, data: Any) -> Any:
        return plain(data)

    @model_validator(mode="after")
    def _readable(self) -> ToldRun:
        if not self.specs.keys() <= set(SPECS):
            raise ValueError("a file that is no spec")
        specs, tags = NEEDED[self.kind]
        public = {key: value for key, value in self.tags.items() if key.startswith(PUBLIC)}
        self.tags = {key: value for key, value in public.items() if key != PUBLISHED}
        if specs - self.specs.keys() or tags - self.tags.keys():
            raise ValueError(f"a {self.kind} lacks its spec or its number")
        numbers = [self.tags[name] for name in NUMBERS if name in self.tags]
        if not all(map(NUMBER.fullmatch, [*numbers, *self.tags.get(EXTENDED, "0").split(" -> ")])):
            raise ValueError("a number that is none")
        if not re.fullmatch(r"[0-9a-f]{40}|none", self.tags.get(COMMIT, "none")):
            raise ValueError("a commit that is none")
        if not all(map(math.isfinite, self.metrics.values())):
            raise ValueError("a metric that is no number")
        _check_names([*self.metrics, *self.params])
        for time in (self.start, self.end):
            if time and not 2000 <= datetime.fromisoformat(time).year < 3000:
                raise ValueError("a time that is none")
        for name, kind in DATA.items():
            if name in self.tags and not isinstance(json.loads(self.tags[name]), kind):
                raise ValueError("a setting that is none")
        return self


@dataclass(frozen=True)
class Arrived:
    """What a publication holds."""

    origin: str
    """Its address with the commit."""
    runs: list[ToldRun]
    """Those above first."""
    rows: pd.DataFrame
    """As :func:`slm_lightning.lab.publish.runs.gathered` gives them."""
    policy: list[Path]
    """The files of the bundle."""
    session: str
    """The id of the run that the policy is of, as the bundle says."""
    provenance: Path | None
    manifest: Path

    @classmethod
    def of(cls, folder: Path, origin: str) -> Arrived:
        """Raises IntegrityError where files are not as they were published or cannot be read, and
        RefusedError where a spec names code."""
        _check_hashes(folder, origin)
        with _readable(origin):
            runs = _runs(json.loads((folder / RUNS).read_text(encoding="utf-8")))
            rows = pd.read_csv(folder / ROWS, dtype=str, keep_default_na=False)
            _check_rows(rows)
            provenance = folder / "provenance"
            _check_provenance(provenance)
            specs = [spec for run in runs for spec in run.specs.values()]
        for spec in specs:
            refuse_code(resolve(load_spec(spec), REGISTRY))
        bundle = folder / WINNER if runs[0].kind == "experiment" else folder
        spec_file, weights = open_bundle(bundle)
        about = json.loads((bundle / ABOUT).read_text(encoding="utf-8"))
        return cls(
            origin=origin,
            runs=runs,
            rows=rows,
            policy=[spec_file, weights, bundle / ABOUT],
            session=str(about.get("run_id")),
            provenance=provenance if provenance.is_dir() else None,
            manifest=folder / MANIFEST,
        )


def plain(value: Any) -> Any:
    """Texts without what a terminal would obey, through lists and mappings."""
    if isinstance(value, str):
        return "".join(c for c in value if c.isprintable() or c == "\n")
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


@contextmanager
def _readable(origin: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, RecursionError, OSError) as error:
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        why = " ".join(plain(str(what)).split())[:200]
        raise IntegrityError(f"{origin} cannot be read: {why}") from error


def _check_hashes(folder: Path, origin: str) -> None:
    with _readable(origin):
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        version, files = manifest["format"], dict(manifest["files"])
    if version != FORMAT:
        raise IntegrityError(
            f"{origin} has format {plain(str(version))[:20]}; this version reads {FORMAT}",
            "use the version of slm-lightning that made it",
        )
    there = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    for name in {RUNS, ROWS, *files}:
        path = there.get(name)
        if not path or hashlib.sha256(path.read_bytes()).hexdigest() != files.get(name):
            raise IntegrityError(f"{plain(name)[:100]} of {origin} is not the file that was published")


def _runs(data: Any) -> list[ToldRun]:
    if data["format"] != FORMAT or not data["runs"]:
        raise ValueError(f"{RUNS} of another format")
    runs = [ToldRun.model_validate(each) for each in data["runs"]]
    known: set[str] = set()
    for run in runs:
        if run.id in known or (known and run.parent not in known):
            raise ValueError(f"run {run.id[:8]} hangs nowhere")
        known.add(run.id)
    if runs[0].kind == "session":
        raise ValueError("a session without its trial")
    return runs


def _check_rows(rows: pd.DataFrame) -> None:
    _check_names(list(rows))
    numbers = rows[[*PLACE, "frame"]].to_numpy().flatten()
    if not all(map(NUMBER.fullmatch, numbers)):
        raise ValueError(f"{ROWS} has a row without a place")


def _check_names(names: Iterable[str]) -> None:
    """Names of metrics and parameters, which MLflow takes for those of files."""
    for name in names:
        parts = as_name(name).split("/")
        if len(name) > 250 or not name.isprintable() or not all(part.strip(". ") for part in parts):
            raise ValueError("a metric or a parameter with a name that is none")


def _check_provenance(folder: Path) -> None:
    if (requirements := folder / "requirements.txt").is_file():
        for line in requirements.read_text(encoding="utf-8").splitlines():
            if not REQUIREMENT.fullmatch(line):
                raise ValueError(f"{line!r} is no version of a package")
    if (machine := folder / "machine.json").is_file():
        told = dict(json.loads(machine.read_text(encoding="utf-8")))
        words = (told.get("cpu", ""), told.get("python", ""))
        if plain(told) != told or not all(isinstance(word, str) for word in words):
            raise ValueError("a machine that is none")
