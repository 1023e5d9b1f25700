"""A client of the Hub. The requests, their retries and their progress are huggingface_hub's.

Works against any ``HF_ENDPOINT``. The token is that of ``HF_TOKEN`` or of ``hf auth login``; it goes
into the headers of requests and nowhere else.
"""

from __future__ import annotations

import fnmatch
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, get_token
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.utils import disable_progress_bars

from slm_lightning.errors import IntegrityError, MissingError, RefusedError, StorageError
from slm_lightning.foreign import look_over, look_over_names
from slm_lightning.hub.address import KINDS, LIBRARY, Address, Entry, Kind, Listing
from slm_lightning.hub.card import CARD
from slm_lightning.hub.faults import CLIENT, LOGIN, is_passing, told
from slm_lightning.redact import redact

TRIES = 4
"""How often a commit is sent that the Hub does not take because of others, or of itself."""
WAIT = 1.0
"""Seconds before the second try; doubled each time."""
NO_CARD = (TypeError, AttributeError, ValueError)
"""What huggingface_hub raises where the metadata of a card are not as it knows them."""

Settle = Callable[[Callable[[str], bytes]], tuple[str, Sequence[str]]]
"""Given the contents of the files that a repository has (empty where there is none of that name), says
what its card is to be, and which of its files are to go."""


