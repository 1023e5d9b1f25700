"""An episode that ended in an error of its environment: kept in a file, and played again from it.

python -m slm_lightning.lab.crash crash.json
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from slm_lightning.envs import make_single
from slm_lightning.errors import CrashError
from slm_lightning.files import atomically
from slm_lightning.redact import redact
from slm_lightning.spec.model import EnvParams

CRASH = "crash.json"


@contextlib.contextmanager
def crashes_told(folder: Path) -> Iterator[None]:
    """Writes what an environment raises on the way to ``crash.json`` in ``folder``, and raises it
    with a hint how to see it again. What an earlier attempt left is removed."""
    path = folder / CRASH
    if path.exists():
        path.unlink()
    try:
        yield
    except CrashError as error:
        trace = redact("\n".join(error.facts["traceback"]))  # whole, since some secrets have many lines
        print(trace, file=sys.stderr)
        facts = redact(error.facts) | {"traceback": trace.split("\n")}
        text = json.dumps(facts, indent=2, allow_nan=False, ensure_ascii=False)
        atomically(path, partial(Path.write_text, data=text + "\n", encoding="utf-8"))
        error.hint = "slm-lightning show says how to play this episode again"
        raise


def play_again(path: Path) -> int:
    """Takes the episode of a crash file again, to whatever its environment raises. Returns the number
    of steps where it raises nothing this time."""
    facts = json.loads(path.read_text(encoding="utf-8"))
    env = make_single(EnvParams(**facts["env"]))
    try:
        env.reset(seed=facts["episode_seed"])
        for action in facts["actions"]:
            env.step(np.asarray(action, dtype=env.action_space.dtype))
        return len(facts["actions"])
    finally:
        env.close()


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    steps = play_again(Path(sys.argv[1]))
    print(
        f"nothing was raised in the {steps} steps of this episode: the environment was mended, does not"
        " repeat itself, or keeps something over episodes"
    )
