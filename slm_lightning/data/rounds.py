"""How much experience each round collects: a function of the spec and the frame at which it begins."""

from __future__ import annotations

from typing import cast

from slm_lightning.data.memory import Replay
from slm_lightning.spec.model import ReplayAlgorithmParams, Spec


def least_steps(spec: Spec, frame: int) -> int:
    """Vector steps of the round that begins at ``frame`` (of those of one worker); where rounds are
    whole episodes, the least.

    With a replay memory a round ends with the vector step that reaches the next multiple of
    ``training_frequency``, and the first one not before ``training_start_step`` is exceeded.
    """
    algorithm, memory, num_envs = spec.agent.algorithm, spec.agent.memory, spec.env.num_envs
    if memory.whole_episodes:
        return 1
    if not memory.replay:
        return algorithm.horizon
    params = cast(ReplayAlgorithmParams, algorithm)
    start = params.start(cast(Replay, memory).batch_size)
    frequency = params.training_frequency
    end = (max(frame, start) // frequency + 1) * frequency
    return -(-(end - frame) // num_envs)


def rounds(spec: Spec, most: int | None = None) -> tuple[int, int]:
    """Rounds that fit the budget, or the first ``most`` of them, and the frames they take."""
    count = frame = 0
    while count != most:
        end = frame + least_steps(spec, frame) * spec.env.num_envs
        if end * spec.meta.workers > spec.env.max_frame:
            break
        count, frame = count + 1, end
    return count, frame * spec.meta.workers
