"""From the Hub to this machine: policies to be replayed, runs to be taken into the record.

What comes is a stranger's: names, numbers and settings are looked at before anything is recorded, and a
run stays marked by where it is from.
"""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from slm_lightning.errors import LabError, StorageError, UsageError
from slm_lightning.hub import SCHEME, Address, Hub, Listing
from slm_lightning.lab.bundle import ABOUT, WEIGHTS
from slm_lightning.lab.publish.arrived import Arrived
from slm_lightning.lab.publish.importing import take_in
from slm_lightning.lab.publish.publication import MANIFEST, ROWS, RUNS, WINNER
from slm_lightning.lab.publish.recomputing import recomputed
from slm_lightning.tracking import ORIGIN, RESOLVED, Record, RunInfo

Say = Callable[[str], None]
WILD = set("*?[")
MOST = 50
"""Repositories that one pattern may bring."""


def bundle_from(address: str) -> Path:
    """The bundle of the policy at ``hf://USER/NAME``, in a folder that lives as long as this process.

    Raises UsageError where there is none, RefusedError where anything in the repository might run.
    """
    hub = Hub()
    listing = hub.look(Address.parse(address))
    inner = next((f for f in ("", f"{WINNER}/") if f + ABOUT in listing.files), None)
    if inner is None:
        raise UsageError(f"{address} has no policy", "slm-lightning list --remote lists what has")
    scratch = tempfile.mkdtemp(prefix="slm-lightning-")
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    fetched, folder = Path(scratch, "fetched"), Path(scratch, "as", listing.address.repo.split("/")[1])
    folder.parent.mkdir()
    hub.fetch(listing, fetched, [inner + name for name in (ABOUT, RESOLVED, WEIGHTS)])
    (fetched / inner).rename(folder)
    return folder


def pull(record: Record, pattern: str, say: Say) -> list[RunInfo]:
    """Takes the runs of the repositories that ``pattern`` fits (``USER/NAME``, wildcards allowed) into
    the record, those that are not there yet, and returns all of them.

    Raises UsageError where nothing fits, or too much, RefusedError where anything in a repository might
    run, IntegrityError where files are damaged or missing; then nothing of that repository is recorded,
    but all others that fit are, and the first error is raised at the end.
    """
    hub = Hub()
    if WILD & set(pattern):
        found = [entry.address for entry in hub.entries(pattern.removeprefix(SCHEME))]
        if not found:
            raise UsageError(f"nothing at {hub} fits {pattern!r}", "slm-lightning list --remote")
        if len(found) > MOST:
            raise UsageError(f"{pattern!r} fits more than {MOST} repositories", "narrow it")
    else:
        found = [Address.parse(pattern)]
    runs: list[RunInfo] = []
    failed: list[LabError] = []
    for address in found:
        try:
            runs.append(_pulled(record, hub, hub.look(address), say))
        except StorageError:
            raise
        except LabError as error:
            failed.append(error)
            if len(found) > 1:
                say(f"{address} is not taken: {error}")
    if failed:
        raise failed[0]
    return runs


def _pulled(record: Record, hub: Hub, listing: Listing, say: Say) -> RunInfo:
    origin = str(listing.address)
    if there := _known(record, origin):
        say(f"{there.name}: run {there.run_id[:8]} is {origin} already")
        return there
    if MANIFEST not in listing.files:
        raise UsageError(
            f"{origin} was not published by slm-lightning publish: no {MANIFEST}",
            "slm-lightning enjoy can replay a policy by itself",
        )
    with tempfile.TemporaryDirectory(prefix="slm-lightning-") as scratch:
        folder = Path(scratch, "fetched")
        hub.fetch(listing, folder)
        if there := _same(record, listing.address, folder):
            say(f"{there.name}: run {there.run_id[:8]} has the numbers of {origin} already")
            return there
        run = take_in(record, recomputed(Arrived.of(folder, origin)))
    say(f"{run.name}: run {run.run_id[:8]}, from {origin}")
    return run


def _same(record: Record, address: Address, folder: Path) -> RunInfo | None:
    """The run that was taken in whole from an earlier commit of a repository, where those runs were
    published again with the same rows."""
    if not record.exists:
        return None
    wanted, earlier = _data(folder / MANIFEST), f"{address._replace(revision=None)}@"
    for run in record.runs(limit=None):
        is_from_there = run.tags.get(ORIGIN, "").startswith(earlier)
        if not is_from_there or MANIFEST not in record.artifacts(run.run_id):
            continue
        if wanted and _data(record.download(run.run_id, MANIFEST)) == wanted:
            return run
    return None


def _data(manifest: Path) -> dict[str, str]:
    """The hashes of the runs and of the rows; empty where a manifest cannot be read."""
    try:
        files = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        return {name: str(files[name]) for name in (RUNS, ROWS)}
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}


def _known(record: Record, origin: str) -> RunInfo | None:
    """The run that was taken in whole from an address with a commit."""
    if not record.exists:
        return None
    for run in record.runs(limit=None):
        if run.tags.get(ORIGIN) == origin and MANIFEST in record.artifacts(run.run_id):
            return run
    return None
