"""How a row's setting was found: kept beside its result, shown on its page, checked with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from slm_lightning.lab.benchmark import pages
from slm_lightning.lab.benchmark.pages import collect, disagreements, write_pages
from slm_lightning.lab.benchmark.searches import read_search
from slm_lightning.lab.benchmark.sets import BenchmarkSet, read_sets
from slm_lightning.lab.report.findings import findings
from slm_lightning.lab.wording import number
from slm_lightning.tracking import Record
from tests.conftest import isolate
from tests.lab.benchmark.support import two_specs, write_set
from tests.lab.search_record import GAMMA, LAYERS, LR, MAX_FRAME, recorded


@pytest.fixture(scope="module")
def searched(empty_record: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, str]:
    """A record with a search of 16 trials, and its run."""
    root = tmp_path_factory.mktemp("searched") / "mlruns"
    shutil.copytree(empty_record, root)
    with pytest.MonkeyPatch.context() as monkeypatch:
        isolate(monkeypatch, root)
        record = Record()
        return record, recorded(record).finish()


@pytest.fixture(autouse=True)
def unpainted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "draw", lambda figures: True)


def the_set(folder: Path, run_id: str) -> list[BenchmarkSet]:
    a2c, reinforce = two_specs(folder)
    row = {"spec": str(a2c), "search": run_id[:8], "note": "γ is what matters."}
    return read_sets([write_set(folder, [row, str(reinforce)], note="Two of a kind.")])


def test_a_page_says_how_a_setting_was_found(searched: tuple[Record, str], tmp_path: Path) -> None:
    record, run_id = searched
    sets, folder = the_set(tmp_path, run_id), tmp_path / "pages"
    assert [row.id for row in collect(sets, folder, record)] == ["CartPole-v1/A2C"]
    write_pages(sets, folder)
    page = (folder / "CartPole-v1.md").read_text()
    found = findings(record, run_id)
    frames = sum(trial.frames for trial in found.trials)
    assert frames > 12 * MAX_FRAME
    drawn = ", ".join(f"`{path}`" for path in (LR, LAYERS, GAMMA))
    link = f"[`{run_id[:8]}`](record/CartPole-v1/A2C.search.json)"
    best = number(found.best[0].values[0])
    assert f"| A2C | {link} | {drawn} | 16 | {number(frames, 12)} | {best} |" in page
    assert "- A2C: γ is what matters." in page
    assert "\nTwo of a kind.\n" in (folder / "README.md").read_text()
    kept = json.loads((folder / "record" / "CartPole-v1" / "A2C.search.json").read_text())
    assert kept["spec"]["search"] and kept["trials"][found.best[0].number]["drawn"][LR]
    assert collect(sets, folder, record) == [] and write_pages(sets, folder)[0] == []


def test_it_is_checked_with_the_pages(searched: tuple[Record, str], tmp_path: Path) -> None:
    record, run_id = searched
    sets, folder = the_set(tmp_path, run_id), tmp_path / "pages"
    assert any(".search.json:1: not what run" in line for line in disagreements(sets, folder, record))
    collect(sets, folder, record)
    write_pages(sets, folder)
    assert disagreements(sets, folder, record) == []
    kept = folder / "record" / "CartPole-v1" / "A2C.search.json"
    kept.write_text(kept.read_text().replace('"status": "done"', '"status": "failed"', 1))
    (line,) = disagreements(sets, folder, record)
    assert line.startswith(f"{kept}:") and f"not what run {run_id[:8]} recorded" in line


def test_what_this_record_has_not_stays_as_it_is_kept(
    searched: tuple[Record, str], record: Record, tmp_path: Path
) -> None:
    known, run_id = searched
    sets, folder = the_set(tmp_path, run_id), tmp_path / "pages"
    collect(sets, folder, known)
    assert collect(sets, folder, record) == []
    kept = read_search(sets[0].rows[0], folder / "record")
    assert kept is not None and kept.run_id == run_id and kept.winner is not None
    other = the_set(tmp_path, "0" * 32)
    assert read_search(other[0].rows[0], folder / "record") is None
    write_pages(other, folder)
    assert "A2C: nothing is kept of its search `00000000`" in (folder / "CartPole-v1.md").read_text()