class Hub:
    """A client of the Hub, or of what speaks like it."""

    def __init__(self) -> None:
        endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or None
        self.api = HfApi(endpoint=endpoint, library_name=LIBRARY)
        is_itself = (urlsplit(self.api.endpoint).hostname or "").endswith("huggingface.co")
        if not is_itself and "HF_HUB_DISABLE_XET" not in os.environ:
            constants.HF_HUB_DISABLE_XET = True  # a protocol for large files that others lack
        if not sys.stderr.isatty():
            disable_progress_bars()

    def __str__(self) -> str:
        return redact(self.api.endpoint)

    def url(self, address: Address) -> str:
        """What a browser shows."""
        return f"{self}/{'datasets/' if address.kind == 'dataset' else ''}{address.repo}"

    def user(self) -> str:
        """Whose token there is. Raises MissingError."""
        return self._whoami("the Hub")["name"]

    def check_access(self, repo: str) -> None:
        """Raises MissingError where there is no token, or one that may not write to ``repo``; asked
        before anything is prepared."""
        me = self._whoami(repo)
        role = me.get("auth", {}).get("accessToken", {}).get("role")
        owners = [me["name"], *(group["name"] for group in me.get("orgs", []))]
        owner = repo.partition("/")[0]
        if role == "read":
            raise MissingError(f"the token of {me['name']} may read and not write", LOGIN)
        if role == "write" and owner not in owners:  # of finer rights only the Hub knows
            raise MissingError(
                f"{me['name']} is not a member of {owner}, and may not write to {repo}",
                f"publish to --repo {me['name']}/NAME, or {LOGIN}",
            )

    def upload(
        self,
        folder: Path,
        address: Address,
        message: str,
        settle: Settle,
        private: bool = False,
    ) -> Address:
        """Sends all files of ``folder`` in one commit, and returns the address with that commit; the
        same files again make none.

        Other files stay, but for those that ``settle`` gives up. Raises MissingError before anything is
        sent, RefusedError where the repository is public and should not be, StorageError where the Hub
        does not take it; then nothing has changed there but that the repository may have been made.
        """
        repo, kind, branch = address.repo, address.kind, address.revision
        with told(str(self), repo, "sent to"):
            self.api.create_repo(repo, repo_type=kind, private=private, exist_ok=True)
            if private and not self.api.repo_info(repo, repo_type=kind).private:
                raise RefusedError(
                    f"{repo} is public, and was to be private",
                    "make it private in its settings, or give another --repo",
                )
            if branch:
                self.api.create_branch(repo, repo_type=kind, branch=branch, exist_ok=True)
        for attempt in range(TRIES):
            try:
                return self._commit(folder, address, message, settle)
            except CLIENT as error:
                if attempt == TRIES - 1 or not is_passing(error):
                    with told(str(self), repo, "sent to", begun=True):
                        raise
                time.sleep(WAIT * 2**attempt)
        raise AssertionError

    def look(self, address: Address) -> Listing:
        """What a repository holds. Raises UsageError where there is none that one may see,
        IntegrityError where the metadata of its card are not as the Hub asks for."""
        with told(str(self), address.repo, "fetched from"):
            if address.kind:
                return self._look(address)
            try:
                return self._look(address._replace(kind="model"))
            except RepositoryNotFoundError:
                return self._look(address._replace(kind="dataset"))

    def fetch(self, listing: Listing, folder: Path, names: Sequence[str] = ()) -> None:
        """Brings the files ``names`` (default all) into ``folder``, as regular files. What was fetched
        before, or half of it, is not fetched again.

        Raises RefusedError where anything in the repository might run, before anything is fetched.
        """
        repo, kind, revision = listing.address
        look_over_names(listing.files, str(listing.address))
        wanted = [name for name in listing.files if not names or name in names]
        with told(str(self), repo, "fetched from"):
            cached = self.api.snapshot_download(
                repo, repo_type=kind, revision=revision, allow_patterns=wanted
            )
        for name in wanted:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(Path(cached, name).resolve(strict=True), target)
            except OSError as error:
                raise StorageError(f"{name} of {repo} was not fetched: {error.strerror}") from error
        look_over(folder)

    def entries(self, pattern: str = "*") -> list[Entry]:
        """The lab's repositories whose ``USER/NAME``, or ``NAME``, fits ``pattern``, newest first."""
        owner = pattern.rpartition("/")[0]
        author = None if set(owner) & set("*?[") else owner or None
        with told(str(self), pattern, "listed from"):
            found = [
                _entry(Address(info.id, kind), info)
                for kind in KINDS
                for info in self._infos(kind, author)
                if fnmatch.fnmatchcase(info.id if owner else info.id.rpartition("/")[2], pattern)
            ]
        return sorted(
            found, key=lambda entry: entry.changed.timestamp() if entry.changed else 0, reverse=True
        )

    def _infos(self, kind: Kind, author: str | None) -> list[Any]:
        """The lab's repositories of a kind; without their cards where somebody's cannot be read."""
        ask: Any = self.api.list_models if kind == "model" else self.api.list_datasets
        wanted = {"full": True, "cardData": True} if kind == "model" else {"full": True}
        try:
            return list(ask(filter=LIBRARY, author=author, **wanted))
        except NO_CARD:
            return list(ask(filter=LIBRARY, author=author, expand=["lastModified", "private", "tags"]))

    def _whoami(self, repo: str) -> dict[str, Any]:
        if not get_token():
            raise MissingError("there is no token for the Hub", LOGIN)
        with told(str(self), repo, "sent to"):
            return self.api.whoami()

    def _look(self, address: Address) -> Listing:
        repo, kind, revision = address
        ask: Any = self.api.repo_info  # whose answer has as many types as the Hub has things
        try:
            info = ask(repo, repo_type=kind, revision=revision, files_metadata=True)
        except (TypeError, AttributeError) as error:
            raise IntegrityError(f"the card of {repo} cannot be read", "mend its metadata") from error
        files = {each.rfilename: each.size or 0 for each in info.siblings or []}
        return Listing(Address(repo, kind, info.sha), files)

    def _commit(self, folder: Path, address: Address, message: str, settle: Settle) -> Address:
        repo, kind, branch = address.repo, address.kind, address.revision
        listing = self._look(address)
        card, given_up = settle(
            lambda name: self._read(listing, name) if name in listing.files else b""
        )
        paths = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
        sent: dict[str, Path | bytes] = {**paths, CARD: card.encode()}
        gone = [name for name in given_up if name in listing.files and name not in sent]
        done = self.api.create_commit(
            repo,
            [
                *(CommitOperationAdd(name, content) for name, content in sent.items()),
                *(CommitOperationDelete(name) for name in gone),
            ],
            commit_message=message,
            repo_type=kind,
            revision=branch,
            parent_commit=listing.address.revision,
        )
        return Address(repo, kind, done.oid)

    def _read(self, listing: Listing, name: str) -> bytes:
        repo, kind, revision = listing.address
        path = self.api.hf_hub_download(repo, name, repo_type=kind, revision=revision)
        return Path(path).read_bytes()


def _entry(address: Address, info: Any) -> Entry:
    results = getattr(info.card_data, "eval_results", None)
    score = str(results[0].metric_value) if results and isinstance(results, list) else ""
    tags = [_plain(tag) for tag in info.tags or []]
    return Entry(address, tags, _plain(score), info.last_modified, bool(info.private))


def _plain(text: str) -> str:
    return "".join(character for character in text[:100] if character.isprintable())
