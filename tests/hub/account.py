"""What the tests of the Hub share: a server that speaks as it does, and a user."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from slm_lightning.hub import client
from tests.hub.fake_hub import fake_hub
from tests.hub.repositories import FakeHub

WRITER, READER = "hf_writerwriterwriter", "hf_readerreaderreader"


def logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A Hub at which ``me`` is logged in; its client waits for nothing and keeps its files apart."""
    for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)  # as it is without a setting
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    monkeypatch.setattr(client, "WAIT", 0.0)
    with fake_hub(**{WRITER: "write", READER: "read"}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", WRITER)
        yield server
