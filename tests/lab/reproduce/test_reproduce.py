"""Recorded runs made again, with the code of then, in a repository that has moved on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support import PATIENCE, REPOSITORY, Answer, tiny, write_spec

OLD, NEW = "pi.log_prob(action) * advantage", "pi.log_prob(action) * advantage * 1.0000002"
SPEC = tiny(env={"max_frame": 640}, meta={"rigorous_eval": 0})
ONE = SPEC["tiny"]["meta"] | {"max_session": 1}
MINE = """
from gymnasium.envs.classic_control import CartPoleEnv

class Mine(CartPoleEnv):
    pass
"""


@dataclass(frozen=True)
class Workplace:
    """A repository with the package in it, and a folder beside it with specs and a record."""

    repository: Path
    folder: Path
    runs: dict[str, str] = field(default_factory=dict)
    """Ids of the runs that were made there, by name of the spec."""

    def lab(self, *arguments: str) -> Answer:
        """``slm-lightning`` of the repository, called in the folder."""
        done = subprocess.run(
            [sys.executable, "-P", "-m", "slm_lightning", *arguments],
            cwd=self.folder,
            env=os.environ
            | {"PYTHONPATH": str(self.repository), "SLM_MLRUNS": str(self.folder / "mlruns")}
            | {"BROWSER_PATH": os.devnull},  # pictures take seconds, and nothing is proven by them here
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def run(self, name: str, spec: dict[str, Any], *more: str) -> None:
        """Runs a spec."""
        file = write_spec(self.folder / f"{name}.json", {name: spec})
        answer = self.lab(*(more or ("run",)), str(file), "--json")
        assert answer.code == 0, answer.err
        self.runs[name] = json.loads(answer.out)["run_id"]

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments],
            cwd=self.repository,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def edit(self, old: str, new: str) -> None:
        """Changes a line of A2C."""
        file = self.repository / "slm_lightning" / "algorithms" / "a2c.py"
        text = file.read_text("utf-8")
        assert old in text
        file.write_text(text.replace(old, new, 1), "utf-8")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, empty_record: Path) -> Iterator[Workplace]:
    """Run ``then`` was made at the first commit, and ``dirty`` with changes that were not committed
    yet; the second commit changed a line of the algorithm."""
    top = tmp_path_factory.mktemp("workplace")
    place = Workplace(top / "repository", top / "mine")
    place.folder.mkdir()
    shutil.copytree(empty_record, place.folder / "mlruns")
    (place.folder / "mine.py").write_text(MINE, "utf-8")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "slm_lightning", place.repository / "slm_lightning", ignore=ignore)
    (place.repository / ".gitignore").write_text("__pycache__\n")
    place.git("init", "-q")
    place.git("add", ".")
    place.git("commit", "-qm", "then")
    place.run("then", SPEC["tiny"])
    place.edit(OLD, NEW)
    (place.repository / "slm_lightning" / "new.py").write_text("GAMMA = 0.5\n")
    own = {"name": "Mine-v0", "entry_point": "mine:Mine"}
    place.run("dirty", SPEC["tiny"] | {"env": SPEC["tiny"]["env"] | own, "meta": ONE})
    (place.repository / "slm_lightning" / "new.py").unlink()
    place.git("commit", "-qam", "now")
    yield place
    shutil.rmtree(top)


def test_a_run_of_an_older_commit(workplace: Workplace) -> None:
    answer = workplace.lab("reproduce", workplace.runs["then"])
    assert answer.code == 0, answer.err
    assert answer.out.startswith("bit-identical: 2 sessions, ")
    assert "code: commit" in answer.err and "uncommitted" not in answer.err
    assert workplace.git("worktree", "list").count("\n") == 0, "the worktree is gone"


def test_a_row_of_result_pages_by_its_commit(workplace: Workplace) -> None:
    (workplace.folder / "set.json").write_text('{"title": "Small", "rows": ["then.json"]}', "utf-8")
    assert workplace.lab("benchmark", "page", "set.json", "--folder", "pages").code == 0
    answer = workplace.lab("reproduce", "pages/record/CartPole-v1/A2C.json")
    assert answer.code == 0, answer.err
    assert answer.out.startswith("bit-identical: 2 sessions, ") and ", 2 states" in answer.out
    assert "CartPole-v1/A2C: 2 sessions to be made again" in answer.err


def test_a_changed_line_is_detected_and_located(workplace: Workplace) -> None:
    answer = workplace.lab("reproduce", workplace.runs["then"], "--here")
    assert answer.code == 7, answer.err
    assert "parts at block 4, frame 200 (its first row):" in answer.out
    assert "loss" in answer.out
    assert "likely reason: code that has changed since: algorithms/a2c.py" in answer.out
    kept = Path(answer.out.rsplit(" in ", 1)[1].strip())
    assert (kept / "mlflow.db").is_file()
    shutil.rmtree(kept.parent)


def test_verify_computes_up_to_a_block(workplace: Workplace) -> None:
    """With the code that is here, which is another than that of the run."""
    changed = json.loads(workplace.lab("verify", workplace.runs["then"], "--block", "5", "--json").out)
    assert not changed["identical"]
    assert changed["parted_at"] == {"block": 4, "frame": 200}
    assert "state" in changed["parted"]


def test_changes_that_were_not_committed(workplace: Workplace) -> None:
    """Those of the package; and an environment beside it, of the folder where the lab was called."""
    answer = workplace.lab("reproduce", workplace.runs["dirty"], "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["identical"]
    assert "with its uncommitted changes" in answer.err


def test_what_cannot_be_made_again_leaves_nothing(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spec that does not run with the code of here: its temporary folder is gone."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    file = workplace.repository / "slm_lightning" / "algorithms" / "a2c.py"
    text = file.read_text("utf-8")
    file.write_text(f"{text}\nraise RuntimeError('out of order')\n", "utf-8")
    try:
        answer = workplace.lab("reproduce", workplace.runs["then"], "--here")
    finally:
        file.write_text(text, "utf-8")
    assert answer.code in (1, 4)
    assert "out of order" in answer.err
    assert not list(tmp_path.glob("slm-lightning-reproduction-*"))


@pytest.mark.slow
def test_a_spec_file_and_a_commit(workplace: Workplace) -> None:
    answer = workplace.lab("reproduce", "then.json", "--commit", "HEAD~1")
    assert answer.code == 0, answer.err
    assert answer.out.startswith("bit-identical: 2 sessions")
    unknown = workplace.lab("reproduce", "then.json", "--commit", "0123456789")
    assert unknown.code == 2
    assert "commit 0123456789 is in no repository here" in unknown.err


@pytest.mark.slow
def test_a_search(workplace: Workplace) -> None:
    space = {"agent": {"algorithm": {"lam__uniform": [0.9, 1.0]}}}
    meta = SPEC["tiny"]["meta"] | {"max_trial": 2}
    workplace.run("search", SPEC["tiny"] | {"search": space, "meta": meta}, "search")
    answer = workplace.lab("reproduce", workplace.runs["search"], "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert found["identical"] and found["sessions"] == 4
