"""Keeps secrets out of everything that is written down: the record, artifacts, logs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

REDACTED = "[redacted]"

STORAGE = "--storage"
"""The option that takes the URL of a database, in whose password anything may stand."""

_TOKEN = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{8,}|gh[pousr]_[A-Za-z0-9]{8,}|github_pat_\w{8,}|glpat-[\w-]{8,}"
    r"|AKIA[0-9A-Z]{8,}|sk-[\w-]{16,}|xox[abprs]-[\w-]{8,})"
)
"""Credentials known by their shape: Hugging Face, GitHub, GitLab, AWS, OpenAI, Slack."""

_USERINFO = re.compile(r"(?<=://)[^/\s@'\"]+(?=@)")
"""The ``user:password`` of a URL."""

_WORD = (
    r"(?:token|secret|password|passwd|passphrase|credentials?"
    r"|(?:api|access|private|secret|auth)[_-]?key)"
)
_NAME = re.compile(rf"(?:.*{_WORD}|key)", re.IGNORECASE)

_ASSIGNMENT = re.compile(
    rf"""(?P<name>(?<![\w.-])[\w.-]*{_WORD}["']?
      (?:[ ]{{0,8}}:[\w.|\[\] ]{{1,60}}(?==))?[ ]{{0,8}}[=:][ \t]{{0,8}})
    (?: (?P<quote>["'])(?P<quoted>(?:(?!(?P=quote)).)+)(?P=quote)
      | (?P<bare>[^\s"'`,;(){{}}\[\]<>$]{{3,}})(?![\w(\[]) )""",
    re.IGNORECASE | re.VERBOSE,
)
_CODE = re.compile(
    rf"(?:str|int|bytes|float|bool|None|null|true|false|[a-z_]\w*(?:\.[a-z_]\w*)+|\w*{_WORD}\w*)",
    re.IGNORECASE,
)
"""Right-hand sides that are program text: a type, a constant, another variable."""


def redact(value: Any) -> Any:
    """``value`` without its secrets: text is searched for credentials, in mappings every text under a
    secret's name (``token``, ``password``, ``api_key``, …) is replaced, lists are searched through."""
    if isinstance(value, str):
        return _redact_text(value)
    if isinstance(value, Mapping):
        return {k: REDACTED if _is_secret(k, v) else redact(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [redact(item) for item in value]
    return value


def redact_arguments(arguments: Sequence[str]) -> list[str]:
    """A command line without its secrets, also where name and value are two arguments."""
    redacted, named = [], False
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if named or (equals and (_is_secret(name, value) or name == STORAGE)):
            argument = REDACTED if named else f"{name}={REDACTED}"
        redacted.append(redact(argument))
        named = argument.startswith("-") and not equals and (_is_secret(name, "…") or name == STORAGE)
    return redacted


def _is_secret(name: Any, value: Any) -> bool:
    last = str(name).split(".")[-1].lstrip("-")
    return isinstance(value, str) and value != "" and _NAME.fullmatch(last) is not None


def _redact_text(text: str) -> str:
    text = _TOKEN.sub(REDACTED, _USERINFO.sub(REDACTED, text))
    return _ASSIGNMENT.sub(_redact_assignment, text)


def _redact_assignment(match: re.Match[str]) -> str:
    bare = match["bare"]
    if bare and (_CODE.fullmatch(bare) or REDACTED in bare):
        return match[0]
    quote = match["quote"] or ""
    return f"{match['name']}{quote}{REDACTED}{quote}"
