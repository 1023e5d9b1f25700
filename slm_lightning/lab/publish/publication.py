"""A run as a repository of the Hub: everything that is uploaded, in a folder."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from slm_lightning.errors import RefusedError, UsageError
from slm_lightning.hub import CARD, Address
from slm_lightning.lab import graphs
from slm_lightning.lab.bundle import ABOUT, WEIGHTS
from slm_lightning.lab.export import export_policy
from slm_lightning.lab.publish.card import Facts, card
from slm_lightning.lab.publish.played import RESULTS, VIDEO, play, write_results
from slm_lightning.lab.publish.runs import described, family, gathered, number_table, read_json
from slm_lightning.lab.report.experiment_page import order
from slm_lightning.lab.report.experiment_panels import experiment_graph
from slm_lightning.lab.report.findings import Findings, findings
from slm_lightning.lab.report.importance import importances
from slm_lightning.lab.report.pull_request import searched
from slm_lightning.lab.report.verdict import verdict
from slm_lightning.redact import holds_secret, redact
from slm_lightning.spec.blanks import refuse_blanks
from slm_lightning.tracking import ORIGIN, RESOLVED, Record, RunInfo, flatten

FORMAT = 1
"""Of publications; another number is another meaning of their files."""
MANIFEST, RUNS, ROWS, WINNER = "publication.json", "record.json", "metrics.csv", "winner"
CONTENTS = {
    VIDEO: "a greedy episode of the policy",
    WEIGHTS: "the policy and the statistics of its normalisers, the `ckpt-best` of its session",
    ABOUT: "which session and frame the policy is of, and the hashes of its files",
    RESOLVED: "its complete spec, defaults included",
    "spec.json": "the spec as it was written",
    ROWS: "every row that every session recorded, with the hashes of its states",
    RUNS: "what the record says of the runs: tags, parameters, metrics, specs",
    RESULTS: "the evaluation of the policy, as the Hub's leaderboards read it",
    "provenance/requirements.txt": "the version of every package",
    "provenance/machine.json": "the machine",
    "provenance/command.txt": "the command",
    "provenance/git.diff": "what was not committed",
}
TEXTS = frozenset({".json", ".csv", ".md", ".txt", ".diff"})
"""Kinds of files that are searched for secrets."""


@dataclass(frozen=True)
class Publication:
    """A folder to be uploaded, and where to."""

    folder: Path
    address: Address
    files: list[str]
    """Paths in the repository."""
    notes: list[str]
    """What is not in it, and why."""


def write(record: Record, run: RunInfo, folder: Path, address: Address, episodes: int) -> Publication:
    """Writes what is to be published of ``run`` into the new ``folder``: a policy with its data, or,
    of an experiment, the data with the policy of its winner.

    Raises UsageError where it has no policy yet or was brought from the Hub, RefusedError where the
    policy needs code or a file of the record holds a secret, SpecError where its spec was recorded
    without one; then nothing is left behind.
    """
    if ORIGIN in run.tags:
        raise UsageError(f"{run.name} is published already", f"it was pulled from {run.tags[ORIGIN]}")
    if run.status == "RUNNING":
        raise UsageError(f"{run.name} is still running", "publish it when it is done")
    is_search = run.kind == "experiment"
    bundle = folder / WINNER if is_search else folder
    if folder.exists():
        raise UsageError(f"{folder} exists already", "name a folder that does not")
    try:
        export_policy(run.run_id, bundle, record)
        return _Writer(record, run, folder, bundle, address).write(episodes)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


class _Writer:
    """Fills a folder beside the bundle of the policy."""

    def __init__(self, record: Record, run: RunInfo, folder: Path, bundle: Path, address: Address):
        self.record, self.run, self.address = record, run, address
        self.folder, self.bundle = folder, bundle
        self.about = json.loads((bundle / ABOUT).read_text(encoding="utf-8"))
        self.session = record.get(self.about["run_id"])
        assert self.session.parent
        self.trial = record.get(self.session.parent)
        self.runs = family(record, run)
        self.sessions = [each for each in self.runs if each.parent == self.trial.run_id]
        self.found = findings(record, run.run_id) if run.kind == "experiment" else None
        self.notes: list[str] = []

    def write(self, episodes: int) -> Publication:
        self._write_records()
        self._refuse_secrets()
        refuse_blanks(json.loads((self.bundle / RESOLVED).read_text(encoding="utf-8")))
        played = play(self.bundle, episodes, self.folder, self.trial.name)
        if played.unseen:
            self.notes.append(f"no recording: {played.unseen}")
        write_results(
            played, {"checkpoint": "ckpt-best", "frame": self.about.get("frame")}, self.folder
        )
        rows = gathered(self.record, self.sessions)
        pictures = self._draw(rows)
        facts = Facts(
            run=self.run,
            trial=self.trial,
            session=self.session,
            sessions=self.sessions,
            about=self.about,
            played=played,
            settings=self._settings(),
            searched=searched(self.found, read_json(self.record, self.run, RESOLVED))
            if self.found
            else (),
            machine=json.loads((self.folder / "provenance/machine.json").read_text(encoding="utf-8")),
            frames=int(rows["frame"].astype(int).max()),
            graphs=pictures,
            files=list(self._contents()),
            address=self.address,
            found=self.found,
            said=verdict(self.found) if self.found else None,
        )
        (self.folder / CARD).write_text(redact(card(facts)), encoding="utf-8")
        self._refuse_secrets()
        hashes = {path: _sha256(self.folder / path) for path in sorted(_paths(self.folder))}
        hashes.pop(CARD)  # which others may add to
        manifest = {"format": FORMAT, "name": self.run.name, "tags": facts.tags, "files": hashes}
        write_json(self.folder / MANIFEST, manifest)
        return Publication(self.folder, self.address, [*hashes, CARD, MANIFEST], self.notes)

    def _write_records(self) -> None:
        """The runs and their rows, and what came with them."""
        rows = gathered(self.record, [each for each in self.runs if each.kind == "session"])
        rows.to_csv(self.folder / ROWS, index=False)
        runs = [described(self.record, each) for each in self.runs]
        write_json(self.folder / RUNS, redact({"format": FORMAT, "runs": runs}))
        top = self.runs[0].run_id
        shutil.copyfile(self.record.download(top, "spec.json"), self.folder / "spec.json")
        shutil.copytree(self.record.download(top, "provenance"), self.folder / "provenance")

    def _settings(self) -> dict[str, Any]:
        """The keys that the user wrote, and those that a search drew, with the values of the policy's
        trial; without what says how to search."""
        (sections,) = read_json(self.record, self.runs[0], "spec.json").values()
        values = flatten(json.loads((self.bundle / RESOLVED).read_text(encoding="utf-8")))
        drawn = json.loads(self.trial.tags.get("slm.drawn", "{}"))
        keys = {**flatten(sections), **drawn}
        return {
            k: values.get(k, v) for k, v in keys.items() if not k.startswith(("search.", "meta.search"))
        }

    def _draw(self, table: pd.DataFrame) -> list[str]:
        """Draws the graphs of the sessions' rows, the most telling first, and returns their names; none
        without a browser."""
        tables = [number_table(table, each.tags) for each in self.sessions]
        environment = self.trial.tags["slm.env"]
        index = [each.run_id for each in self.sessions].index(self.session.run_id)
        planned = int(self.trial.params.get("meta.max_session", len(tables)))
        figures = {
            "session": graphs.session_graph(tables[index], f"{self.session.name} · {environment}")
        }
        if self.run.kind != "session":
            title = f"{self.trial.name} · {environment}"
            figures = {"trial": graphs.trial_graph(tables, title, planned), **figures}
        if self.found and self.found.is_drawable:
            figures = {"experiment": _experiment_graph(self.found), **figures}
        folder = self.folder / "graphs"
        folder.mkdir()
        if graphs.write_png({folder / f"{name}.png": fig for name, fig in figures.items()}):
            return list(figures)
        shutil.rmtree(folder)
        self.notes.append("no graphs: they need Chrome or Chromium")
        return []

    def _contents(self) -> Iterator[tuple[str, str]]:
        """The files and what they hold, those first that one looks at first."""
        there = set(_paths(self.folder))
        prefix = "" if self.bundle == self.folder else f"{WINNER}/"
        for name, what in CONTENTS.items():
            for path in dict.fromkeys((name, prefix + name)):
                if path in there:
                    yield path, what
        yield MANIFEST, "the hashes of all files"

    def _refuse_secrets(self) -> None:
        for path in sorted(_paths(self.folder)):
            if Path(path).suffix in TEXTS and holds_secret(self.folder / path):
                raise RefusedError(
                    f"{path} of {self.run.name} holds what looks like a secret; nothing was published",
                    "change that secret, and run again: the record keeps it",
                )


def write_json(path: Path, data: Any) -> None:
    """Writes plain data."""
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _experiment_graph(found: Findings) -> Any:
    return experiment_graph(found, order(found, importances(found)))


def _paths(folder: Path) -> Iterator[str]:
    return (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
