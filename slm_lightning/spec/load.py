"""Spec files: which spec of a file is meant, with its variables filled in and its overrides set."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slm_lightning.errors import Problem, SpecError, UsageError
from slm_lightning.spec.parse import SUFFIXES, Form, parse, read_text, repeated_keys
from slm_lightning.spec.wording import did_you_mean, dotted, file_name, listed, name_of, shown

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
VARIABLE = re.compile(r"\$\{(\w+)\}")
BARE_IN_YAML = re.compile(r"(?m)(?:(?<=[:,\[-] )|(?<=[\[,]))\$\{(\w+)\}(?=[ \t]*(?:[,\]}]|$))")
TEXT = re.compile(r'"(\\.|[^"\\])*"')
SECTIONS = frozenset({"agent", "env", "meta"})


@dataclass(frozen=True)
class RawSpec:
    """One spec as its author wrote it, not yet checked.

    ``native`` says that it was written for this lab: it gives ``meta.seed``, which SLM Lab's specs do
    not have. ``repeated`` are the paths of keys that stand in it twice. Raises SpecError for a name
    that is not 1 to 128 characters of ``A-Z a-z 0-9 _ . -``, and for a native spec with a key twice.
    """

    name: str
    data: dict[str, Any]
    path: Path | None = None
    native: bool = False
    repeated: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise SpecError.at(
                "name",
                f"{shown(self.name)} cannot name a spec; it takes 1 to 128 of A-Z a-z 0-9 _ . -"
                " and begins with a letter, digit or _",
            )
        if self.native and self.repeated:
            raise SpecError([Problem(path, "stands there twice") for path in self.repeated])


def load_spec(
    source: str | Path | Mapping[str, Any],
    name: str | None = None,
    variables: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> RawSpec:
    """The spec called ``name``, or the only one, of a JSON or YAML file or a dict.

    ``variables`` fill ``${name}`` in the text (``-s``), ``overrides`` set dotted paths (``--set``);
    text among their values is read as JSON where it is JSON. A variable ``env`` becomes a suffix of
    the spec's name. Raises SpecError for a file that cannot be read, a name that is not in it, and a
    variable without a value.
    """
    variables = variables or {}
    specs = read_specs(source, variables)
    name = _choose(specs, name, _label(source))
    path = None if isinstance(source, Mapping) else Path(source)
    return raw_spec(name, specs[name], path, overrides, _suffix(variables))


def raw_spec(
    name: str,
    entry: Mapping[str, Any],
    path: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    suffix: str = "",
) -> RawSpec:
    """One of the specs that :func:`read_specs` gave; ``suffix`` is added to its name. Raises SpecError
    for a variable without a value."""
    data = copied(entry)
    meta = data.get("meta")
    native = isinstance(meta, dict) and "seed" in meta
    for dotted_path, value in (overrides or {}).items():
        if not all(dotted_path.split(".")):
            raise SpecError.at("", f"--set {shown(dotted_path)}: write the path as a.b.c")
        put(data, dotted_path, json_or_text(value) if isinstance(value, str) else value)
    _refuse_placeholders(data)
    name = str(data.pop("name", name)) + suffix
    return RawSpec(name, data, path, native, tuple(repeated_keys(entry)))


def read_specs(
    source: str | Path | Mapping[str, Any], variables: Mapping[str, str] | None = None
) -> dict[str, dict[str, Any]]:
    """The specs of a file or dict by name, templates left out; see :func:`load_spec`.

    Where the top level is itself a spec (``name``, ``agent``, ``env``, ``meta``), it is that one.
    """
    where = _label(source)
    text, form = _text(source)
    text = _substitute(text, variables or {}, where)
    top = parse(_quoted(text, form), where, form)
    if not isinstance(top, dict):
        raise SpecError.at(where, "holds no spec: its top level maps names to specs")
    if twice := getattr(top, "repeated", ()):
        raise SpecError([Problem(f"{where}: {name_of(key)}", "stands there twice") for key in twice])
    if SECTIONS & top.keys():
        if not isinstance(top.get("name"), str):
            raise SpecError.at(f"{where}: name", "missing; a spec on its own says its name")
        return {top["name"]: top}
    return _entries(top, where)


def holds_specs(file: Path) -> bool:
    """Whether something in a file has a section of a spec, which is taken for granted where it says
    ``agent``. Raises SpecError where it cannot be read."""
    text, form = _text(file)
    if "agent" in text:
        return True
    top = parse(_quoted(text, form), _label(file), form)
    inner = [top, *top.values()] if isinstance(top, dict) else []
    return any(isinstance(entry, dict) and SECTIONS & entry.keys() for entry in inner)


def variables_in(source: str | Path | Mapping[str, Any]) -> set[str]:
    """The names that a file or dict says as ``${name}``. Raises SpecError where it cannot be read."""
    return set(VARIABLE.findall(_text(source)[0]))


def parse_assignments(texts: Iterable[str], option: str) -> dict[str, str]:
    """``["a=1", …]`` of a command line as a dict. Raises UsageError for one without a key or ``=``."""
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key.strip() or not equals:
            raise UsageError(f"{option} {shown(text)}: write it as KEY=VALUE")
        pairs[key.strip()] = value
    return pairs


def _label(source: str | Path | Mapping[str, Any]) -> str:
    """How messages call the source."""
    return "spec" if isinstance(source, Mapping) else file_name(source)


def _text(source: str | Path | Mapping[str, Any]) -> tuple[str, Form]:
    if not isinstance(source, Mapping):
        path = Path(source)
        return read_text(path), SUFFIXES[path.suffix.lower()]
    try:
        return json.dumps(dict(source)), "JSON"
    except (TypeError, ValueError, RecursionError) as error:
        raise SpecError.at(_label(source), f"is not plain data: {error}") from None


def _entries(top: dict[str, Any], where: str) -> dict[str, dict[str, Any]]:
    """Names that begin with _ are templates, but where a file has nothing else to run."""
    entries = {name: entry for name, entry in top.items() if name != "$schema"}
    specs = {name: entry for name, entry in entries.items() if not name.startswith("_")}
    specs = specs or {n: e for n, e in entries.items() if isinstance(e, dict) and "agent" in e}
    for name, entry in specs.items():
        if not isinstance(entry, dict):
            raise SpecError.at(f"{where}: {name_of(name)}", f"is {shown(entry)}, not a spec")
    if not specs:
        raise SpecError.at(where, "holds no spec")
    return specs


def _choose(specs: Mapping[str, Any], name: str | None, where: str) -> str:
    if name is None and len(specs) == 1:
        return next(iter(specs))
    names = listed(map(name_of, specs))
    if name is None:
        raise SpecError.at(where, "holds several specs", f"name one of {names}")
    if name not in specs:
        message = f"has no spec {shown(name)}{did_you_mean(name, specs)}"
        raise SpecError.at(where, message, f"it holds {names}")
    return name


def _substitute(text: str, variables: Mapping[str, str], where: str) -> str:
    """Numbers replace the quotes around them too, so that they are numbers to the parser."""
    known = set(VARIABLE.findall(text))
    problems = [
        Problem(where, f"-s {name_of(key)}: nothing here is ${{{name_of(key)}}}{hint}")
        for key in variables
        if key not in known
        for hint in [did_you_mean(key, known)]
    ]
    if problems:
        raise SpecError(problems)
    for key, value in variables.items():
        number = _canonical_number(value)
        if number is not None:
            text = text.replace(f'"${{{key}}}"', number)
        text = text.replace(f"${{{key}}}", value if number is None else number)
    return text


def _canonical_number(text: str) -> str | None:
    """``4e6`` as ``4000000``; None where ``text`` is no finite number."""
    try:
        return str(int(text))
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    return str(int(number)) if number.is_integer() else repr(number)


def _suffix(variables: Mapping[str, str]) -> str:
    """``ALE/Pong-v5`` as ``_pong``."""
    if "env" not in variables:
        return ""
    return "_" + re.split(r"[/:]", variables["env"])[-1].split("-")[0].lower()


def put(data: dict[str, Any], dotted_path: str, value: Any) -> None:
    """Sets the key at a dotted path; sections that are not there are made. Raises SpecError where
    something on the way is no section."""
    *parents, last = dotted_path.split(".")
    section = data
    for depth, key in enumerate(parents):
        inner = section.get(key)
        if inner is None:
            inner = section[key] = {}
        if not isinstance(inner, dict):
            where = dotted(*parents[: depth + 1])
            raise SpecError.at(
                where, f"is {shown(inner)}, so there is no {name_of(dotted_path)} to set"
            )
        section = inner
    section[last] = value


def json_or_text(text: str) -> Any:
    """What ``text`` says as JSON; itself where it says nothing."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _refuse_placeholders(data: dict[str, Any]) -> None:
    found = _placeholders(data)
    if found:
        problems = [Problem(path, f"{shown(text)} has no value") for path, text in found]
        names = {name for _, text in found for name in VARIABLE.findall(text)}
        raise SpecError(problems, _how_to_fill(names))


