"""The result pages: what they say, that they are the same twice, and that a wrong one is found."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from slm_lightning.api.benchmarks import PAGES, write_benchmark_pages
from slm_lightning.lab.benchmark import pages, standing
from slm_lightning.lab.benchmark.pages import collect, disagreements, write_pages
from slm_lightning.lab.benchmark.picture import draw, is_drawn
from slm_lightning.lab.benchmark.results import from_record, read
from slm_lightning.lab.benchmark.sets import BenchmarkSet, read_sets
from slm_lightning.lab.benchmark.standing import Entry
from slm_lightning.lab.report.known_scores import KnownScore
from slm_lightning.lab.result import Result
from slm_lightning.lab.wording import number
from slm_lightning.tracking import Record
from tests.conftest import isolate
from tests.lab.benchmark.support import two_specs, write_set
from tests.support import REPOSITORY, Lab, tiny, write_spec


@pytest.fixture
def sets(finished: Result, finished_record: Record, tmp_path: Path) -> list[BenchmarkSet]:
    """The finished trial, the same in another environment, and an algorithm that was not run."""
    spec = write_spec(tmp_path / "done.json", tiny("done"))
    other = {"spec": str(spec), "overrides": {"env.name": "Acrobot-v1"}}
    return read_sets([write_set(tmp_path, [str(spec), str(two_specs(tmp_path)[1]), other])])


@pytest.fixture
def folder(sets: list[BenchmarkSet], finished_record: Record, tmp_path: Path) -> Path:
    """The pages, without pictures."""
    place = tmp_path / "pages"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(pages, "draw", lambda figures: False)
        collect(sets, place, finished_record)
        write_pages(sets, place)
    return place


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def without_pictures(found: list[str]) -> list[str]:
    return [line for line in found if ".png" not in line]


def test_the_pages_of_the_repository_say_what_their_record_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To write them anew: slm-lightning benchmark page."""
    monkeypatch.chdir(REPOSITORY)
    assert disagreements(read_sets(), PAGES, Record()) == []


def test_a_page_says_what_the_record_holds(folder: Path, finished: Result) -> None:
    text = (folder / "CartPole-v1.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| [A2C]"))
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    scalars = finished.scalars
    assert cells[1].startswith(f"{number(scalars['score'])} ({number(scalars['score_ci_low'])} to ")
    assert cells[2].startswith(f"{number(scalars['eval_score'])} (")
    assert cells[3] == "496.7 after 200\u202f000 frames", "not compared: other frames"
    assert cells[4:7] == ["not reached", "1\u202f984", "2"]
    assert finished.run_id[:8] in cells[9]
    assert "| [REINFORCE](../reinforce.json) | not run |" in text
    overview = (folder / "README.md").read_text()
    assert "1 of 3 rows are run" in overview
    assert re.search(r"\| A2C \| \S+ ✗ \| – \|", overview)


def test_the_same_record_gives_the_same_bytes(
    folder: Path, sets: list[BenchmarkSet], finished_record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "draw", lambda figures: True)
    before = contents(folder)
    assert collect(sets, folder, finished_record) == []
    assert write_pages(sets, folder)[0] == [] and contents(folder) == before
    shutil.rmtree(folder)
    collect(sets, folder, finished_record)
    write_pages(sets, folder)
    assert contents(folder) == before


