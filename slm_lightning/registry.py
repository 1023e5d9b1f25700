"""What this installation can run, by the names a spec uses."""

from __future__ import annotations

from slm_lightning.algorithms import algorithms
from slm_lightning.data.memory import IMITATION_MEMORIES, MEMORIES
from slm_lightning.envs import BACKENDS
from slm_lightning.nets.net import BODIES
from slm_lightning.spec.resolve import Registry

REGISTRY = Registry(
    algorithms=algorithms(),
    nets=BODIES,
    memories=MEMORIES,
    imitation_memories=IMITATION_MEMORIES,
    backends=frozenset(BACKENDS),
)
