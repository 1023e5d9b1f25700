"""SLM Lightning: deep reinforcement learning as experimental science.

``run(spec)`` trains and records, ``search(spec)`` finds the best setting, ``compare(one, other)`` says
what their seeds show, ``load(run_id).act(obs)`` uses what was trained, ``reproduce(run_id)`` makes it
again, ``publish`` and ``pull`` hand it on. The same verbs are commands: ``slm-lightning --help``.
"""

from slm_lightning.api import (
    compare,
    export,
    load,
    publish,
    pull,
    report,
    reproduce,
    resume,
    run,
    search,
    verify,
)

__version__ = "0.1.0"
__all__ = [
    "compare",
    "export",
    "load",
    "publish",
    "pull",
    "report",
    "reproduce",
    "resume",
    "run",
    "search",
    "verify",
]
