"""From the text of a spec file to plain data: JSON or YAML, and nothing that is not plain.

Plain data is what JSON can say: objects with text keys, lists, text, finite numbers, booleans, null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, cast

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode

from slm_lightning.errors import Problem, SpecError
from slm_lightning.spec.wording import closest, dotted, file_name, shown

Form = Literal["JSON", "YAML"]
SUFFIXES: dict[str, Form] = {".json": "JSON", ".yaml": "YAML", ".yml": "YAML"}
MAX_BYTES = 2**20
MAX_DEPTH = 64
MAX_VALUES = 1_000_000


def read_text(path: Path) -> str:
    """The text of a spec file. Raises SpecError where it is no readable UTF-8 file of at most 1 MiB."""
    where = file_name(path)
    try:
        if path.is_dir():
            raise SpecError.at(where, "is a folder, not a spec file", _files_in(path))
        if not path.exists():
            raise SpecError.at(where, "no such file", _files_near(path))
        if not path.is_file():
            raise SpecError.at(where, "is not a regular file")
        if path.suffix.lower() not in SUFFIXES:
            raise SpecError.at(where, f"a spec file ends in {', '.join(SUFFIXES)}")
        if path.stat().st_size > MAX_BYTES:
            raise SpecError.at(where, "is larger than 1 MiB, which no spec is")
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise SpecError.at(where, f"cannot be read: {getattr(error, 'strerror', error)}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SpecError.at(where, f"line {line} is not UTF-8 text") from None


def parse(text: str, where: str, form: Form) -> Any:
    """The plain data that ``text`` says. Raises SpecError, its paths beginning with ``where``."""
    try:
        data = _parse_json(text) if form == "JSON" else yaml.load(text, _YamlLoader)
    except json.JSONDecodeError as error:
        raise _syntax_error(where, error.lineno, error.colno, form, error.msg) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise _syntax_error(where, line, column, form, error.problem or error.context or "") from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        detail = "a character that text may not hold"
        raise _syntax_error(where, line, column, form, detail) from None
    except RecursionError:
        raise SpecError.at(where, f"is nested deeper than {MAX_DEPTH} levels") from None
    problems = plain_problems(data)
    if problems:
        raise SpecError([Problem(f"{where}: {p.path}", p.message) for p in problems])
    return data


def plain_problems(data: Any) -> list[Problem]:
    """Whatever in ``data`` is not plain, by path."""
    problems: list[Problem] = []
    seen = 0
    stack: list[tuple[tuple[object, ...], Any]] = [((), data)]
    while stack:
        keys, value = stack.pop()
        seen += 1
        if len(keys) > MAX_DEPTH:
            return [Problem(dotted(*keys[:3], "…"), f"is nested deeper than {MAX_DEPTH} levels")]
        if seen > MAX_VALUES:
            return [Problem(dotted(*keys[:3], "…"), "aliases multiply to more than a million values")]
        if isinstance(value, dict):
            stack += [((*keys, key), value[key]) for key in reversed(value)]
            bad = [key for key in value if not isinstance(key, str) or not _encodable(key)]
            problems += [Problem(dotted(*keys), f"the key {shown(key)} is not text") for key in bad]
        elif isinstance(value, list):
            stack += [((*keys, i), value[i]) for i in reversed(range(len(value)))]
        elif message := _not_plain(value):
            problems.append(Problem(dotted(*keys), message))
    return problems


def repeated_keys(data: Any, *keys: object) -> list[str]:
    """The paths of keys of parsed ``data`` that its text gives more than once; the last one counts."""
    if not isinstance(data, dict):
        items = enumerate(data) if isinstance(data, list) else ()
        return [path for i, value in items for path in repeated_keys(value, *keys, i)]
    own = [dotted(*keys, key) for key in getattr(data, "repeated", ())]
    return own + [path for key in data for path in repeated_keys(data[key], *keys, key)]


def _not_plain(value: Any) -> str:
    if isinstance(value, str):
        return "" if _encodable(value) else "is not valid Unicode text"
    if isinstance(value, float):
        return "" if math.isfinite(value) else "is not a finite number"
    plain = value is None or isinstance(value, bool | int)
    return "" if plain else f"is a {type(value).__name__}, which JSON cannot say"


def _encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _syntax_error(where: str, line: int, column: int, form: Form, detail: str) -> SpecError:
    detail = " ".join(detail.split()).removesuffix(" starting at")
    message = f"line {line}, column {column} is not valid {form}: {detail[:1].lower()}{detail[1:]}"
    return SpecError.at(where, message)


def _files_in(folder: Path) -> str:
    names = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    return f"it holds {', '.join(names[:10])}" if names else ""


def _files_near(path: Path) -> str:
    known = [*path.parent.glob("*"), *Path("specs").glob("**/*")]
    known = [p for p in known if p.suffix.lower() in SUFFIXES]
    stem = closest(path.stem, {p.stem for p in known})
    near = sorted({str(p) for p in known if p.stem == stem})[:3]
    return f"did you mean {' or '.join(near)}?" if near else ""


class _Repeated(dict[str, Any]):
    """An object with keys that its text gives more than once."""

    repeated: list[str]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) == len(pairs):
        return data
    flawed = _Repeated(data)
    flawed.repeated = _repeated([key for key, _ in pairs])
    return flawed


def _repeated(keys: list[str]) -> list[str]:
    return sorted({key for key in keys if keys.count(key) > 1})


def _mapping(loader: _YamlLoader, node: MappingNode) -> Iterator[dict[str, Any]]:
    """As PyYAML makes it, but for keys that stand there twice."""
    data: dict[str, Any] = {}
    if repeated := loader.repeated.get(node):
        data = flawed = _Repeated()
        flawed.repeated = repeated
    yield data
    data.update(cast("dict[str, Any]", loader.construct_mapping(node)))


def _parse_json(text: str) -> Any:
    """An integer too long for Python to read becomes inf, which :func:`plain_problems` reports."""
    return json.loads(
        text,
        object_pairs_hook=_object,
        parse_int=lambda digits: int(digits) if len(digits) < 400 else math.inf,
    )


def _scalar(construct: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def checked(loader: Any, node: Node) -> Any:
        try:
            return construct(loader, node)
        except (ValueError, LookupError):
            raise ConstructorError(None, None, "not a number", node.start_mark) from None

    return checked


_TAG = "tag:yaml.org,2002:"
_construct = yaml.SafeLoader.yaml_constructors
_plain_constructors: dict[str | None, Any] = {
    None: yaml.SafeLoader.construct_undefined,
    **{_TAG + kind: _construct[_TAG + kind] for kind in ("null", "str", "seq")},
    f"{_TAG}map": _mapping,
    **{_TAG + kind: _scalar(_construct[_TAG + kind]) for kind in ("bool", "int", "float")},
}


class _YamlLoader(yaml.SafeLoader):
    """YAML 1.1 without dates and tags: plain data only.

    ``repeated``: the keys that each mapping gives more than once, before others are merged into it.
    """

    yaml_constructors = _plain_constructors
    yaml_implicit_resolvers = {  # noqa: RUF012 - the stubs declare it
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, stream: Any):
        super().__init__(stream)
        self.repeated: dict[Node, list[str]] = {}

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        node = super().compose_mapping_node(anchor)
        keys = [key.value for key, _ in node.value if isinstance(key, ScalarNode) and key.value != "<<"]
        self.repeated[node] = _repeated(keys)
        return node
