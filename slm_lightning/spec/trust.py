"""Specs of strangers are data: what in a spec names code, which only a spec of one's own may do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from slm_lightning.errors import RefusedError
from slm_lightning.spec.model import EnvParams, Spec
from slm_lightning.spec.wording import dotted, shown

WORD = re.compile(r"[\w -]*", re.ASCII)
"""Text that can be neither a file, nor an import, nor an expression."""


def refuse_code(spec: Spec) -> None:
    """Raises RefusedError where a spec from elsewhere names code; see ``code_in``."""
    if code := code_in(spec):
        raise RefusedError(
            f"{code} may name code, and a spec from elsewhere is data only",
            "if it is code that you have read and trust, train it with a spec file of your own",
        )


def code_in(spec: Spec) -> str:
    """What section ``env`` says that an environment might import, open or evaluate: a Python path, a
    file, an expression; empty where there is nothing. All other sections choose from lists."""
    return next((f"env.{path} {shown(text)}" for path, text in _named(spec.env)), "")


def _named(env: EnvParams) -> Iterator[tuple[str, str]]:
    if env.entry_point is not None:
        yield "entry_point", env.entry_point
    if ":" in env.name:  # which imports what stands before it
        yield "name", env.name
    yield from _texts(env.model_extra or {})


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
