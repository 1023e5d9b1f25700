"""Every way the lab says no: one sentence, what to do next, and the exit code of the command line.

Exit codes: 2 bad spec or usage, 3 missing dependency or environment, 4 a session failed, 5 diverged,
6 storage, 7 integrity, 8 refused for safety, 9 locked, 75 preempted, 130 Ctrl-C.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class LabError(Exception):
    """A failure the user can act on. ``hint`` says what to type or change next."""

    exit_code = 1

    def __init__(self, message: str, hint: str = ""):
        super().__init__(message)
        self.hint = hint


class Problem(NamedTuple):
    """One thing wrong in a spec: the dotted path of the key, and the sentence about it."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class SpecError(LabError):
    """A spec that cannot run; carries every problem found, not only the first."""

    exit_code = 2

    def __init__(self, problems: list[Problem], hint: str = ""):
        super().__init__("\n".join(map(str, problems)), hint)
        self.problems = problems

    def __reduce__(self) -> tuple[Any, ...]:
        return SpecError, (self.problems, self.hint)

    @classmethod
    def at(cls, path: str, message: str, hint: str = "") -> SpecError:
        return cls([Problem(path, message)], hint)


class UsageError(LabError):
    """A command that asks for something that is not there or makes no sense."""

    exit_code = 2


class MissingError(LabError):
    """A package, an environment, a display or a device that this machine lacks."""

    exit_code = 3


class SessionError(LabError):
    """Some session of a trial did not finish."""

    exit_code = 4


class CrashError(SessionError):
    """An environment raised an error; ``facts`` is what its episode can be played again from."""

    def __init__(self, message: str, facts: dict[str, Any]):
        super().__init__(message)
        self.facts = facts


class LostEnvError(SessionError):
    """``who``, the process of a sub-environment, has died by ``how``; the session may go on from its
    last checkpoint."""

    def __init__(self, who: str, how: str):
        super().__init__(f"{who} died: {how}")
        self.who, self.how = who, how


class DivergedError(LabError):
    """Training produced a number that is not finite."""

    exit_code = 5


class LostWorkerError(LabError):
    """Another worker of the same model has ended; why, it has said itself."""

    exit_code = 4


class StorageError(LabError):
    """The record cannot be read or written."""

    exit_code = 6


class IntegrityError(LabError):
    """A stored file is not what was written."""

    exit_code = 7


class RefusedError(LabError):
    """Something that comes from elsewhere and could run code, or reach out of its folder."""

    exit_code = 8


class LockedError(StorageError):
    """Another process works on this run."""

    exit_code = 9
