"""How a problem in a spec is put into words: short values, plain types, suggestions."""

from __future__ import annotations

import json
import types
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

SHOWN = 60
"""Characters of a value or name that a message repeats."""


def shown(value: Any, limit: int = SHOWN) -> str:
    """``value`` as JSON on one line, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    if not text.isprintable():
        text = json.dumps(value, default=str)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def name_of(key: object) -> str:
    """``key`` without quotes, on one line."""
    return shown(str(key))[1:].removesuffix('"')


def file_name(path: object) -> str:
    """A path on one line, whole but for absurd ones."""
    return shown(str(path), limit=500)[1:].removesuffix('"')


def dotted(*keys: object) -> str:
    """The path of nested keys: ``agent.net.hid_layers.0``."""
    return ".".join(name_of(key) for key in keys if key != "")


def edits(a: str, b: str) -> int:
    """Edit distance: insertions, deletions, substitutions, swaps of neighbours (Damerau, 1964)."""
    before: list[int] = []
    last = list(range(len(b) + 1))
    for i in range(1, len(a) + 1):
        row = [i]
        for j in range(1, len(b) + 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1]))
            if i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]


def similarity(a: str, b: str) -> float:
    """From 0, nothing in common, to 1, equal but for the case of letters."""
    return SequenceMatcher(None, a.lower(), b.lower()).ratio()


def closest(word: str, names: Iterable[str]) -> str | None:
    """The name that ``word`` was probably meant to be: two edits away, or 0.6 similar."""
    if len(word) > SHOWN:
        return None

    def distance(name: str) -> tuple[int, float]:
        return edits(word.lower(), name.lower()), -similarity(word, name)

    near = [
        (distance(name), name)
        for name in names
        if edits(word.lower(), name.lower()) < min(3, max(len(word), len(name)))
        or similarity(word, name) >= 0.6
    ]
    return min(near)[1] if near else None


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """``, did you mean "name"?``, or nothing where no name is near."""
    name = closest(word, names)
    return "" if name is None else f', did you mean "{name}"?'


def unknown(kind: str, name: str, names: Iterable[str]) -> str:
    """The sentence about a name that is none of ``names``."""
    names = list(names)
    return f"unknown {kind} {shown(name)}{did_you_mean(name, names) or f'; there are {listed(names)}'}"


def listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def expectation(field: FieldInfo) -> str:
    """What a field takes, in words: ``a number from 0 to 1``."""
    return _describe(field.annotation, field.metadata)


def _describe(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    if get_origin(annotation) is Annotated:
        annotation, *own = get_args(annotation)
        return _describe(annotation, [*own, *metadata])
    bounds = _bounds(metadata)
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        choices = list(dict.fromkeys(_describe(arg, metadata) for arg in args))
        return (", or " if any("," in choice for choice in choices) else " or ").join(choices)
    if hasattr(annotation, "_fields"):
        return f"[{', '.join(annotation._fields)}]"
    if origin is Literal:
        return " or ".join(shown(arg) for arg in args)
    if origin is list:
        longest = f" of at most {bounds['max_length']}" if "max_length" in bounds else ""
        return f"a list{longest}, each entry {_describe(args[0])}"
    if origin is tuple:
        return f"a list of {len(args)}, each entry {_describe(args[0])}"
    if origin is dict and args[1] is not Any:
        return f"a section, each value {_describe(args[1])}"
    if origin is dict or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return "a section"
    if annotation in (int, float):
        return ("a whole number" if annotation is int else "a number") + _range(bounds)
    return {bool: "true or false", str: "text", type(None): "null"}.get(annotation, "a value")


def _bounds(metadata: Sequence[Any]) -> dict[str, float]:
    """The limits among an annotation's marks; those of ``Field(...)`` are marks of its own."""
    found: dict[str, float] = {}
    for mark in metadata:
        if isinstance(mark, FieldInfo):
            found |= _bounds(mark.metadata)
        for limit in ("ge", "gt", "le", "lt", "max_length"):
            if getattr(mark, limit, None) is not None:
                found[limit] = getattr(mark, limit)
    return found


def _range(bounds: dict[str, float]) -> str:
    if "ge" in bounds and "le" in bounds:
        return f" from {short(bounds['ge'])} to {short(bounds['le'])}"
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    limits = [f"{word} {short(bounds[key])}" for key, word in words.items() if key in bounds]
    return f" {' and '.join(limits)}" if limits else ""


def short(number: float) -> str:
    """``number`` in at most nine characters: ``4096``, ``1.23e15``."""
    text = f"{number:g}" if abs(number) < 1e6 else f"{number:.3g}"
    return text.replace("e+0", "e").replace("e+", "e")
