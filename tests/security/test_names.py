"""Two hundred hostile names: none of them becomes a path that leads out of its folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from slm_lightning.errors import LabError, RefusedError, SpecError
from slm_lightning.foreign import look_over
from slm_lightning.spec.load import RawSpec
from slm_lightning.tracking import Record
from slm_lightning.tracking.store import slug
from tests.support import Lab, tiny, write_spec

UP = ("..", "../x", "../../etc/passwd", "a/../../x", "./../x", "..\\..\\x", "x/..", "....//x", "~/x")
ABSOLUTE = ("/etc/x", "//etc/x", "\\\\host\\share", "C:\\x", "C:/x", "file:///etc/x", "/proc/self/mem")
DEVICES = ("CON", "NUL", "COM1", "aux.txt", "con.json", "LPT9", "PRN:", "/dev/null", "x:stream")
STRANGE = (
    "a\0b",
    "a\nb",
    "a\rb",
    "a\tb",
    "a\x1b[2J",
    "a\x7f",
    "\u202egpj.x",
    "a\u200bb",
    "ａ",
    "💥",
    "é",
)
SHELL = ("$(id)", "`id`", "x;id", "x|id", "x&id", "x>y", "-rf", "--help", "*", "?", "x y", "x'y", 'x"y')
FORMS = ("{}", "%s", "{0.__class__}", "%2e%2e%2f", "..%2f..", "%00", "&lt;", "<script>", "${HOME}", "#")
EMPTY = (
    "",
    " ",
    ".",
    "...",
    " x",
    "x ",
    ".x",
    ".bashrc",
    ".git",
    ".ssh",
    "x" * 129,
    "x" * 300,
    "é" * 99,
)
SEEDS = [*UP, *ABSOLUTE, *DEVICES, *STRANGE, *SHELL, *FORMS, *EMPTY]
HOSTILE = list(dict.fromkeys([*SEEDS, *(f"{name}.json" for name in SEEDS), *(f"x{n}" for n in SEEDS)]))


def entries(folder: Path) -> Iterator[str]:
    yield from (str(path) for path in folder.rglob("*"))


def test_as_the_name_of_a_spec() -> None:
    """Refused, or one component of a path where it becomes one."""
    assert len(HOSTILE) >= 200
    for name in HOSTILE:
        try:
            RawSpec(name, {})
        except SpecError as error:
            assert "cannot name a spec" in str(error) and str(error).isprintable()
            continue
        place = slug(name)
        assert place == Path(place).name and place not in ("", ".", "..") and len(place) <= 64


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "a\0b", "x" * 300, "💥", "-rf", "."])
def test_a_run_of_that_name(name: str, lab: Lab, tmp_path: Path) -> None:
    spec = write_spec(tmp_path / "spec.json", tiny(name))
    answer = lab("run", spec)
    assert (answer.code, answer.out) == (2, "")
    assert "cannot name a spec" in answer.err and len(answer.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == [spec]


def test_as_a_folder_of_the_record(record: Record, tmp_path: Path) -> None:
    """Whoever uses the record in a program gives names past the checks of a spec."""
    outside = set(entries(tmp_path)) - set(entries(record.root))
    for name in HOSTILE[::40]:
        try:
            run_id = record.create_run(experiment=name, name=name, kind="trial")
            record.log_artifacts(run_id, write_spec(record.folder(run_id) / "spec.json", {}))
        except LabError:
            continue
        assert Path(record.get(run_id).artifact_uri).is_relative_to(record.root / "artifacts")
        record.finish(run_id, "FINISHED")
    assert set(entries(tmp_path)) - set(entries(record.root)) == outside


def test_as_a_member_of_a_bundle(tmp_path: Path) -> None:
    """What the file system lets anybody put there at all; whatever is let pass is a plain name."""
    refused = 0
    for number, name in enumerate(HOSTILE):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = Path(os.path.abspath(folder / name))
        if path.parent != folder:
            continue
        try:
            path.touch()
        except (OSError, ValueError):
            continue
        try:
            look_over(folder)
        except RefusedError as error:
            assert "nothing of the folder was opened" in str(error) and str(error).isprintable()
            refused += 1
        else:
            assert path.name.isascii() and path.suffix in (".json", ".txt") and path.name[0] not in ".-"
    assert refused >= 100
