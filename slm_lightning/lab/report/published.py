"""Where on the HuggingFace Hub a run is published, as its tag says."""

from __future__ import annotations

import os
from collections.abc import Mapping

from slm_lightning.hub.address import SCHEME
from slm_lightning.redact import redact
from slm_lightning.tracking import ORIGIN, PUBLISHED

HUB = "https://huggingface.co"


def address_of(tags: Mapping[str, str]) -> str:
    """The address at which a run is published, or from which it was pulled, as
    ``hf://USER/NAME@COMMIT``; empty where it is not."""
    said = tags.get(ORIGIN) or tags.get(PUBLISHED, "")
    return said if said.startswith(SCHEME) else ""


def web_page(address: str) -> str:
    """What a browser shows of it."""
    repository, _, revision = address.removeprefix(SCHEME).partition("@")
    return f"{_hub()}/{repository}{f'/tree/{revision}' if revision else ''}"


def web_file(address: str, path: str) -> str:
    """Where a file of it is downloaded from."""
    repository, _, revision = address.removeprefix(SCHEME).partition("@")
    return f"{_hub()}/{repository}/resolve/{revision or 'main'}/{path}"


def _hub() -> str:
    """The Hub that commands ask."""
    return redact(os.environ.get("HF_ENDPOINT", "").rstrip("/")) or HUB
