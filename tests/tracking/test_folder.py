"""The working folder of a run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from slm_lightning.tracking.folder import RunFolder


def made(path: Path) -> RunFolder:
    path.mkdir(parents=True)
    (path / "metrics.jsonl").write_text("{}\n")
    (path / "checkpoints").mkdir()
    return RunFolder(path)


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a trial whose lab was killed while it deleted a session's folder would, resumed, take that
    session for one without rows."""

    def killed(path: Path, **_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path / "runs" / "first").remove()
    assert list((tmp_path / "runs").iterdir()) == []

    monkeypatch.undo()
    made(tmp_path / "runs" / "second").remove()
    assert [path.name for path in tmp_path.rglob("*")] == ["runs"], "what was left is deleted too"


def test_what_is_not_there_needs_no_deletion(tmp_path: Path) -> None:
    RunFolder(tmp_path / "runs" / "first").remove()
