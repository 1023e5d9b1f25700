"""The sections of a spec against their models: pydantic finds what is wrong, the words are ours."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from slm_lightning.errors import Problem
from slm_lightning.spec.model import SpecModel
from slm_lightning.spec.wording import (
    closest,
    did_you_mean,
    dotted,
    edits,
    expectation,
    listed,
    shown,
    similarity,
)

Model = TypeVar("Model", bound=SpecModel)

LIKENESS = 0.8
"""Where a section takes keys of its own, one as similar as this to a known key is a misspelling."""
CERTAIN = 0.9
"""The same where keys that nothing reads are let pass."""
SIGN = "seed"
"""The key that says that a spec was written for this lab. It is not let pass elsewhere, nor misspelt by
two letters: its spec would be read as one of SLM Lab."""


class Sections:
    """Reads the sections of one spec by their dotted paths and gathers every problem on the way.

    ``models`` are those of sections that are always there, by path. A key in the wrong place is sent
    to the section that has it; one that only other components of the same section have is not read.
    Unless ``strict``, so is one that nothing has, but where it is a known key, misspelt.
    """

    def __init__(self, data: dict[str, Any], models: Mapping[str, type[SpecModel]], strict: bool):
        self.data = data
        self.strict = strict
        self._homes: dict[str, str] = {}
        self._of_others: dict[str, set[str]] = {}
        for path, model in models.items():
            self._learn_keys(path, model)
        self._found: dict[str, str] = {}
        self._missing: set[str] = set()
        self._meant: set[str] = set()

    @property
    def problems(self) -> list[Problem]:
        """What is wrong; a key that is missing because it is misspelt is one problem, not two."""
        misspelt = self._missing & self._meant
        return [Problem(path, message) for path, message in self._found.items() if path not in misspelt]

    def get(self, path: str, required: bool = True) -> dict[str, Any] | None:
        """The section at ``path``; None where it, or what holds it, is absent or no section."""
        section: Any = self.data
        for key in path.split("."):
            if not isinstance(section, dict):
                return None
            absent, section = key not in section, section.get(key)
        if isinstance(section, dict) or (section is None and not required):
            return section
        if absent:
            self._report_missing(path, "missing; expected a section")
        elif isinstance(section, list):
            self.report(path, "expected a section, not a list; SLM Lab 4 wrote lists, write the entry")
        else:
            self.report(path, f"expected a section, not {shown(section)}")
        return None

    def text(self, path: str) -> str:
        """The text at ``path``, empty where there is none."""
        section, _, key = path.rpartition(".")
        value = (self.get(section) or {}).get(key, "")
        if not isinstance(value, str):
            self.report(path, f"expected text, not {shown(value)}")
            return ""
        return value

    def container(self, path: str, model: type[SpecModel]) -> None:
        """Checks that the section at ``path`` holds no keys but those of ``model``."""
        section = self.get(path) if path else self.data
        for key in section or ():
            if key not in model.model_fields and not self._passes(key, model, section or ()):
                self._unknown(path, key, model, section or ())

    def component(
        self, path: str, key: str, known: Mapping[str, type[Model]], gone: Collection[str]
    ) -> type[Model] | None:
        """The model of what the section at ``path`` names by ``key``. ``gone`` are names that no longer
        mean anything."""
        section = self.get(path)
        if section is None:
            return None
        where, name = f"{path}.{key}", section.get(key)
        available = f"(available: {listed(known)})"
        if isinstance(name, str) and name in known:
            self._learn_keys(path, known[name])
            all_keys = {key for model in known.values() for key in (*model.model_fields, *model.unread)}
            self._of_others[path] = all_keys - known[name].model_fields.keys()
            return known[name]
        if key not in section:
            self._report_missing(where, f"missing {available}")
            own = {field for model in known.values() for field in model.model_fields}
            for other in section.keys() - own:
                if similarity(other, key) >= 0.6 or edits(other, key) <= 2:
                    self._mistaken(path, other, key)
        elif not isinstance(name, str):
            self.report(where, f"expected text, not {shown(name)} {available}")
        elif name in gone:
            self.report(where, f"{name} no longer exists, in SLM Lab neither")
        else:
            kind, hint = path.rpartition(".")[2], did_you_mean(name, known)
            self.report(where, f"unknown {kind} {shown(name)}{hint} {available}")
        return None

    def read(self, path: str, model: type[Model] | None) -> Model | None:
        """The section at ``path`` as ``model``, without the keys that nothing reads; None, once its
        problems are noted, where it is not well-typed."""
        section = self.get(path)
        if section is None or model is None:
            return None
        unread = model.unread.keys() | self._of_others.get(path, set())
        given = {key: value for key, value in section.items() if key not in unread}
        before = len(self.problems)
        if not self.strict:
            given = self._readable(given, model)
        if model.model_config.get("extra") == "allow":
            self._misspelt(path, given, model)
        try:
            parsed = model.model_validate(given)
        except ValidationError as error:
            for details in error.errors(include_url=False):
                self._explain(path, model, given, details)
            return None
        return parsed if len(self.problems) == before else None

    def _explain(self, path: str, model: type[SpecModel], value: Any, error: ErrorDetails) -> None:
        """Notes one error of pydantic, at the innermost field of a model that it is about."""
        keys: list[str] = []
        owner: type[SpecModel] | None = model
        holder, field = model, None
        for key in error["loc"]:
            if owner is None:
                break
            present = value if isinstance(value, dict) else {}
            value = present.get(str(key))
            holder, field = owner, owner.model_fields.get(str(key))
            keys.append(str(key))
            owner = _model_in(field.annotation) if field else None
        where = dotted(path, *keys)
        if error["type"] == "extra_forbidden":
            self._unknown(dotted(path, *keys[:-1]), keys[-1], holder, present)
        elif error["type"] in ("value_error", "assertion_error"):
            self.report(where, " ".join(str(error["ctx"]["error"]).split()))
        elif field is None:
            self.report(where, f"is not valid: {shown(value)}")
        elif error["type"] == "missing" and len(keys) == len(error["loc"]):
            self._report_missing(where, f"missing; expected {expectation(field)}")
            for other in present if holder and holder.model_config.get("extra") == "allow" else ():
                if other not in holder.model_fields and edits(other, keys[-1]) <= 2:
                    self._mistaken(dotted(path, *keys[:-1]), other, keys[-1])
        else:
            optional = not field.is_required() and isinstance(field.default, bool | int | float | str)
            default = f" (default {shown(field.default)})" if optional else ""
            self.report(where, f"expected {expectation(field)}, not {shown(value)}{default}")

    def _passes(self, key: str, model: type[SpecModel], present: Collection[str]) -> bool:
        """Whether a key that a section does not have may be there, unread. It may not where it stands
        for one that is missing, or is all but the same as one that is absent."""
        if self.strict or key == SIGN:
            return False
        absent = {name for name in model.model_fields if name not in present}
        missing = {name for name in absent if model.model_fields[name].is_required()}
        alike = any(
            similarity(key, name) >= CERTAIN or edits(key, name) <= (2 if name == SIGN else 1)
            for name in absent
        )
        return not alike and closest(key, missing) is None

    def _readable(self, section: dict[str, Any], model: type[SpecModel]) -> dict[str, Any]:
        """The section without the keys that may be there unread, in it and in those within it."""
        free, kept = model.model_config.get("extra") == "allow", {}
        for key, value in section.items():
            field = model.model_fields.get(key)
            inner = _model_in(field.annotation) if field else None
            if inner and isinstance(value, dict):
                kept[key] = self._readable(value, inner)
            elif field or free or not self._passes(key, model, section):
                kept[key] = value
        return kept

    def _unknown(self, path: str, key: str, model: type[SpecModel], present: Iterable[str]) -> None:
        absent = [name for name in model.model_fields if name not in present]
        near = closest(key, absent) or closest(key, model.model_fields)
        home = self._homes.get(key, path)
        if home != path:
            message = f"unknown key here; it belongs in {home}"
        elif near:
            message = f'unknown key, did you mean "{near}"?'
            self._meant.add(dotted(path, near))
        else:
            message = f"unknown key; there are {listed(model.model_fields)}"
        self.report(dotted(path, key), message)

    def _misspelt(self, path: str, section: dict[str, Any], model: type[SpecModel]) -> None:
        """Notes the free keys of a section that were probably meant to be known ones."""
        required = {name for name, field in model.model_fields.items() if field.is_required()}
        for key in [key for key in section if key not in model.model_fields]:
            alike = [name for name in model.model_fields if similarity(key, name) >= LIKENESS]
            absent = [name for name in required - section.keys() if edits(key, name) <= 2]
            near = closest(key, absent) or closest(key, alike)
            if near:
                self._mistaken(path, key, near)

    def _mistaken(self, path: str, key: str, meant: str) -> None:
        """Notes a key of the section at ``path`` that was meant to be another."""
        self.report(dotted(path, key), f'unknown key, did you mean "{meant}"?')
        self._meant.add(dotted(path, meant))

    def _learn_keys(self, path: str, model: type[SpecModel]) -> None:
        for key, home in _keys(model, path):
            self._homes.setdefault(key, home)

    def report(self, path: str, message: str) -> None:
        """Notes a problem, unless there is one at ``path`` already."""
        self._found.setdefault(path, message)

    def _report_missing(self, path: str, message: str) -> None:
        self._missing.add(path)
        self.report(path, message)


def _model_in(annotation: Any) -> type[SpecModel] | None:
    """The model in ``Model`` or ``Model | None``."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, SpecModel):
            return candidate
    return None


def _keys(model: type[SpecModel], path: str) -> Iterator[tuple[str, str]]:
    """Every key of a model and of those within it, with the path of the section that holds it."""
    for key, field in model.model_fields.items():
        if key not in ("name", "type"):
            yield key, path
        inner = _model_in(field.annotation)
        if inner:
            yield from _keys(inner, f"{path}.{key}" if path else key)
