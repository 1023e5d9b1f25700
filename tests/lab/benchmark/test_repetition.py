"""A row of the pages, run again from its two files."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slm_lightning.errors import UsageError
from slm_lightning.lab.benchmark.repetition import _sessions, is_row_file, kept_row, reproduce_row
from slm_lightning.lab.benchmark.results import from_record, write
from slm_lightning.lab.benchmark.searches import SUFFIX
from slm_lightning.lab.benchmark.sets import read_sets
from slm_lightning.lab.reproduce.original import Place
from slm_lightning.lab.result import Result
from slm_lightning.tracking import Record
from tests.lab.benchmark.support import write_set
from tests.support import REPOSITORY, Answer, Lab, tiny, write_spec

pytestmark = pytest.mark.usefixtures("no_pictures", "record")


@pytest.fixture
def kept(finished: Result, finished_record: Record, tmp_path: Path) -> Path:
    """The finished trial as the pages keep it; the record of the test knows nothing of it."""
    spec = write_spec(tmp_path / "done.json", tiny("done"))
    row = read_sets([write_set(tmp_path, [str(spec)])])[0].rows[0]
    write(from_record(finished_record, finished_record.get(finished.run_id)), row, tmp_path / "kept")
    return tmp_path / "kept" / "CartPole-v1" / "A2C.json"


def edit(path: Path, **changed: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changed), encoding="utf-8")


def discard(answer: Answer) -> None:
    """The repetition, which is kept where it differs."""
    shutil.rmtree(Path(answer.out.rsplit(" in ", 1)[1].strip()).parent)


def test_a_row_is_run_again_and_nothing_of_it_need_be_here(
    lab: Lab, kept: Path, finished: Result, record: Record
) -> None:
    answer = lab("reproduce", kept, "--here", "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert found["identical"] and found["run_id"] == finished.run_id
    assert found["sessions"] == found["hashes"] == len(finished.sessions)
    rows = len(kept.with_suffix(".csv").read_text().splitlines()) - 1
    assert rows > 10 and found["numbers"] >= 2 * rows, "score and updates of every row"
    assert "CartPole-v1/A2C: 2 sessions to be made again" in answer.err
    assert not record.exists or not record.runs(kind="trial"), "a repetition is no result"


def test_a_score_that_is_not_the_runs_is_found(lab: Lab, kept: Path) -> None:
    table = kept.with_suffix(".csv")
    lines = table.read_text().splitlines()
    session, frame, updates, score, evaluated = lines[3].split(",")
    lines[3] = ",".join([session, frame, updates, repr(float(score) + 1), evaluated])
    table.write_text("\n".join(lines) + "\n")
    answer = lab("reproduce", kept, "--here")
    assert answer.code == 7, answer.err
    assert f"session 0 parts at frame {frame} (2 rows before it equal):" in answer.out
    assert "total_reward" in answer.out and "1 other session bit-identical" in answer.out
    discard(answer)


def test_another_last_state_is_found(lab: Lab, kept: Path) -> None:
    sessions = json.loads(kept.read_text())["sessions"]
    sessions[1]["state"] = "62:0000000000000000"
    edit(kept, sessions=sessions)
    answer = lab("reproduce", kept, "--here")
    assert answer.code == 7 and "state '62:0000000000000000' -> " in answer.out, answer.out
    assert answer.out.startswith("session 1 parts at frame ")
    discard(answer)


def test_a_session_that_ended_in_another_way_is_found(lab: Lab, kept: Path) -> None:
    sessions = json.loads(kept.read_text())["sessions"]
    sessions[0]["status"] = "diverged"
    edit(kept, sessions=sessions)
    answer = lab("reproduce", kept, "--here")
    assert answer.code == 7, answer.err
    assert "session 0 differs: it was diverged, and the repetition done" in answer.out
    discard(answer)


def test_the_end_of_a_trial_before_it_was_extended_is_no_difference(kept: Path) -> None:
    """There it was evaluated, and a repetition that goes on is not."""
    lines = kept.with_suffix(".csv").read_text().splitlines()
    lines[3] += "9.5"
    kept.with_suffix(".csv").write_text("\n".join(lines) + "\n")
    told = _sessions(kept_row(kept))
    assert told[Place(None, 0)].evaluated == {int(lines[3].split(",")[1])}
    assert told[Place(None, 1)].evaluated == set()


def test_the_rows_of_the_repository_can_be_made_again() -> None:
    """As far as that can be seen without training 15 hours."""
    files = [
        path
        for path in (REPOSITORY / "docs" / "benchmarks" / "record").glob("*/*.json")
        if not path.name.endswith(SUFFIX)
    ]
    assert len(files) > 40
    for path in files:
        assert is_row_file(path) and not kept_row(path).dirty


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"sessions": []}, "its spec has 2 sessions, and 0 are kept"),
        ({"sessions": [{"run_id": "1"}]}, "missing 4 required positional arguments"),
        ({"packages": None}, "packages: "),
        ({"packages": {"torch": None}}, "packages.torch: "),
        ({"exact": ["x"]}, "exact: "),
        ({"commit": 5}, "commit: "),
        ({"spec": {}}, "'meta'"),
    ],
)
def test_a_file_that_is_no_row_any_more(changed: dict[str, Any], said: str, kept: Path) -> None:
    edit(kept, **changed)
    with pytest.raises(UsageError, match=re.escape(said)):
        reproduce_row(kept, True, "cpu", print)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.splitlines()[0] + "\n", "session 0 has no rows of numbers"),
        (lambda text: text + text.splitlines()[-1] + "\n", "in the order of their frames"),
        (lambda text: text + "7,1,1,1,1\n", "belong to no session"),
        (lambda text: text.replace(",200,", ",x,", 1), "session 0 has no rows of numbers"),
        (lambda text: text.replace(",200,", ",,", 1), "session 0 has no rows of numbers"),
        (lambda text: "", "No columns"),
    ],
)
def test_a_table_that_is_no_rows_any_more(change: Callable[[str], str], said: str, kept: Path) -> None:
    table = kept.with_suffix(".csv")
    assert ",200," in table.read_text()
    table.write_text(change(table.read_text()))
    with pytest.raises(UsageError, match=said):
        reproduce_row(kept, True, "cpu", print)


def test_what_cannot_be_made_again_is_refused(lab: Lab, kept: Path) -> None:
    edit(kept, dirty=True)
    answer = lab("reproduce", kept)
    assert answer.code == 2 and "uncommitted changes, which are not kept" in answer.err
    edit(kept, dirty=False, commit="0" * 40)
    answer = lab("reproduce", kept)
    assert answer.code == 2 and "commit 000000000000 is in no repository here" in answer.err
    answer = lab("reproduce", kept, "--commit", "HEAD")
    assert answer.code == 2 and "which names its commit itself" in answer.err
    kept.with_suffix(".csv").unlink()
    answer = lab("reproduce", kept)
    assert answer.code == 2 and "A2C.csv" in answer.err
    kept.write_text("{")
    answer = lab("reproduce", kept)
    assert answer.code == 2 and "is a file, and no row of result pages" in answer.err
