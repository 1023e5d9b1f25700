"""Secrets in specs are not recorded, and what is recorded does not pass for the spec."""

from __future__ import annotations

from pathlib import Path

import pytest

from slm_lightning.errors import SpecError
from slm_lightning.spec.blanks import refuse_blanks, unrecorded
from tests.support import Lab, faulty, tiny, write_spec

SECRET = {"env": {"name": "Mine-v0", "api_key": "a1b2c3d4e5f6"}, "agent": {"name": "A2C"}}


def test_a_secret_is_told_before_the_run() -> None:
    (note,) = unrecorded(SECRET)
    assert note.startswith("env.api_key: not recorded, since it looks like a secret")
    assert unrecorded({"env": {"name": "CartPole-v1"}}) == []


def test_what_was_not_recorded_is_refused() -> None:
    with pytest.raises(SpecError, match=r"env\.api_key: was not recorded"):
        refuse_blanks({"env": {"name": "Mine-v0", "api_key": "[redacted]"}})
    refuse_blanks(SECRET)


@pytest.mark.usefixtures("no_pictures")
def test_a_run_with_a_secret_is_not_resumed_without_it(lab: Lab, tmp_path: Path) -> None:
    """Its environment would be another one."""
    env = faulty("stop", session=0, token="hf_abcdefghijklmnop")
    file = write_spec(tmp_path / "spec.json", tiny(env=env, meta={"max_session": 1}))
    begun = lab("run", file)
    assert begun.code == 75
    assert "note: env.token: not recorded" in begun.err
    resumed = lab("resume", "tiny_t0")
    assert resumed.code == 2
    assert "env.token: was not recorded" in resumed.err
