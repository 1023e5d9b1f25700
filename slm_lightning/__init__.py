"""SLM Lightning: deep reinforcement learning as experimental science.

``run(spec)`` trains and records, ``load(run_id).act(obs)`` uses what was trained. The same verbs are
commands: ``slm-lightning --help``.
"""

from slm_lightning.api import load, resume, run

__version__ = "0.1.0"
__all__ = ["load", "resume", "run"]
