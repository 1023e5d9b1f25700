"""One update of an agent: loss, gradients, clipping, the step of its optimizers; and all of it, or a
vector step, as one compiled graph."""

from slm_lightning.updates.cache import folder
from slm_lightning.updates.compiling import prepare
from slm_lightning.updates.deciding import compiles, compiles_rollouts, decision, regrets
from slm_lightning.updates.machine import compiler, lacking
from slm_lightning.updates.rollout import CompiledStep
from slm_lightning.updates.update import Loss, Updates

__all__ = [
    "CompiledStep",
    "Loss",
    "Updates",
    "compiler",
    "compiles",
    "compiles_rollouts",
    "decision",
    "folder",
    "lacking",
    "prepare",
    "regrets",
]
