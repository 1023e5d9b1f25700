"""Every way a spec file can be wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slm_lightning.errors import SpecError
from slm_lightning.spec.load import load_spec
from tests.spec.conftest import PPO


def message_of(*args, **kwargs) -> str:
    with pytest.raises(SpecError) as caught:
        load_spec(*args, **kwargs)
    assert caught.value.exit_code == 2
    return f"{caught.value} | {caught.value.hint}"


class TestFiles:
    def test_missing(self, write, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        path = write({"a": PPO}, "cartpole.json")
        assert f"no such file | did you mean {path}?" in message_of(path.with_name("cartpol.json"))

    def test_missing_but_shipped(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        shipped = Path("specs/ppo/cartpole.json")
        shipped.parent.mkdir(parents=True)
        shipped.write_text("{}")
        assert f"did you mean {shipped}?" in message_of("benchmark/ppo/ppo_cartpole.json")

    def test_a_folder(self, write):
        path = write({"a": PPO}, "cartpole.json")
        assert "is a folder, not a spec file | it holds cartpole.json" in message_of(path.parent)

    def test_a_suffix_of_another_kind(self, write):
        assert "ends in .json, .yaml, .yml" in message_of(write("{}", "spec.txt"))

    def test_not_utf8(self, write):
        assert "line 2 is not UTF-8" in message_of(write(b'{"a":\n "\xff"}'))

    def test_too_large(self, write):
        assert "larger than 1 MiB" in message_of(write(" " * (2**20 + 1)))

    def test_a_pipe_is_not_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "spec.json")
        assert "is not a regular file" in message_of(tmp_path / "spec.json")

    @pytest.mark.parametrize("path", ["a\0.json", "x" * 5000 + ".json", "", "[*.json", "a/../b.json"])
    def test_paths_of_nothing(self, path, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert any(
            text in message_of(path) for text in ("no such file", "cannot be read", "is a folder")
        )


JSON_FAULTS = {
    "empty": ("", "line 1, column 1 is not valid JSON"),
    "comma": ('{"a": {\n  "b": 1,\n}}', "line 3, column 1 is not valid JSON|line 2, column 9"),
    "comment": ('{\n// no\n"a": 1}', "line 2, column 1 is not valid JSON"),
    "quotes": ("{'a': 1}", "line 1, column 2 is not valid JSON"),
    "cut": ('{"a": {"agent": {', "is not valid JSON"),
    "two": ('{"a": 1} {"b": 2}', "line 1, column 10 is not valid JSON"),
    "control character": ('{"a": "\x01"}', "line 1, column 8 is not valid JSON"),
    "spec twice": ('{"a": {"agent": {}}, "a": {"agent": {}}}', "a: stands there twice"),
    "NaN": ('{"a": {"agent": {"g": NaN}}}', "a.agent.g: is not a finite number"),
    "Infinity": ('{"a": {"agent": [1, -Infinity]}}', "a.agent.1: is not a finite number"),
    "1e999": ('{"a": {"agent": {"g": 1e999}}}', "a.agent.g: is not a finite number"),
    "5000 digits": ('{"a": {"agent": {"g": ' + "9" * 5000 + "}}}", "a.agent.g: is not a finite number"),
    "deep": ('{"a": ' * 100 + "1" + "}" * 100, "nested deeper than 64 levels"),
    "very deep": ("[" * 100_000, "nested deeper than 64 levels"),
    "lone surrogate": (r'{"a": {"agent": "\ud800"}}', "a.agent: is not valid Unicode text"),
    "surrogate key": (r'{"a": {"\ud800": 1}}', "is not text"),
    "list": ("[1, 2]", "holds no spec"),
    "number": ("3", "holds no spec"),
    "null": ("null", "holds no spec"),
    "nothing in it": ("{}", "holds no spec"),
    "templates only": ('{"_a": {"x": 1}}', "holds no spec"),
    "an entry that is none": ('{"a": 3}', "a: is 3, not a spec"),
}

YAML_FAULTS = {
    "empty": ("", "holds no spec"),
    "tab": ("a:\n\tb: 1", "line 2, column 1 is not valid YAML"),
    "colon": ("a: b: c", "line 1, column 5 is not valid YAML"),
    "open list": ("a: [1, 2", "is not valid YAML"),
    "alias of nothing": ("a: *x", "line 1, column 4 is not valid YAML: found undefined alias"),
    "not a number": ("a: {agent: {g: .nan}}", "a.agent.g: is not a finite number"),
    "infinite": ("a: {agent: {g: .inf}}", "a.agent.g: is not a finite number"),
    "5000 digits": ("a: {agent: {g: " + "9" * 5000 + "}}", "is not valid YAML: not a number"),
    "a number as key": ("a: {agent: {1: 2}}", "a.agent: the key 1 is not text"),
    "a list as key": ("a: {[1]: 2}", "is not valid YAML: found unhashable key"),
    "python": ("a: !!python/object/apply:os.system ['true']", "line 1, column 4 is not valid YAML"),
    "a tag of one's own": ("a: !x 1", "line 1, column 4 is not valid YAML"),
    "bytes": ("a: !!binary aGk=", "is not valid YAML"),
    "a wrong tag": ("a: !!int x", "is not valid YAML: not a number"),
    "two documents": ("a: 1\n---\nb: 2", "is not valid YAML"),
    "control character": ("a: \x01", "line 1, column 4 is not valid YAML"),
    "endless": ("a: &x [*x]", "nested deeper than 64 levels"),
    "deep": ("[" * 5000, "nested deeper than 64 levels"),
    "bomb": (
        "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
        + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi")),
        "aliases multiply",
    ),
    "a template that is none": ("a: 3", "a: is 3, not a spec"),
}


@pytest.mark.parametrize(
    "text, name",
    [
        ('{"a": {"agent": {"g": 1, "g": 2}, "meta": {"seed": 1}}}', "spec.json"),
        ("a:\n  agent:\n    g: 1\n    g: 2\n  meta: {seed: 1}", "spec.yaml"),
    ],
)
def test_a_key_twice(write, text, name):
    with pytest.raises(SpecError, match=r"^agent\.g: stands there twice$"):
        load_spec(write(text, name))


@pytest.mark.parametrize("text, expected", JSON_FAULTS.values(), ids=JSON_FAULTS)
def test_faulty_json(write, text, expected):
    message = message_of(write(text))
    assert "spec.json" in message and any(part in message for part in expected.split("|"))


@pytest.mark.parametrize("text, expected", YAML_FAULTS.values(), ids=YAML_FAULTS)
def test_faulty_yaml(write, text, expected):
    message = message_of(write(text, "spec.yaml"))
    assert "spec.yaml" in message and expected in message


@pytest.mark.parametrize(
    "source",
    [{"a": {1, 2}}, {"a": object()}, {"a": {"agent": b"x"}}, {"a": {"agent": {"x": float("nan")}}}],
)
def test_a_dict_that_is_not_plain(source):
    assert message_of(source).startswith("spec: ")


def test_a_dict_that_holds_itself():
    loop: dict = {}
    loop["a"] = loop
    assert "is not plain data" in message_of(loop)