def fill(value: Any, variables: Mapping[str, str]) -> Any:
    """Parsed data with ``variables`` in place of their names, as ``-s`` puts them into the text."""
    if isinstance(value, dict):
        return {key: fill(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, variables) for item in value]
    if not isinstance(value, str):
        return value
    numbers = {key: _canonical_number(text) for key, text in variables.items()}
    whole = VARIABLE.fullmatch(value)
    if whole and (number := numbers.get(whole[1])) is not None:
        return json.loads(number)
    return VARIABLE.sub(lambda m: numbers.get(m[1]) or variables.get(m[1], m[0]), value)


def _quoted(text: str, form: Form) -> str:
    """``text`` in which variables without quotes have them, so that it can be parsed."""
    if form == "YAML":
        return BARE_IN_YAML.sub(r'"${\1}"', text)
    pieces = []
    end = 0
    for string in TEXT.finditer(text):
        pieces += [VARIABLE.sub(r'"${\1}"', text[end : string.start()]), string[0]]
        end = string.end()
    return "".join([*pieces, VARIABLE.sub(r'"${\1}"', text[end:])])


def _placeholders(value: Any, *keys: object) -> list[tuple[str, str]]:
    """Path and text of every leaf that still says ``${…}``."""
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        return [hit for key, item in inner for hit in _placeholders(item, *keys, key)]
    unfilled = isinstance(value, str) and VARIABLE.search(value)
    return [(dotted(*keys), value)] if unfilled else []


def _how_to_fill(names: Iterable[str]) -> str:
    return f"add {' '.join(f'-s {name}=VALUE' for name in sorted(names))}"


def copied(value: Any) -> Any:
    """A deep copy in which nothing is shared, unlike what YAML's aliases give."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return [copied(item) for item in value] if isinstance(value, list) else value
