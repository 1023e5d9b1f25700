"""Whatever is wrong with a spec is told in sentences about it, before anything is made of it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from slm_lightning.api import prepare
from slm_lightning.errors import SpecError
from slm_lightning.lab.trial import Trial
from tests.fuzz.broken import FAULTS, Broken, broken_spec
from tests.support import PATIENCE, Lab, start_lab, tiny, write_spec

EACH = 100
COMMIT = range(0, 500, EACH)
SLOW = range(500, 10_000, EACH)
JARGON = ("pydantic", "Input should", "Traceback", "ValidationError", "<class", "object at 0x")
LONGEST = 20_000
"""Characters of all that is said about one spec."""


@pytest.mark.parametrize(
    "first", [*COMMIT, *(pytest.param(first, marks=pytest.mark.slow) for first in SLOW)]
)
def test_a_broken_spec_is_told(first, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(first, first + EACH):
        broken = broken_spec(number)
        file = write(broken, tmp_path)
        try:
            prepare(file)
        except SpecError as error:
            assert_told(str(error), broken, number)
        except Exception as error:
            pytest.fail(f"file {number}, {broken.fault}: {error!r}\n{broken.text[:2000]}")
        else:
            pytest.fail(f"file {number}, {broken.fault}: accepted\n{broken.text[:2000]}")
        assert os.listdir(tmp_path) == [file.name]


def write(broken: Broken, folder: Path) -> Path:
    file = folder / "spec.json"
    file.write_text(broken.text, encoding="utf-8")
    return file


def assert_told(said: str, broken: Broken, number: int) -> None:
    """One line for each problem, one of which begins with the path of the key at fault."""
    lines = said.splitlines()
    where = f"file {number}, {broken.fault}"
    assert all(line.strip() for line in lines) and len(said) < LONGEST, where
    assert not any(word in said for word in JARGON), f"{where}: {said}"
    assert any(broken.path in line for line in lines), f"{where}: no {broken.path} in {said}"


def test_every_fault_is_among_them():
    assert {broken_spec(number).fault for number in range(200)} == set(FAULTS)


@pytest.fixture
def refuses(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs ``slm-lightning run FILE …`` in an empty folder; the answer's code is as expected, nothing
    is created, and no trial is begun."""

    def begun(*arguments: object) -> None:
        raise AssertionError("a trial of a broken spec")

    monkeypatch.setattr(Trial, "create", begun)
    monkeypatch.setattr("slm_lightning.api.planning.warm_up", lambda: None)
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)

    def check(file: Path, *arguments: object, code: int = 2) -> str:
        answer = lab("run", file, *arguments)
        assert (answer.code, answer.out) == (code, ""), answer
        assert answer.err.startswith("error: ") and "Traceback" not in answer.err
        assert "not foreseen" not in answer.err
        assert os.listdir(empty) == [] and not Path(os.environ["SLM_MLRUNS"]).exists()
        return answer.err

    return check


@pytest.mark.parametrize("number", range(40))
def test_the_command_says_so_and_leaves_nothing(number, refuses, tmp_path):
    broken = broken_spec(number)
    assert broken.path in refuses(write(broken, tmp_path))


def test_the_command_as_users_run_it(tmp_path):
    """Whole processes, side by side."""
    processes = []
    for number in range(100, 102):
        folder = tmp_path / str(number)
        folder.mkdir()
        broken = broken_spec(number)
        file = write(broken, folder)
        processes.append((broken, folder, start_lab("run", file.name, cwd=folder)))
    for broken, folder, process in processes:
        out, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, out) == (2, ""), err
        assert err.startswith("error: ") and broken.path in err and "Traceback" not in err
        assert os.listdir(folder) == ["spec.json"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("spec.json", b"\xff\xfe{\x00}\x00", "line 1 is not UTF-8 text"),
        ("spec.json", b'{"a": {"agent": "\xc3\x28"}}', "line 1 is not UTF-8 text"),
        ("spec.json", b"\xef\xbb\xbf{", "is not valid JSON"),
        ("spec.json", b'{"a":\x00{}}', "line 1, column 6 is not valid JSON"),
        ("spec.yaml", b"a: !!python/object/apply:os.system [ls]", "is not valid YAML"),
        ("spec.yaml", b"a: &x {agent: *x}", "nested deeper than 64 levels"),
        ("spec.yaml", b"a: {agent: 2026-11-21}", "expected a section"),
        ("spec.yaml", b"a: {agent: {? [1] : 2}}", "is not valid YAML"),
        ("spec.yaml", b"%YAML 9.9\n---\n{}", "is not valid YAML"),
        ("spec.yml", b" " * (2**20 + 1), "is larger than 1 MiB"),
        ("spec.txt", b"{}", "a spec file ends in .json, .yaml, .yml"),
    ],
)
def test_a_file_that_is_no_spec(name, content, sentence, refuses, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert sentence in refuses(tmp_path / name)


def test_what_is_no_file(refuses, tmp_path):
    (tmp_path / "folder.json").mkdir()
    assert "is a folder" in refuses(tmp_path / "folder.json")
    os.mkfifo(tmp_path / "pipe.json")
    assert "is not a regular file" in refuses(tmp_path / "pipe.json")
    (tmp_path / "device.json").symlink_to(os.devnull)
    assert stat.S_ISCHR(os.stat(tmp_path / "device.json").st_mode)
    assert "is not a regular file" in refuses(tmp_path / "device.json")
    (tmp_path / "nowhere.json").symlink_to(tmp_path / "gone")
    assert "no such file" in refuses(tmp_path / "nowhere.json")
    assert "cannot be read: File name too long" in refuses(tmp_path / f"{'x' * 300}.json")


@pytest.mark.parametrize(
    "name", ["../../x", "/etc/x", "a\0b", "x" * 300, "🐍", "", " ", ".", "-x", "a b", "x\ny", "${HOME}"]
)
def test_a_name_that_no_spec_can_have(name, refuses, tmp_path):
    file = write_spec(tmp_path / "spec.json", tiny(name))
    assert "name: " in (said := refuses(file)) and "cannot name a spec" in said
