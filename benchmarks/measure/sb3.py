"""Trains one work with Stable-Baselines3 and prints what it took, in a process of its own.

    python -m benchmarks.measure.sb3 WORK SEED FRAMES

LunarLander is made without the render mode that ``make_vec_env`` asks for by itself, under which its
particles pile up and every step gets slower. The last line is JSON.
"""

from __future__ import annotations

import json
import sys
from statistics import mean
from typing import Any

import gymnasium as gym
import torch
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_atari_env, make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack

from benchmarks.measure.clocks import cost_of
from benchmarks.measure.works import WORKS

EPISODES = 20

Settings = dict[str, Any]

PPO_CARTPOLE: Settings = {
    "n_steps": 256,
    "batch_size": 128,
    "n_epochs": 15,
    "gamma": 0.9769,
    "gae_lambda": 0.9112,
    "clip_range": 0.1312,
    "ent_coef": 0.0074,
    "vf_coef": 0.6049,
    "learning_rate": 5.9e-4,
}
DQN_CARTPOLE: Settings = {
    "buffer_size": 10_000,
    "batch_size": 64,
    "train_freq": 4,
    "gradient_steps": 1,
    "learning_rate": 2.5e-4,
    "target_update_interval": 500,
    "learning_starts": 1000,
    "gamma": 0.99,
    "exploration_final_eps": 0.05,
    "policy_kwargs": {"net_arch": [128, 64]},
}
SAC_PENDULUM: Settings = {
    "batch_size": 256,
    "train_freq": 1,
    "gradient_steps": 1,
    "learning_rate": 1e-3,
    "learning_starts": 1000,
    "buffer_size": 100_000,
    "policy_kwargs": {"net_arch": [256, 256]},
}
PPO_PONG: Settings = {
    "n_steps": 128,
    "batch_size": 256,
    "n_epochs": 4,
    "learning_rate": 2.5e-4,
    "clip_range": 0.1,
    "ent_coef": 0.01,
}
PPO_LUNAR: Settings = {
    "n_steps": 512,
    "batch_size": 256,
    "n_epochs": 10,
    "gamma": 0.999,
    "gae_lambda": 0.98,
    "ent_coef": 0.01,
    "learning_rate": 3e-4,
}
GAME = {"frameskip": 1, "repeat_action_probability": 0.0}


def environment(work: str, seed: int, num_envs: int | None = None) -> VecEnv:
    """The work's environments, or another number of them."""
    if work == "W4":
        import ale_py

        gym.register_envs(ale_py)
        games = make_atari_env("ALE/Pong-v5", num_envs or 8, seed=seed, env_kwargs=GAME)
        return VecFrameStack(games, 4)
    if work == "W5":
        return make_vec_env(
            "LunarLander-v3", num_envs or 8, seed=seed, env_kwargs={"render_mode": None}
        )
    name, number = {"W1": ("CartPole-v1", 4), "W2": ("CartPole-v1", 1), "W3": ("Pendulum-v1", 1)}[work]
    return make_vec_env(name, num_envs or number, seed=seed)


def model(work: str, env: VecEnv, seed: int, frames: int) -> BaseAlgorithm:
    """The algorithm of a work, with the exploration of the whole work however few frames it gets."""
    common: dict[str, Any] = {"seed": seed, "device": "cpu", "verbose": 0}
    if work == "W2":
        fraction = 0.5 * WORKS[work].frames / frames
        return DQN("MlpPolicy", env, exploration_fraction=fraction, **DQN_CARTPOLE, **common)
    if work == "W3":
        return SAC("MlpPolicy", env, **SAC_PENDULUM, **common)
    if work == "W4":
        return PPO("CnnPolicy", env, **PPO_PONG, **common)
    return PPO("MlpPolicy", env, **(PPO_CARTPOLE if work == "W1" else PPO_LUNAR), **common)


def main() -> None:
    torch.set_num_threads(1)
    work, seed, frames = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    env = environment(work, seed)
    agent = model(work, env, seed, frames)
    cost = cost_of(lambda: agent.learn(frames))
    latest = [episode["r"] for episode in list(agent.ep_info_buffer or ())[-EPISODES:]]
    answer: dict[str, Any] = {
        "frames": agent.num_timesteps,
        "wall": cost.wall,
        "cpu": cost.cpu,
        "training": mean(latest) if latest else None,
        "greedy": None,
    }

    def evaluate() -> None:
        if WORKS[work].scored:
            fresh = environment(work, 1000 + seed, num_envs=1)
            answer["greedy"], _ = evaluate_policy(agent, fresh, EPISODES, deterministic=True)

    answer["evaluation"] = cost_of(evaluate)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