def test_pages_need_no_other_record_than_their_own(
    folder: Path, sets: list[BenchmarkSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, tmp_path / "nothing")
    copy = tmp_path / "copy" / "pages"
    shutil.copytree(folder / "record", copy / "record")
    monkeypatch.setattr(pages, "draw", lambda figures: True)
    _, written, _ = write_benchmark_pages([sets[0].path], copy)
    assert {path.name for path in written} == {"README.md", "CartPole-v1.md", "Acrobot-v1.md"}
    for name in ("README.md", "CartPole-v1.md"):
        assert (copy / name).read_text() == (folder / name).read_text().replace("](../", "](../../")
    assert not (tmp_path / "nothing").exists()


def test_what_is_kept_is_the_record_to_the_last_bit(
    folder: Path, sets: list[BenchmarkSet], finished: Result, finished_record: Record
) -> None:
    row, run = sets[0].rows[0], finished_record.get(finished.run_id)
    kept = read(row, folder / "record")
    assert kept is not None and kept.files() == from_record(finished_record, run).files()
    for session, table in zip(finished.sessions, kept.tables, strict=True):
        recorded = finished_record.history(session.run_id)
        pd.testing.assert_frame_equal(table, recorded[table.columns], check_exact=True)
    for name, value in kept.scalars.items():
        assert value == pytest.approx(finished.scalars[name], nan_ok=True), name
    assert kept.key == row.key


def test_a_wrong_number_is_found(
    folder: Path, sets: list[BenchmarkSet], finished_record: Record
) -> None:
    assert without_pictures(disagreements(sets, folder, finished_record)) == []
    page = folder / "CartPole-v1.md"
    text = page.read_text()
    page.write_text(text.replace(") | ", ") | 1", 1))
    (line,) = without_pictures(disagreements(sets, folder, finished_record))
    assert line.startswith(f"{page}:9: says") and "where the record says" in line
    page.write_text(text)
    kept = folder / "record" / "CartPole-v1" / "A2C.csv"
    rows = kept.read_text()
    kept.write_text(re.sub(r"^1,400,(\d+),\d+", r"1,400,\1,99", rows, flags=re.MULTILINE))
    assert kept.read_text() != rows
    found = without_pictures(disagreements(sets, folder, finished_record))
    assert any(line.startswith(f"{kept}:") and "recorded" in line for line in found)
    assert any(line.startswith(f"{page}:9: says") for line in found)


def test_a_result_counts_until_its_setting_changes(
    folder: Path, sets: list[BenchmarkSet], tmp_path: Path
) -> None:
    row = sets[0].rows[0]
    assert Entry(row, read(row, folder / "record"), 400.0).result is not None
    write_spec(tmp_path / "done.json", tiny("done", algorithm={"gamma": 0.9}))
    changed = read_sets([sets[0].path])
    assert Entry(changed[0].rows[0], read(row, folder / "record"), 400.0).result is None
    text = dict(page_texts(changed, folder))["CartPole-v1.md"]
    assert "its setting has changed since run" in text and "`agent.algorithm.gamma`" in text


def page_texts(sets: list[BenchmarkSet], folder: Path) -> Iterator[tuple[str, str]]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(pages, "draw", lambda figures: True)
        write_pages(sets, folder)
    yield from ((path.name, path.read_text()) for path in folder.glob("*.md"))


def test_a_session_that_failed_is_in_no_score(folder: Path, sets: list[BenchmarkSet]) -> None:
    kept = folder / "record" / "CartPole-v1" / "A2C.json"
    facts = json.loads(kept.read_text())
    facts["status"] = facts["sessions"][1]["status"] = "diverged"
    facts["sessions"][1]["reason"] = "the loss is nan at frame 640"
    kept.write_text(json.dumps(facts))
    text = dict(page_texts(sets, folder))["CartPole-v1.md"]
    assert "| diverged |" in text and "| 1/2 |" in text
    assert "A2C: session 1 diverged: the loss is nan at frame 640" in text


def test_frames_are_those_that_were_trained(folder: Path, sets: list[BenchmarkSet]) -> None:
    """Of which the spec gives more where they are no whole rounds."""
    kept = folder / "record" / "CartPole-v1" / "A2C.csv"
    rows = kept.read_text().splitlines(keepends=True)
    kept.write_text("".join(row for row in rows if ",1984," not in row))
    text = dict(page_texts(sets, folder))["CartPole-v1.md"]
    assert "| 1\u202f800 of 1\u202f984 | 2 |" in text


def test_bold_is_at_least_the_published_score(
    folder: Path, sets: list[BenchmarkSet], finished: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On every page, and where it had as many frames."""
    score = finished.scalars["score"]
    for published, bold in ((score, True), (score + 1, False)):
        known = {"CartPole-v1": {"A2C": KnownScore(published, "A2C", 1984)}}
        monkeypatch.setattr(standing, "known_scores", lambda known=known: known)
        text = dict(page_texts(sets, folder))
        shown = f"**{number(score)}**"
        assert (f"| {shown} (" in text["CartPole-v1.md"]) is bold
        assert (f"| {shown} ✗" in text["README.md"]) is bold


def test_pictures_say_what_they_show(folder: Path, sets: list[BenchmarkSet], tmp_path: Path) -> None:
    """Drawn once, the same bytes each time, and found out where they show something else."""
    found = pages.environments(sets, folder / "record")
    ((path, figure),) = pages._figures(found, folder).items()
    assert path.name == "CartPole-v1.png" and not is_drawn(figure, path)
    if not draw({path: figure, tmp_path / "again.png": figure}):
        pytest.skip("no browser")
    assert path.read_bytes() == (tmp_path / "again.png").read_bytes()
    assert is_drawn(figure, path)
    figure.update_layout(height=400)
    assert not is_drawn(figure, path)


def test_the_commands(sets: list[BenchmarkSet], lab: Lab, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(pages, "draw", lambda figures: True)
    monkeypatch.setattr(pages, "is_drawn", lambda figure, path: True)
    where = ("--folder", tmp_path / "pages")
    first = lab("benchmark", "page", sets[0].path, *where)
    assert first.code == 0 and "3 pages changed" in first.out and "CartPole-v1/A2C" in first.out
    assert lab("benchmark", "page", sets[0].path, *where, "--check").code == 0
    overview = tmp_path / "pages" / "README.md"
    overview.write_text(overview.read_text().replace("✗", "✓"))
    wrong = lab("benchmark", "page", sets[0].path, *where, "--check")
    assert wrong.code == 7 and "README.md:" in wrong.err
    assert f"benchmark page {sets[0].path} --folder {where[1]}" in wrong.err


@pytest.mark.parametrize("check", [[], ["--check"]])
def test_a_folder_that_cannot_be(check: list[str], lab: Lab, tmp_path: Path, record: Record) -> None:
    path = write_set(tmp_path, [str(two_specs(tmp_path)[0])])
    (tmp_path / "file").write_text("no folder")
    answer = lab("benchmark", "page", path, "--folder", tmp_path / "file" / "pages", *check)
    assert answer.code == (7 if check else 6), answer.err
    assert str(tmp_path / "file") in answer.err and "--folder" in answer.err
