"""Secrets in specs: they are not recorded, and without them a spec is another one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from slm_lightning.errors import Problem, SpecError
from slm_lightning.redact import REDACTED, redact


def unrecorded(spec: Mapping[str, Any]) -> list[str]:
    """A note where values of ``spec`` will not be recorded."""
    keys = [key for key in _blanks(redact(spec)) if key not in set(_blanks(spec))]
    if not keys:
        return []
    return [
        f"{', '.join(keys)}: not recorded, since it looks like a secret; the run cannot be resumed or"
        " reproduced. An environment can read it from a variable of its own"
    ]


def refuse_blanks(spec: Mapping[str, Any]) -> None:
    """Raises SpecError where values of a recorded spec were not recorded."""
    message = "was not recorded, since it looked like a secret"
    if problems := [Problem(key, message) for key in _blanks(spec)]:
        raise SpecError(problems, "put it back into a copy of spec.json, and run that")


def _blanks(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, str) and REDACTED in value:
        yield path
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _blanks(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _blanks(item, path)
