"""Keeps secrets out of everything that is written down: the record, artifacts, logs, messages.

A secret is what stands under a secret's name (``token``, ``password``, ``api_key``, …) in a mapping, an
environment variable or a line of text; what has the shape of a known credential; and the password of a
URL. Values that ``conceal`` was shown, and those of the environment variables, go wherever they occur.
"""

from __future__ import annotations

import functools
import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote, quote_plus, unquote

from slm_lightning.files import atomically

REDACTED = "[redacted]"

STORAGE = "--storage"
"""The option that takes the URL of a database, in whose password anything may stand."""
LEAST, LEAST_WORD, LEAST_DIGITS = 6, 8, 6
"""Characters of a value, of one that is a plain word, and digits of a number that are looked for
everywhere: what is shorter would be found where it is no secret."""
PIECE = 2**20
"""Bytes of a file that are redacted at once."""

_TOKEN = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{8,}|gh[pousr]_[A-Za-z0-9]{8,}|github_pat_\w{8,}|glpat-[\w-]{8,}"
    r"|A[KS]IA[0-9A-Z]{8,}|sk-[\w-]{16,}|[rs]k_(?:live|test)_\w{8,}|xox[abeprs]-[\w-]{8,}"
    r"|AIza[\w-]{30,}|npm_[A-Za-z0-9]{20,}|pypi-[\w-]{20,}|dapi[0-9a-f]{32}|SG\.[\w-]{16,}\.[\w-]{16,}"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?|hooks\.slack\.com/services/[\w/]{8,})"
)
"""Credentials known by their shape: Hugging Face, GitHub, GitLab, AWS, OpenAI, Stripe, Slack, Google,
npm, PyPI, Databricks, SendGrid, JSON Web Tokens."""

_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-(?!----)){0,30000}"
    r"(?:-----END [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----)?"
)
_USERINFO = re.compile(
    r"(?<=://)(?:[^/\s@:'\"]{0,100}:(?!\d+[/?])[^\s'\"]{1,300}(?=@)|[^/\s@'\"]{1,300}(?=@))"
)
"""The ``user:password`` of a URL; whoever forgot to quote it may have put / or @ into it."""
_AUTHORIZATION = re.compile(
    r"(authorization[\"']?[ ]{0,8}[:=][ ]{0,8}[\"']?(?:\w{1,20} )?|\bbearer )[\w.~+/=:-]{8,}", re.I
)

_WORD = (
    r"(?:token|secret|password|passwd|passphrase|credentials?|connection[_-]?string"
    r"|(?:api|access|account|private|secret|auth|signing|encryption)[_-]?key)"
)
_NAME = re.compile(
    rf"(?:.*{_WORD}s?|key|(?:.*[_-])?(?:pass|pwd|jwt|bearer|cookie|authorization))", re.IGNORECASE
)
_FOLDERS = frozenset({"PWD", "OLDPWD"})
"""Environment variables that are called like passwords and are none."""

_LINE = re.compile(rf"(?m)^([+ -]?(?:export )?[A-Z0-9_]*{_WORD.upper()}=)(?!\[redacted\])\S.*$")
"""A line of a file of environment variables."""
_ASSIGNMENT = re.compile(
    rf"""(?P<name>(?<![\w.-])[\w.-]*{_WORD}["']?
      (?:[ ]{{0,8}}:[\w.|\[\] ]{{1,60}}(?==))?[ ]{{0,8}}[=:][ \t]{{0,8}})
    (?: (?P<quote>["'])(?P<quoted>(?:(?!(?P=quote)).)+)(?P=quote)
      | (?P<bare>[^\s"'`,;(){{}}\[\]<>$]{{3,}})(?![\w(\[]) )""",
    re.IGNORECASE | re.VERBOSE,
)
_CODE = re.compile(
    rf"(?:str|int|bytes|float|bool|None|null|true|false|[a-z_]\w*(?:\.[a-z_]\w*)+|\w*{_WORD}\w*"
    r"|neither|expected|unknown|missing|was|not|cannot|must)",
    re.IGNORECASE,
)
"""Right-hand sides that are program text (a type, a constant, another variable), or the first word of
what the lab says of a key."""

_concealed: set[str] = set()


def redact(value: Any) -> Any:
    """``value`` without its secrets: text is searched for them, in mappings all that stands under a
    secret's name is replaced, lists are searched through."""
    return _redact(value, _pattern(frozenset(_concealed | set(_in_environment()))))


def conceal(data: Any) -> None:
    """From here on the secrets of ``data`` (a mapping, the URL of a database) are redacted wherever
    they occur in this process, under whatever name."""
    _concealed.update(_secrets(data))


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


def redact_file(path: Path) -> None:
    """Redacts a text file in place, in one step; one that has no secrets is not touched."""
    clean = path.with_name(f".{path.name}.clean")
    changed = False
    try:
        with (
            path.open(encoding="utf-8", errors="surrogateescape", newline="") as file,
            clean.open("w", encoding="utf-8", errors="surrogateescape", newline="") as target,
        ):
            while lines := file.readlines(PIECE):
                text = "".join(lines)
                changed |= (better := redact(text)) != text
                target.write(better)
        if changed:
            atomically(path, lambda aside: clean.rename(aside))
    finally:
        clean.unlink(missing_ok=True)


