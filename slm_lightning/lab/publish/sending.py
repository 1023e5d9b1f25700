"""From the record to the Hub: by command, or by itself after a run."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slm_lightning.errors import LabError, UsageError
from slm_lightning.hub import CARD, Address, Hub, Settle, merged
from slm_lightning.lab.publish.publication import MANIFEST, Publication, write
from slm_lightning.redact import redact
from slm_lightning.tracking import PUBLISHED, Record, RunInfo

Say = Callable[[str], None]

REPO, PRIVATE = "SLM_HUB_REPO", "SLM_HUB_PRIVATE"
"""Environment variables: where runs are published by themselves, and whether only for oneself."""
BRANCH = re.compile(r"[\w][\w./-]*", re.ASCII)
"""Names that an address can hold."""
EPISODES = 10
"""Greedy episodes by which a policy is evaluated."""
FORMER = ("tags", "files")
"""What of a former publication a new one takes the place of."""
NOWHERE = Address("USER/NAME")
"""Stands in a card that is only written to be looked at."""


@dataclass(frozen=True)
class Published:
    """What became of a publication."""

    run: RunInfo
    publication: Publication
    address: Address | None
    """Where it is, with its commit; None where it was only written into a folder."""
    url: str

    def to_dict(self) -> dict[str, Any]:
        return {
            "run_id": self.run.run_id,
            "address": str(self.address) if self.address else None,
            "url": self.url,
            "files": self.publication.files,
            "notes": self.publication.notes,
        }


def publish(
    record: Record,
    run: RunInfo,
    repo: str | None,
    branch: str | None = None,
    private: bool = False,
    dry_run: Path | None = None,
    episodes: int = EPISODES,
) -> Published:
    """Uploads ``run`` to ``repo`` (``USER/NAME``; default the environment's), or writes what would be
    uploaded into the new folder ``dry_run``.

    Raises UsageError and RefusedError as ``write``, and UsageError for a branch that no address can
    name; MissingError before anything is prepared where there is no token, no right or no network;
    StorageError where the Hub does not take it. The record is left as it is, but for a tag that says
    where the run is published.
    """
    wanted = repo or default_repo(run)
    if wanted is None and dry_run is None:
        raise UsageError("publish where?", f"add --repo USER/NAME, or set {REPO}")
    address = Address.parse(wanted) if wanted else NOWHERE
    kind = "dataset" if run.kind == "experiment" else "model"
    address = Address(address.repo, kind, branch or address.revision)  # type: ignore[arg-type]
    if branch and not BRANCH.fullmatch(branch):
        raise UsageError(f"{branch!r} is no branch", "letters, digits and ./_- name one")
    if dry_run is not None:
        return Published(run, write(record, run, dry_run, address, episodes), None, "")
    hub = Hub()
    hub.check_access(address.repo)
    with tempfile.TemporaryDirectory(prefix="slm-lightning-") as scratch:
        publication = write(record, run, Path(scratch, "repository"), address, episodes)
        message = f"{run.name}, run {run.run_id[:8]}"
        done = hub.upload(publication.folder, address, message, _settling(publication), private)
    record.set_tags(run.run_id, {PUBLISHED: str(done)})
    return Published(run, publication, done, hub.url(done))


def default_repo(run: RunInfo) -> str | None:
    """Where the environment says that ``run`` is published: ``USER/NAME``, or ``USER`` for a
    repository of the name of its spec; None where it says nothing."""
    wanted = os.environ.get(REPO, "").strip()
    return (wanted if "/" in wanted else f"{wanted}/{run.experiment}") if wanted else None


def publish_by_itself(record: Record, run_id: str, say: Say) -> None:
    """Publishes a run that has ended where the environment says so. Whatever goes wrong is said, and
    tagged, and nothing else."""
    if not os.environ.get(REPO, "").strip():
        return
    private = os.environ.get(PRIVATE, "").lower() in ("1", "true", "yes", "on")
    try:
        done = publish(record, record.get(run_id), None, private=private)
        say(f"published: {done.url}")
    except (Exception, KeyboardInterrupt) as error:
        why = "stopped" if isinstance(error, KeyboardInterrupt) else str(error) or repr(error)
        say(f"warning: not published: {redact(why)}")
        if isinstance(error, LabError) and error.hint:
            say(f"  {error.hint}")
        say(f"  the run is recorded; to try again: slm-lightning publish {run_id[:8]}")
        with suppress(LabError):
            record.set_tags(run_id, {PUBLISHED: f"not published: {why}"})


def _settling(publication: Publication) -> Settle:
    """How a publication takes the place of a former one in the same repository."""
    card = (publication.folder / CARD).read_text(encoding="utf-8")

    def settle(read: Callable[[str], bytes]) -> tuple[str, Sequence[str]]:
        former = _former(read(MANIFEST))
        there = read(CARD).decode("utf-8", "replace")
        return merged(card, there, former.get("tags", ())), former.get("files", ())

    return settle


def _former(manifest: bytes) -> dict[str, Any]:
    """What a publication that is there says of itself; empty where it says nothing one can read."""
    try:
        found = json.loads(manifest)
        return {key: [each for each in found[key] if isinstance(each, str)] for key in FORMER}
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
