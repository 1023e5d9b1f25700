"""Searches to the Hub and back, runs reproduced from there, and the films of several environments."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from imageio_ffmpeg import count_frames_and_secs

from slm_lightning import pull, reproduce, run, search
from slm_lightning.errors import IntegrityError
from slm_lightning.lab.report.findings import findings
from slm_lightning.lab.wording import spec_value
from slm_lightning.tracking import Record
from tests.hub.repositories import FakeHub
from tests.lab.publish.test_bringing import changed
from tests.lab.searching import LR, search_spec
from tests.support import REPOSITORY, Lab, needs, tiny

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_pictures")]


def silent(text: str) -> None:
    pass


def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    """An empty machine: no record, nothing fetched."""
    monkeypatch.setenv("SLM_MLRUNS", str(tmp_path / "elsewhere"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "other-cache"))
    return Record()


def test_a_search_comes_back_whole(
    hub: FakeHub, record: Record, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = search_spec({f"{LR}__loguniform": [1e-3, 1e-1]}, trials=3, sessions=2)
    spec["tiny"]["env"]["max_frame"] = 640
    found = search(spec, confirm=2, say=silent).findings
    assert lab("publish", found.run_id, "--repo", "me/search", "--episodes", 2).code == 0
    files = hub.repos["dataset", "me/search"].files
    assert {"winner/policy.safetensors", "replay.mp4", "metrics.csv"} <= files.keys()
    _check_card(files, record, found.best[0].run_id)
    other = elsewhere(tmp_path, monkeypatch)
    (back,) = pull("hf://me/search", say=silent)
    again = findings(other, back.run_id)
    for one, two in zip(
        [*found.trials, *found.confirmations], [*again.trials, *again.confirmations], strict=True
    ):
        assert (one.number, one.status, one.drawn, one.values) == (
            *(two.number, two.status, two.drawn, two.values),
        )
        assert one.scalars == two.scalars
        for mine, theirs in zip(record.children(one.run_id), other.children(two.run_id), strict=True):
            rows = [r.history(s.run_id) for r, s in ((record, mine), (other, theirs))]
            pd.testing.assert_frame_equal(*rows, check_exact=True)
    assert again.seconds == pytest.approx(found.seconds, abs=0.1)
    for command in (("report",), ("show",), ("enjoy", "--episodes", 2)):
        answer = lab(command[0], back.run_id, *command[1:])
        assert answer.code == 0, answer.err
    assert back.metrics.items() >= {"score": record.get(found.run_id).metrics["score"]}.items()
    hub.add("evil/search", changed(files, _better), kind="dataset")
    with pytest.raises(IntegrityError, match="says that score of tiny_t0 is 499"):
        pull("evil/search", say=silent)


def _check_card(files: dict[str, bytes], record: Record, best: str) -> None:
    """It shows what was searched, and of the winner its own values."""
    card = files["README.md"].decode()
    drawn = json.loads(record.get(best).tags["slm.drawn"])
    assert f"| `{LR}` | 0.001 to 0.1, on a logarithmic scale | " in card
    assert f"| `{LR}` | `{spec_value(drawn[LR])}` |" in card


def _better(runs: list[dict[str, Any]]) -> None:
    """What the search was told of a trial."""
    runs[1]["tags"]["slm.values"] = "[499.0]"


def test_what_was_pulled_is_reproduced_bit_for_bit(
    hub: FakeHub, record: Record, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = ["git", "status", "--porcelain", "--untracked-files=no"]
    dirty = subprocess.run(status, cwd=REPOSITORY, capture_output=True, text=True).stdout
    result = run(tiny(env={"max_frame": 640}), say=silent)
    assert lab("publish", result.run_id, "--repo", "me/policy", "--episodes", 1).code == 0
    elsewhere(tmp_path, monkeypatch)
    found = reproduce("hf://me/policy", here=bool(dirty), say=silent)
    assert found is not None and found.identical
    assert sum(compared.hashes for compared in found.compared.values()) > 2


CONV = {"type": "ConvNet", "conv_hid_layers": [[4, 8, 4, 0, 1]], "fc_hid_layers": [8]}
ENVIRONMENTS: dict[str, tuple[str, str, int, int]] = {
    "LunarLander-v3": ("Box2D", "box2d", 256, 50),
    "HalfCheetah-v5": ("mujoco", "mujoco", 1056, 20),
    "ALE/Pong-v5": ("ale_py", "atari", 2048, 15),
}
"""The package of each, its extra, frames in which an episode ends, and pictures a second."""


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_film_without_a_screen(
    record: Record, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    module, extra, max_frame, fps = ENVIRONMENTS[name]
    needs(module, extra)
    monkeypatch.delenv("DISPLAY", raising=False)
    env = {"name": name, "num_envs": 1, "max_frame": max_frame}
    spec = tiny(env=env, meta={"max_session": 1, "rigorous_eval": 0})
    if extra == "atari":
        net = spec["tiny"]["agent"]["net"]
        spec["tiny"]["agent"]["net"] = CONV | {"optim_spec": net["optim_spec"]}
    run(spec, say=silent)
    answer = lab("publish", "tiny_t0", "--dry-run", tmp_path / "out", "--episodes", 1)
    assert answer.code == 0 and "no recording" not in answer.err, answer.err
    frames, seconds = count_frames_and_secs(str(tmp_path / "out/replay.mp4"))
    card = (tmp_path / "out/README.md").read_text()
    assert "[replay.mp4](replay.mp4) is one greedy episode" in card
    assert frames > 20 and seconds == pytest.approx(frames / fps, abs=0.1)
    assert json.loads((tmp_path / "out/results.json").read_text())["env_id"] == name
