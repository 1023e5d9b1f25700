"""What is uploaded: every file of it, its card, and what must never be in it."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from huggingface_hub import ModelCard
from imageio_ffmpeg import count_frames_and_secs

from slm_lightning.lab.bundle import read_weights
from slm_lightning.lab.wording import number
from slm_lightning.tracking import Record
from tests.support import Answer, Lab

pytestmark = pytest.mark.usefixtures("no_pictures")
FILES = {
    *(
        "README.md",
        "policy.safetensors",
        "bundle.json",
        "spec.json",
        "spec_resolved.json",
        "replay.mp4",
    ),
    *("record.json", "metrics.csv", "results.json", "publication.json", "provenance/requirements.txt"),
    *("provenance/machine.json", "provenance/command.txt"),
}


def written(lab: Lab, run: str, folder: Path) -> Answer:
    return lab("publish", run, "--dry-run", folder, "--episodes", 2)


def test_a_trial(finished_record: Record, lab: Lab, tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    answer = written(lab, "tiny_t0", folder)
    assert answer.code == 0, answer.err
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert names - {"provenance/git.diff"} == FILES
    results = json.loads((folder / "results.json").read_text())
    returns = results["returns"]
    assert (results["env_id"], results["n_eval_episodes"], len(returns)) == ("CartPole-v1", 2, 2)
    assert (results["mean_reward"], results["std_reward"]) == (np.mean(returns), np.std(returns))
    frames, seconds = count_frames_and_secs(str(folder / "replay.mp4"))
    shown = re.search(r"with a return of\s+(\d+)", (folder / "README.md").read_text())
    assert shown and frames in (int(shown[1]), int(shown[1]) + 1) and seconds == frames / 50
    _check_rows(folder, finished_record)
    _check_card(folder, results["mean_reward"], results["std_reward"])
    manifest = json.loads((folder / "publication.json").read_text())
    assert manifest["files"].keys() == names - {"README.md", "publication.json"}
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert any("normalizers" in name for name in read_weights(folder / "policy.safetensors"))


def _check_rows(folder: Path, record: Record) -> None:
    """Every row of every session is there, digit by digit."""
    rows = pd.read_csv(folder / "metrics.csv", dtype=str, keep_default_na=False)
    for session in "01":
        stored = record.download(record.find(f"tiny_t0_s{session}").run_id, "tables/metrics.csv")
        mine = rows[rows["session"] == session].drop(columns=["trial", "session"])
        assert mine.to_csv(index=False) == stored.read_text()


def _check_card(folder: Path, mean: float, std: float) -> None:
    card = ModelCard.load(folder / "README.md")
    assert (card.data.library_name, card.data.pipeline_tag) == (
        "slm-lightning",
        "reinforcement-learning",
    )
    assert {"CartPole-v1", "actorcritic", "slm-lightning"} <= set(card.data.tags)
    best = card.data.eval_results[0]
    assert (best.dataset_name, best.metric_type) == ("CartPole-v1", "mean_reward")
    assert best.metric_value == f"{mean:.2f} +/- {std:.2f}"
    linked = re.findall(r"\]\((?!http)([^)]+)\)", card.text)
    assert linked and all((folder / name).exists() for name in linked)
    for line in ("slm-lightning enjoy hf://USER/NAME", "slm-lightning reproduce hf://USER/NAME"):
        assert line in card.text
    frames = pd.read_csv(folder / "metrics.csv")["frame"].max()
    assert f"trained on `CartPole-v1` for {number(frames, 12)} frames" in card.text
    assert "| `agent.algorithm.gamma` | `0.99` |" in card.text


def test_a_session_by_itself(finished_record: Record, lab: Lab, tmp_path: Path) -> None:
    assert written(lab, "tiny_t0_s0", tmp_path / "repository").code == 0
    runs = json.loads((tmp_path / "repository/record.json").read_text())["runs"]
    assert [run["name"] for run in runs] == ["tiny_t0", "tiny_t0_s0"]
    rows = pd.read_csv(tmp_path / "repository/metrics.csv")
    assert set(rows["session"]) == {0}
    about = json.loads((tmp_path / "repository/bundle.json").read_text())
    assert about["run_id"] == runs[1]["id"]


def test_who_ran_it_stays_here(finished_record: Record, lab: Lab, tmp_path: Path) -> None:
    finished_record.set_tags(finished_record.find("tiny_t0").run_id, {"mlflow.user": "somebody"})
    assert written(lab, "tiny_t0", tmp_path / "repository").code == 0
    text = (tmp_path / "repository/record.json").read_text()
    assert "somebody" not in text and "mlflow.user" not in text


class TestNothingIsWritten:
    def test_where_a_secret_would_go_out(
        self, finished_record: Record, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MY_API_KEY", "choreographer")  # the name of a recorded package
        answer = written(lab, "tiny_t0", tmp_path / "repository")
        assert answer.code == 8
        assert re.search(r"provenance/\S+ of tiny_t0 holds what looks like a secret", answer.err)
        assert "choreographer" not in answer.err
        assert not (tmp_path / "repository").exists()

    def test_into_a_folder_that_is_there(
        self, finished_record: Record, lab: Lab, tmp_path: Path
    ) -> None:
        (tmp_path / "mine").write_text("mine")
        answer = written(lab, "tiny_t0", tmp_path)
        assert (answer.code, answer.out) == (2, "") and "exists already" in answer.err
        assert (tmp_path / "mine").read_text() == "mine"

    def test_without_saying_where(self, finished_record: Record, lab: Lab) -> None:
        answer = lab("publish", "tiny_t0")
        assert answer.code == 2 and "add --repo USER/NAME, or set SLM_HUB_REPO" in answer.err
