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
    explore: bool = False,
    on_step: Callable[[], None] | None = None,
) -> np.ndarray:
    """Raw returns ``[N]`` of the first episode of every sub-environment.

    One episode from each, so that short episodes do not count more often than long ones. Greedy
    unless ``explore``; nets in evaluation mode, normalisers frozen. ``on_step`` is called after every
    vector step, to take a picture. An episode that does not end is cut after a million steps.
    """
    device = next(agent.parameters()).device
    stage, returns = Stage(device), np.zeros(env.info.num_envs)
    running = np.ones(env.info.num_envs, dtype=bool)
    training = agent.training
    agent.eval()
    try:
        obs = env.reset()
        for _ in range(MAX_STEPS):
            step = env.step(agent.act(normalizers.obs(stage("obs", obs)), explore))
            returns += running * np.asarray(step.reward)
            running &= ~(np.asarray(step.terminated) | np.asarray(step.truncated))
            obs = step.obs
            if on_step:
                on_step()
            if not running.any():
                break
    finally:
        agent.train(training)
    return returns
