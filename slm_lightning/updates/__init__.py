"""One update of an agent: loss, gradients, clipping, the step of its optimizers; and all of it as one
compiled graph."""

from slm_lightning.updates.compiling import compiles, prepare, regrets
from slm_lightning.updates.update import Loss, Updates

__all__ = ["Loss", "Updates", "compiles", "prepare", "regrets"]
