"""What may go wrong with the Hub, as errors of the lab."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import httpx

from slm_lightning.errors import LabError, MissingError, StorageError, UsageError
from slm_lightning.redact import redact

LOGIN = "log in by hf auth login, or set HF_TOKEN; to publish, its token needs the right to write"
CLIENT = (httpx.HTTPError, RuntimeError, ValueError, OSError)
"""What the client raises."""


@contextmanager
def told(hub: str, repo: str, verb: str, begun: bool = False) -> Iterator[None]:
    """Errors of the client, its transport and the server as those of the lab. ``verb``: what was to be
    done, as in ``nothing could be sent to``; ``begun``: the server has answered before."""
    try:
        yield
    except CLIENT as error:
        raise _meaning(error, hub, repo, verb, begun) from error


def is_passing(error: BaseException) -> bool:
    """Whether the same again may well be taken: somebody else was faster, or the server or the line had
    a bad moment."""
    cause = _cause(error)
    if isinstance(cause, HfHubHTTPError):
        return cause.response.status_code in (409, 412, 429) or cause.response.status_code >= 500
    return isinstance(cause, httpx.TransportError)


def _meaning(error: Exception, hub: str, repo: str, verb: str, begun: bool) -> LabError:
    cause = _cause(error)
    status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else None
    if isinstance(cause, OfflineModeIsEnabled):
        return MissingError("HF_HUB_OFFLINE forbids to ask the Hub", "unset it")
    if isinstance(cause, LocalTokenNotFoundError):
        return MissingError("there is no token for the Hub", LOGIN)
    if isinstance(cause, GatedRepoError):
        return MissingError(f"{repo} is gated", f"ask for access at {hub}/{repo}")
    if isinstance(cause, RevisionNotFoundError):
        return UsageError(f"{repo} at {hub} has no such branch or commit", f"see {hub}/{repo}")
    if isinstance(cause, RepositoryNotFoundError) or status == 404:
        hint = "see slm-lightning list --remote; for a private one: hf auth login"
        return UsageError(f"{hub} has no {repo} that you may see", hint)
    if status in (401, 403):
        return MissingError(f"the Hub does not let this token at {repo} ({status})", LOGIN)
    if isinstance(cause, HFValidationError):
        return UsageError(f"{repo} is no name of a repository", "write it as USER/NAME")
    if isinstance(cause, httpx.TransportError) and not begun:
        why = f"the Hub at {hub} cannot be reached: {_line(cause)}"
        return MissingError(why, "try again when there is a network; all else works without")
    why = f"it answers {status}" if status and status != 400 else _line(error)
    return StorageError(
        f"nothing could be {verb} {repo} at {hub}: {why}", "what is here is as it was; try again"
    )


def _cause(error: BaseException) -> BaseException:
    """What the server or the line said, where that is behind an error; else the error."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, httpx.HTTPError):
            return found
        found = found.__cause__
    return error


def _line(error: BaseException) -> str:
    return redact(" ".join(str(error).split()) or type(error).__name__)[:200]
