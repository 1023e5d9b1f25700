"""The space of a search: the section ``search`` as dimensions, and what is drawn as a spec.

A key is ``<path>__<distribution>``, and sections may be nested or their names joined by dots. With
``__if__<other path>=<value>|<value>`` behind it, it is drawn only where the other one, which the search
draws too, took one of the values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from slm_lightning.errors import Problem, SpecError
from slm_lightning.spec.dimension import SEARCHABLE, Condition, Dimension, dimension_of, fingerprint
from slm_lightning.spec.load import RawSpec, copied, json_or_text, put
from slm_lightning.spec.model import Spec
from slm_lightning.spec.numeric import number
from slm_lightning.spec.wording import did_you_mean, shown, unknown

IF = "__if__"
OF_THE_SEARCH = ("search", "search_scheduler", "max_trial")
"""Keys of ``meta`` that tell a search how to go about it, and are no part of a setting."""
NOT_SEARCHED = (
    *("name", "search", "meta.seed", "meta.search_resources"),
    *(f"meta.{key}" for key in OF_THE_SEARCH),
)


@dataclass(frozen=True)
class Space:
    """The dimensions of a search; one that another depends on stands before it."""

    dimensions: tuple[Dimension, ...]

    @classmethod
    def of(cls, search: Mapping[str, Any] | None) -> Space:
        """The space of a section ``search``. Raises SpecError with all that is wrong with it."""
        reader = _Reader(search or {})
        if reader.problems:
            raise SpecError(reader.problems)
        return cls(tuple(sorted(reader.found.values(), key=lambda d: reader.depths[d.path])))

    @property
    def size(self) -> int | None:
        """How many settings there are; None where there is no end of them."""
        settings: dict[str, int | None] = {}
        dependent: dict[str, list[Dimension]] = {dimension.path: [] for dimension in self.dimensions}
        for dimension in reversed(self.dimensions):
            settings[dimension.path] = _settings(dimension, dependent[dimension.path], settings)
            if dimension.condition:
                dependent[dimension.condition.path].append(dimension)
        sizes = [settings[d.path] for d in self.dimensions if d.condition is None]
        return None if None in sizes else math.prod(n for n in sizes if n is not None)


def _settings(
    parent: Dimension, dependent: list[Dimension], settings: Mapping[str, int | None]
) -> int | None:
    """Settings of a dimension together with those that depend on it, whose own are known."""
    told = {fingerprint(v): v for d in dependent if d.condition for v in d.condition.values}
    total = None if parent.size is None else parent.size - len(told)
    for value in told.values():
        sizes = [settings[d.path] for d in dependent if d.active({parent.path: value})]
        if total is None or None in sizes:
            return None
        total += math.prod(size for size in sizes if size is not None)
    return total


def space_problems(search: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with a section ``search``, each by its key."""
    return _Reader(search).problems


def base_of(raw: RawSpec, spec: Spec) -> dict[str, Any]:
    """What settings are put into: a spec of this lab as its author wrote it, any other one resolved;
    with as many sessions as ``spec`` says."""
    data = copied(raw.data) if raw.native else spec.to_dict()
    data["meta"] = {**data["meta"], "max_session": spec.meta.max_session}
    return {key: value for key, value in data.items() if key not in ("name", "search")}