def holds_secret(path: Path) -> bool:
    """Whether there is anything to redact in a text file."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return any(
            redact(text) != text for text in map("".join, iter(lambda: file.readlines(PIECE), []))
        )


class RedactedStream(io.TextIOBase):
    """Writes to ``stream`` what it is given without its secrets, in whole lines."""

    def __init__(self, stream: TextIO):
        self.stream, self.waiting = stream, ""

    def write(self, text: str) -> int:
        self.waiting += text
        end = self.waiting.rfind("\n") + 1
        if end or len(self.waiting) > PIECE:
            self._write(end or len(self.waiting))
        return len(text)

    def flush(self) -> None:
        self._write(len(self.waiting))

    def _write(self, end: int) -> None:
        self.stream.write(redact(self.waiting[:end]))
        self.stream.flush()
        self.waiting = self.waiting[end:]

    def fileno(self) -> int:
        return self.stream.fileno()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.stream.encoding


def _redact(value: Any, known: re.Pattern[str]) -> Any:
    if isinstance(value, str):
        return _redact_text(value, known)
    if isinstance(value, Mapping):
        return {
            _redact(k, known): _blackened(v, known) if _is_secret(k, v) else _redact(v, known)
            for k, v in value.items()
        }
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_redact(item, known) for item in value]
    return value


def _blackened(value: Any, known: re.Pattern[str]) -> Any:
    """What stands under a secret's name; of a structure, its form stays."""
    if isinstance(value, Mapping):
        return {_redact(k, known): _blackened(v, known) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        return [_blackened(item, known) for item in value]
    return REDACTED if _is_secret("password", value) else value


def _is_secret(name: Any, value: Any) -> bool:
    """Whether ``name`` is that of a secret; a number is one only where it is long, and no count."""
    if value is None or value == "" or isinstance(value, bool | float):
        return False
    last = str(name).split(".")[-1].lstrip("-")
    if isinstance(value, int) and len(str(abs(value))) < LEAST_DIGITS:
        return False
    if last.lower().endswith("tokens") and str(value).isdigit():
        return False
    return _NAME.fullmatch(last) is not None


def _secrets(data: Any, named: bool = False) -> Iterator[str]:
    """Values in ``data`` that are to be looked for everywhere, in the forms in which they may occur;
    ``named``: it stands under a secret's name."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from _secrets(value, named or _is_secret(key, value))
    elif isinstance(data, str):
        for password in _passwords(data):
            yield from _forms(password)
        if named:
            yield from _forms(data)
    elif isinstance(data, Sequence) and not isinstance(data, bytes | bytearray):
        for item in data:
            yield from _secrets(item, named)
    elif named and isinstance(data, int):
        yield from _forms(str(data))


def _passwords(text: str) -> Iterator[str]:
    for match in _USERINFO.finditer(text):
        yield match[0].partition(":")[2]


def _forms(secret: str) -> Iterator[str]:
    """A secret as it stands, escaped and not, where it is long enough to be told from other text."""
    if len(secret) < (LEAST_WORD if secret.isalpha() else LEAST):
        return
    yield from (secret, unquote(secret), quote(secret, safe=""), quote_plus(secret))
    yield from (repr(secret)[1:-1], json.dumps(secret)[1:-1])


def _in_environment() -> Iterator[str]:
    for name, value in os.environ.items():
        if "://" in value or (name not in _FOLDERS and _is_secret(name, value)):
            yield from _secrets({name: value})


@functools.lru_cache(maxsize=8)
def _pattern(secrets: frozenset[str]) -> re.Pattern[str]:
    """Finds any of ``secrets``, the longest first; words only as whole ones, and of what has the shape
    of a credential also a longer one that begins like it."""

    def occurrence(secret: str) -> str:
        if secret.isalpha():
            return rf"(?<!\w){re.escape(secret)}(?!\w)"
        return re.escape(secret) + r"[\w-]*" * bool(_TOKEN.fullmatch(secret))

    longest_first = sorted(secrets, key=len, reverse=True)
    return re.compile("|".join(map(occurrence, longest_first)) or r"(?!)")


def _redact_text(text: str, known: re.Pattern[str]) -> str:
    for pattern in (known, _PRIVATE_KEY, _USERINFO, _TOKEN):
        text = pattern.sub(REDACTED, text)
    text = _AUTHORIZATION.sub(rf"\1{REDACTED}", text)
    text = _LINE.sub(rf"\1{REDACTED}", text)
    return _ASSIGNMENT.sub(_redact_assignment, text)


def _redact_assignment(match: re.Match[str]) -> str:
    bare = match["bare"]
    if bare and (_CODE.fullmatch(bare) or REDACTED in bare):
        return match[0]
    quote = match["quote"] or ""
    return f"{match['name']}{quote}{REDACTED}{quote}"
