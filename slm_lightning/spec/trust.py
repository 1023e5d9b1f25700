"""Specs of strangers are data: what in a spec names code, which only a spec of one's own may do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from slm_lightning.errors import RefusedError
from slm_lightning.spec.load import put
from slm_lightning.spec.model import EnvParams, Spec
from slm_lightning.spec.space import Space
from slm_lightning.spec.wording import dotted, shown

WORD = re.compile(r"[\w -]*", re.ASCII)
"""Text that can be neither a file, nor an import, nor an expression."""
OWN = EnvParams.model_fields.keys() - {"name", "entry_point"}
"""Keys of ``env`` that the environment never sees."""


def refuse_code(spec: Spec) -> None:
    """Raises RefusedError where a spec from elsewhere names code; see ``code_in``."""
    if code := code_in(spec):
        raise RefusedError(
            f"{code} may name code, and a spec from elsewhere is data only",
            "if it is code that you have read and trust, train it with a spec file of your own",
        )


def code_in(spec: Spec) -> str:
    """What section ``env``, or a search of it, says that an environment might import, open or evaluate:
    a Python path, a file, an expression; empty where there is nothing. All other sections choose from
    lists."""
    named = chain(_named(spec.env.model_dump()), _searched(spec))
    return next((f"{path} {shown(text)}" for path, text in named), "")


def _searched(spec: Spec) -> Iterator[tuple[str, str]]:
    """Path and text of what a search may put into section ``env``."""
    for dimension in Space.of(spec.search).dimensions:
        for value in dimension.choices or (dimension.low,):
            drawn: dict[str, Any] = {}
            put(drawn, dimension.path, value)
            if isinstance(env := drawn.get("env"), dict):
                yield from _named(env)


def _named(env: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in env.items():
        if key == "entry_point" and value is not None:
            yield "env.entry_point", str(value)
        elif key == "name":
            if ":" in str(value):  # which imports what stands before it
                yield "env.name", str(value)
        elif key not in OWN:
            yield from _texts({key: value}, "env")


def _texts(value: Any, *keys: object) -> Iterator[tuple[str, str]]:
    """Path and text of whatever is no word below ``value``, names of keys included."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from ([] if WORD.fullmatch(key) else [(dotted(*keys, key), key)])
            yield from _texts(inner, *keys, key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts(inner, *keys, index)
    elif isinstance(value, str) and not WORD.fullmatch(value):
        yield dotted(*keys), value
