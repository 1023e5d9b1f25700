from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.measure.page import PAGE, average, spread, table, write


def test_a_spread_is_the_median_between_the_extremes() -> None:
    assert spread([3.0, 1.0, 10.0]) == "3.00 (1.00–10.00)"
    assert spread([4.0, 2.0], 0) == "3 (2–4)"
    assert spread([2.345], 1) == "2.3"
    assert spread([]) == "–"


def test_an_average_leaves_out_what_was_not_measured() -> None:
    assert average([500.0, None, 400.0]) == "450.0, least 400.0"
    assert average([9.5]) == "9.5"
    assert average([None]) == "–"


def test_a_table_has_a_line_for_each_row() -> None:
    assert table(["a", "b"], [["1", "2"], ["3", "4"]]).splitlines() == [
        "| a | b |",
        "| --- | --- |",
        "| 1 | 2 |",
        "| 3 | 4 |",
    ]


def test_only_what_stands_between_the_marks_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "above <!-- a: begin -->old<!-- a: end --> <!-- b: begin -->kept<!-- b: end --> below"
    )
    for text in ("first", "second"):
        write("a", text, page)
    kept = "<!-- b: begin -->kept<!-- b: end --> below"
    assert page.read_text() == f"above <!-- a: begin -->\n\nsecond\n\n<!-- a: end --> {kept}"


def test_a_page_without_the_marks_is_refused_and_kept(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- a: begin --> no end")
    with pytest.raises(ValueError, match="no marks"):
        write("a", "text", page)
    assert page.read_text() == "<!-- a: begin --> no end"


@pytest.mark.parametrize("name", ["peers", "trial", "overhead", "gpu"])
def test_the_book_has_a_place_for_every_benchmark(name: str, tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    write(name, "these are the results", page)
    assert page.read_text(encoding="utf-8").count("these are the results") == 1
