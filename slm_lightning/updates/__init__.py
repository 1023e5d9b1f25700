"""One update of an agent: loss, gradients, clipping, the step of its optimizers; and all of it as one
compiled graph."""

from slm_lightning.updates.cache import folder
from slm_lightning.updates.compiling import compiler, compiles, decision, lacking, prepare, regrets
from slm_lightning.updates.update import Loss, Updates

__all__ = [
    "Loss",
    "Updates",
    "compiler",
    "compiles",
    "decision",
    "folder",
    "lacking",
    "prepare",
    "regrets",
]
