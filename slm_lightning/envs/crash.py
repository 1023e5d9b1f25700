"""An error that an environment raised, told so that its episode can be played again."""

from __future__ import annotations

import os
import re
import sysconfig
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from slm_lightning.envs.gym_processes import Raised
from slm_lightning.errors import CrashError
from slm_lightning.spec.model import EnvParams

OURS = Path(__file__).parents[1]
LIBRARIES = (str(OURS), sysconfig.get_paths()["stdlib"], "site-packages", "<frozen")
FRAME = re.compile(r'^ *File "(.+)", line (\d+)', re.MULTILINE)


class Fault:
    """What an environment raised, in this process or another, and which sub-environment it was."""

    def __init__(self, error: BaseException):
        if isinstance(error, Raised):
            self.index, self.error, self.trace = error.index, error.error, error.trace
        else:
            self.index, self.error, self.trace = 0, error, trace_of(error)

    def told(
        self, params: EnvParams, seed: int, actions: list[np.ndarray], obs: np.ndarray | None
    ) -> CrashError:
        """With the episode's ``seed``, its ``actions`` and the last observation before the error."""
        said = f"{type(self.error).__name__}: {self.error}"
        when = f"step {len(actions)}" if actions else "reset"
        where = where_raised(self.trace)
        facts = {
            "error": said,
            "where": where,
            "sub_environment": self.index,
            "episode_seed": seed,
            "actions": [action.tolist() for action in actions],
            "last_observation": None if obs is None else _strict(obs.tolist()),
            "env": params.model_dump(mode="json"),
            "traceback": self.trace.splitlines(),
        }
        return CrashError(
            f"{params.name} raised {said} ({where}) in {when} of an episode of"
            f" sub-environment {self.index}",
            facts,
        )


def trace_of(error: BaseException) -> str:
    """The traceback as Python prints it."""
    return "".join(traceback.format_exception(error))


def where_raised(trace: str) -> str:
    """``file:line`` of the innermost frame of a traceback that is the user's, or the innermost of
    all."""
    frames = [(file, line) for file, line in FRAME.findall(trace)]
    own = [frame for frame in frames if not any(library in frame[0] for library in LIBRARIES)]
    if not frames:
        return "nowhere in Python"
    file, line = (own or frames)[-1]
    near = os.path.relpath(file)
    return f"{file if near.startswith('..') else near}:{line}"


def _strict(value: Any) -> Any:
    """Nested lists of numbers as JSON knows them: what is not finite becomes a word."""
    if isinstance(value, list):
        return [_strict(item) for item in value]
    return value if not isinstance(value, float) or np.isfinite(value) else str(value)
