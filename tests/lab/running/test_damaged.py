"""Sessions whose checkpoint is damaged or whose disk is full: what the user hears, and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from slm_lightning.tracking import Record
from tests.support import Lab, faulty, tiny, write_spec

pytestmark = pytest.mark.usefixtures("no_pictures")


def test_a_damaged_checkpoint_is_refused_and_kept(lab: Lab, record: Record, tmp_path: Path) -> None:
    """It ends with 7; when a copy of the file is put back, the run goes on."""
    env = faulty("stop", session=0, once=str(tmp_path / "stopped"))
    spec = write_spec(tmp_path / "spec.json", tiny(env=env))
    assert lab("run", spec, "--sessions", 1).code == 75
    (session,) = record.children(record.find("tiny_t0").run_id)
    file = record.working_folder(session.run_id) / "checkpoints" / "ckpt-last.ckpt"
    whole = file.read_bytes()
    damaged = whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:]
    file.write_bytes(damaged)
    answer = lab("resume", "tiny_t0")
    assert answer.code == 7
    assert f"{file} is damaged" in answer.err and "Traceback" not in answer.err
    assert file.read_bytes() == damaged
    assert record.get(session.run_id).tags["slm.status"] == "failed"
    file.write_bytes(whole)
    assert lab("resume", "tiny_t0").code == 0