def substituted(base: Mapping[str, Any], drawn: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of ``base`` with the values ``drawn`` at their paths and nothing of the search: a complete
    spec. Raises SpecError where a path leads through what is no section."""
    data = {key: copied(value) for key, value in base.items() if key != "search"}
    if isinstance(data.get("meta"), dict):
        data["meta"] = {k: value for k, value in data["meta"].items() if k not in OF_THE_SEARCH}
    for path, value in drawn.items():
        put(data, path, copied(value))
    return data


def without(search: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    """A section ``search`` without the dimensions of these keys."""
    return _without(search, keys, "")


def _without(section: Mapping[str, Any], keys: Collection[str], path: str) -> dict[str, Any]:
    kept = {}
    for key, value in section.items():
        where = f"{path}.{key}" if path else key
        if isinstance(value, dict):
            kept[key] = _without(value, keys, where)
        elif where not in keys:
            kept[key] = value
    return kept


class _Entry(NamedTuple):
    """A key of ``search``: what it is called, where its value goes, and what it says."""

    key: str
    path: str
    distribution: str
    condition: str | None
    value: Any


def _entries(section: Mapping[str, Any], keys: tuple[str, ...] = ()) -> Iterator[_Entry]:
    for key, value in section.items():
        head, mark, condition = key.partition(IF)
        own, _, distribution = head.rpartition("__")
        if isinstance(value, dict) and not own and not mark:
            yield from _entries(value, (*keys, key))
        else:
            path = ".".join((*keys, own)) if own else ""
            whole = ".".join((*keys, key))
            yield _Entry(whole, path, distribution, condition if mark else None, value)


class _Reader:
    """Reads a section ``search`` and gathers every problem on the way.

    ``found`` are the dimensions by their paths, ``keys`` those of every path, sound or not. ``depths``
    counts what a dimension depends on, one behind the other; those in a circle have none.
    """

    def __init__(self, search: Mapping[str, Any]):
        self.problems: list[Problem] = []
        self.found: dict[str, Dimension] = {}
        self.keys: dict[str, str] = {}
        self.depths: dict[str, int] = {}
        entries = list(_entries(search))
        for entry in entries:
            self._attempt(entry, self._read)
        for entry in entries:
            if entry.condition is not None and entry.path in self.found:
                self._attempt(entry, self._depend)
        for path in self.found:
            self._measure(path)
        for entry in entries:
            if entry.path in self.found:
                self._attempt(entry, self._place)

    def _measure(self, path: str) -> None:
        """Notes the depth of a dimension and of all that it depends on."""
        chain: dict[str, None] = {}
        above: str | None = path
        while above is not None and above not in chain and above not in self.depths:
            chain[above] = None
            condition = self.found[above].condition
            above = condition.path if condition else None
        if above not in chain:
            depth = -1 if above is None else self.depths[above]
            self.depths |= {found: depth + i for i, found in enumerate(reversed(chain), 1)}

    def _attempt(self, entry: _Entry, step: Callable[[_Entry], None]) -> None:
        try:
            step(entry)
        except ValueError as error:
            self.problems.append(Problem(f"search.{one_line(entry.key)}", str(error)))

    def _read(self, entry: _Entry) -> None:
        """Notes the dimension of an entry, its condition left out. Raises ValueError."""
        key, path, distribution, _, value = entry
        if not path:
            raise ValueError('say how it is drawn: write the key as "<path>__<distribution>"')
        if not all(path.split(".")):
            raise ValueError("write the path as a.b.c")
        if any(path == known or path.startswith(f"{known}.") for known in NOT_SEARCHED):
            raise ValueError(f"{one_line(path)} belongs to the whole search, and is not drawn")
        if path in self.keys:
            raise ValueError(f"{one_line(self.keys[path])} draws the same")
        self.keys[path] = key
        if distribution == "grid_search":
            choice = f'"{one_line(path)}__choice"'
            raise ValueError(f'write {choice}; with "sampler": "grid" in meta.search all are tried')
        if distribution not in SEARCHABLE:
            raise ValueError(unknown("distribution", distribution, SEARCHABLE))
        if not isinstance(value, list) or not value:
            raise ValueError(f"expected the list of its arguments, not {shown(value)}")
        self.found[path] = dimension_of(path, key, distribution, value)

    def _depend(self, entry: _Entry) -> None:
        """Adds its condition to the dimension of an entry. Raises ValueError."""
        path, _, text = (entry.condition or "").partition("=")
        if not path or not text:
            raise ValueError(f'write what it depends on as "{IF}<path>=<value>|<value>"')
        if path not in self.keys:
            hint = did_you_mean(path, self.keys)
            raise ValueError(f"depends on {one_line(path)}, which the search does not draw{hint}")
        if path in self.found:  # else it has a problem of its own
            condition = Condition(path, _values(self.found[path], text))
            self.found[entry.path] = replace(self.found[entry.path], condition=condition)

    def _place(self, entry: _Entry) -> None:
        """Raises ValueError for a dimension that depends on itself or lies within another."""
        if entry.path not in self.depths:
            raise ValueError("its conditions run in a circle")
        parents = entry.path.split(".")[:-1]
        for i in range(1, len(parents) + 1):
            section = ".".join(parents[:i])
            if section in self.keys:
                raise ValueError(f"lies within {section}, which {one_line(self.keys[section])} draws")


def _values(parent: Dimension, text: str) -> tuple[Any, ...]:
    """The values of ``parent`` that a condition lists, as JSON or text. Raises ValueError."""
    if parent.size is None:
        raise ValueError(f"depends on {parent.path}, which is never twice the same")
    values = {}
    for part in map(str.strip, text.split("|")):
        found = [same for value in (json_or_text(part), part) for same in _same(parent, value)]
        if not found:
            raise ValueError(f"depends on a value that {parent.path} never takes, {shown(part)}")
        values[fingerprint(found[0])] = found[0]
    return tuple(values.values())


def _same(dimension: Dimension, value: Any) -> list[Any]:
    """The value of a dimension that is the same as ``value``, if there is one."""
    try:
        if dimension.kind == "choice":
            wanted = fingerprint(value)
            return [option for option in dimension.choices if fingerprint(option) == wanted]
        finished = None if isinstance(value, str) else dimension.finish(number(value))
    except (ValueError, RecursionError):
        return []
    return [finished] if finished is not None and finished == value else []


def one_line(key: str) -> str:
    """A key of ``search`` without quotes, whole but for absurd ones."""
    return shown(key, limit=500)[1:].removesuffix('"')
