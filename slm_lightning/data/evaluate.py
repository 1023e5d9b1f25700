"""Evaluation: what a policy is worth, in episodes that training never touches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from slm_lightning.algorithms.agent import Agent
from slm_lightning.core import VectorEnv
from slm_lightning.data.collector import Stage, refuse_dead_ends
from slm_lightning.data.recall import Recall
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
    device, num_envs = next(normalizers.buffers()).device, env.info.num_envs
    stage, recall = Stage(device), Recall(agent, num_envs, device)
    returns, count = np.zeros((num_envs, episodes + 1)), np.zeros(num_envs, dtype=np.int64)
    training, rows = agent.training, np.arange(num_envs)
    agent.eval()
    try:
        obs = refuse_dead_ends(env.reset(), env.info)
        for _ in range(MAX_STEPS):
            if on_step:
                on_step()
            step = env.step(agent.act(recall(normalizers.obs(stage("obs", obs))), explore))
            returns[rows, count] += _on_host(step.reward)
            count = np.minimum(count + _on_host(step.ended), episodes)  # the last column takes the rest
            obs = refuse_dead_ends(step.obs, env.info)
            if recall.hidden is not None:
                recall.forget(stage("ended", step.ended))
            if count.min() == episodes:
                break
    finally:
        agent.train(training)
    return returns[:, :episodes]


def _on_host(x: Any) -> np.ndarray:
    return torch.as_tensor(x).cpu().numpy()
