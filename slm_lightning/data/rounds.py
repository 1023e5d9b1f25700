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
    """Rounds that fit the budget, or the first ``most`` of them, and the frames they take.

    Reckoned, not counted, as a budget may be of 1e15 frames.
    """
    num_envs, workers = spec.env.num_envs, spec.meta.workers
    first = every = least_steps(spec, frame=0) * num_envs
    if spec.agent.memory.replay and not spec.agent.memory.whole_episodes:
        params = cast(ReplayAlgorithmParams, spec.agent.algorithm)
        every = max(params.training_frequency, num_envs)
    before = first // every - 1  # multiples of ``every`` at which nothing is learned yet
    budget = spec.env.max_frame // workers // num_envs * num_envs
    count = max(budget // every - before, 0)
    count = count if most is None else min(count, most)
    frames = -(-(before + count) * every // num_envs) * num_envs if count else 0
    return count, frames * workers
