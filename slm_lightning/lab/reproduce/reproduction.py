"""A recorded run made again: its code, its packages, its spec; and what comes out beside what did."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from slm_lightning.errors import DivergedError, SessionError, UsageError
from slm_lightning.lab.changes import Change, changed_machine, changed_packages, of_the_lab, versions
from slm_lightning.lab.reproduce.bits import Comparison, compare
from slm_lightning.lab.reproduce.checkout import changed_files, full_name
from slm_lightning.lab.reproduce.original import SETTLED, Original, Place, Told
from slm_lightning.lab.reproduce.workshop import HERE, Workshop, code_of, workshop
from slm_lightning.lab.wording import count
from slm_lightning.provenance import NONE, Provenance
from slm_lightning.tracking import RESOLVED, Record, RunInfo

Say = Callable[[str], None]


@dataclass(frozen=True)
class Reproduction:
    """What became of a run that was made again."""

    original: Original
    compared: dict[Place, Comparison]
    reasons: list[str] = field(default_factory=list)
    """What is not as it was and may be why numbers differ."""
    kept: Path | None = None
    """The record of the repetition, where it differs."""

    @property
    def identical(self) -> bool:
        return all(found.identical for found in self.compared.values())

    @property
    def parted(self) -> tuple[Place, Comparison]:
        """The session that differs first, by frames; else the first that lacks something."""
        broken = [(place, found) for place, found in self.compared.items() if not found.identical]
        return min(broken, key=lambda item: (item[1].frame is None, item[1].frame or 0))

    def to_dict(self) -> dict[str, Any]:
        """The same for programs."""
        found: dict[str, Any] = {
            "run_id": self.original.run_id,
            "identical": self.identical,
            "sessions": len(self.compared),
            "numbers": sum(c.numbers for c in self.compared.values()),
            "hashes": sum(c.hashes for c in self.compared.values()),
            "reasons": self.reasons,
        }
        if self.identical:
            return found
        place, comparison = self.parted
        return found | {**place._asdict(), **comparison.to_dict(), "record": str(self.kept)}


def reproduce(record: Record, run: str, here: bool, device: str, say: Say) -> Reproduction:
    """Runs what ``run`` recorded again, see :func:`make_again`.

    Raises as that does, and UsageError where too little was recorded.
    """
    if Path(run).is_file():
        raise UsageError(
            f"{run} is a file, and no row of result pages",
            "with a spec file goes --commit: with whose code it is to be run",
        )
    return make_again(Original.of(record, record.find(run)), here, device, say)


def make_again(original: Original, here: bool, device: str, say: Say) -> Reproduction:
    """Runs ``original`` again and compares every number and every hash of a state.

    Its commit is checked out beside, with its uncommitted changes, and packages that have changed are
    laid over in their recorded versions, of a run from elsewhere those that the lab needs; ``here``
    takes the code and the packages that are here.
    Raises UsageError, MissingError, IntegrityError where that cannot be had, or there is nothing to
    compare, and SessionError where the spec does not run there.
    """
    if all(told.rows.empty for told in original.sessions.values()):
        raise UsageError(f"{original.name} left no rows that could be compared")
    say(f"{original.name}: {count(len(original.sessions), 'session')} to be made again")
    now, then = Provenance.collect(), original.recorded
    here = here or original.commit == NONE
    packages = changed_packages(then.packages, versions(now.requirements))
    laid = [] if here else [c for c in packages if not original.origin or of_the_lab(c.name)]
    differing = [change for change in packages if change not in laid]
    changes = changed_machine(then.machine, now.machine)
    for line in _conditions(original, here, laid, differing, changes):
        say(line)
    scratch = Path(tempfile.mkdtemp(prefix="slm-lightning-reproduction-"))
    try:
        with nullcontext(HERE) if here else workshop(original, laid, scratch) as shop:
            again = _run(original, shop, scratch / "mlruns", device)
        compared = _compare(original, again, again.top(1)[0])
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    reasons = _reasons(original, differing, changes, here)
    found = Reproduction(original, compared, reasons, again.root)
    if found.identical:
        shutil.rmtree(scratch, ignore_errors=True)
        return replace(found, reasons=[], kept=None)
    return found


def reproduce_spec(
    record: Record, spec: Path, commit: str, device: str, say: Say
) -> Reproduction | None:
    """Runs the file ``spec`` with the code of ``commit`` as a trial of the record, and compares it with
    the newest one that the record has of this spec and commit; None where it has none.

    Raises as :func:`reproduce` does.
    """
    commit = full_name(commit)
    known = {run.run_id for run in record.runs(kind="trial", limit=None)} if record.exists else set()
    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory())
        shop = stack.enter_context(code_of(commit, Path(scratch)))
        say(f"code: commit {commit[:12]}")
        _must_run(shop.lab("run", str(spec.absolute()), "--device", device, "--json"))
    fresh, *_ = [run for run in record.runs(kind="trial") if run.run_id not in known]
    say(f"{fresh.name}: recorded as run {fresh.run_id[:8]}")
    before = [run for run in record.runs(kind="trial", limit=None) if run.run_id in known]
    for run in before:
        if _same_run(record, run, fresh):
            original = Original.of(record, run)
            compared = _compare(original, record, fresh)
            return Reproduction(original, compared, [], record.root)
    return None


def _same_run(record: Record, one: RunInfo, other: RunInfo) -> bool:
    """Whether two trials are done, of the same commit without changes, and of the same spec."""
    commit, changes = "mlflow.source.git.commit", "slm.git.diff_sha256"
    if any(run.tags.get("slm.status") != "done" or changes in run.tags for run in (one, other)):
        return False
    if one.tags.get(commit) != other.tags.get(commit) or one.name != other.name:
        return False
    specs = [record.download(run.run_id, RESOLVED).read_bytes() for run in (one, other)]
    return specs[0] == specs[1]


def _conditions(
    original: Original,
    here: bool,
    laid: list[Change],
    differing: list[Change],
    changes: list[Change],
) -> list[str]:
    """With which code and packages, on which machine; a line for each that is worth one."""
    own = ", with its uncommitted changes" if original.diff else ""
    lines = ["code: as it is here" if here else f"code: commit {original.commit[:12]}{own}"]
    if laid:
        lines.append(f"packages: those of then, not of now: {', '.join(map(str, laid))}")
    if differing:
        lines.append(f"packages differ: {', '.join(map(str, differing))}")
    lines += [f"machine differs: {change}" for change in changes]
    if original.doubt:
        lines.append(f"its numbers need not come again: {original.doubt}")
    return lines


def _run(original: Original, shop: Workshop, root: Path, device: str) -> Record:
    """Runs the recorded spec into a record of its own, which is returned."""
    verb = ["search"] if original.kind == "experiment" else ["run"]
    more = ["--confirm", str(original.confirm)] if original.confirm else []
    code = shop.lab(*verb, str(original.spec), *more, "--device", device, "--json", root=root)
    _must_run(code)
    return Record(root, f"sqlite:///{root}/mlflow.db")


def _must_run(code: int) -> None:
    if code not in (0, SessionError.exit_code, DivergedError.exit_code):
        raise SessionError(
            f"the repetition could not be run (exit {code})",
            "it has said why; --here tries it with the code and the packages that are here",
        )


def _compare(original: Original, again: Record, run: RunInfo) -> dict[Place, Comparison]:
    repeated = original.again(again, run)
    return {place: _beside(then, repeated.get(place)) for place, then in original.sessions.items()}


def _beside(then: Told, now: Told | None) -> Comparison:
    if now is None:
        return Comparison(0, 0, 0, [], missing="the repetition has no such session")
    found = compare(then.rows, now.rows, then.status != "done", then.evaluated)
    if found.identical and then.status in SETTLED and now.status != then.status:
        return replace(found, missing=f"it was {then.status}, and the repetition {now.status}")
    return found


def _reasons(
    original: Original, packages: list[Change], changes: list[Change], here: bool
) -> list[str]:
    """What may be why numbers differ, the likeliest first."""
    reasons = []
    if here and original.commit != NONE and (files := changed_files(original.commit, original.diff)):
        reasons.append(f"code that has changed since: {', '.join(files)}")
    reasons += [f"package {change}" for change in packages]
    reasons += [f"machine: {change}" for change in changes]
    return [*reasons, original.doubt] if original.doubt else reasons
