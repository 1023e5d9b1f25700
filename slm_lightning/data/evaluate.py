"""Evaluation: what a policy is worth, in episodes that training never touches."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from slm_lightning.algorithms.agent import Agent
from slm_lightning.core import VectorEnv
from slm_lightning.data.collector import Stage
from slm_lightning.rl.normalizers import Normalizers

MAX_STEPS = 1_000_000


@torch.inference_mode()
def evaluate(
    agent: Agent,
    normalizers: Normalizers,
    env: VectorEnv,
    episodes: int = 1,
    explore: bool = False,
    on_step: Callable[[], None] | None = None,
) -> np.ndarray:
    """Raw returns ``[N, episodes]`` of the first ``episodes`` of every sub-environment.

    The same number from each, so that short episodes do not count more often than long ones. Greedy
    unless ``explore``; nets in evaluation mode, normalisers frozen. ``on_step`` is called after every
    reset and vector step, to take a picture. Sub-environments still running after a million steps are
    cut there.
    """
    stage = Stage(next(agent.parameters()).device)
    num_envs = env.info.num_envs
    returns, count = np.zeros((num_envs, episodes + 1)), np.zeros(num_envs, dtype=np.int64)
    training, rows = agent.training, np.arange(num_envs)
    agent.eval()
    try:
        obs = env.reset()
        for _ in range(MAX_STEPS):
            if on_step:
                on_step()
            step = env.step(agent.act(normalizers.obs(stage("obs", obs)), explore))
            returns[rows, count] += np.asarray(step.reward)
            done = np.asarray(step.terminated) | np.asarray(step.truncated)
            count = np.minimum(count + done, episodes)  # the last column takes what comes after
            obs = step.obs
            if count.min() == episodes:
                break
    finally:
        agent.train(training)
    return returns[:, :episodes]
