"""Short specs of every kind of learning, which are killed at any moment."""

from __future__ import annotations

from typing import Any

from slm_lightning.spec.model import Spec
from tests.conftest import PAST, PRIORITIZED, REPLAY, make_spec

TWO = {"max_session": 2, "log_frequency": 100}
RIGOROUS = TWO | {"rigorous_eval": 2, "eval_frequency": 200}
PAST_EPISODES = PAST | {"name": "OnPolicyBatchReplay", "sil_replay_name": "PrioritizedReplay"}


def env(name: str, frames: int, **more: Any) -> dict[str, Any]:
    return {"name": name, "max_frame": frames, **more}


QUICK: dict[str, Spec] = {
    "REINFORCE on CartPole": make_spec("Reinforce", env("CartPole-v1", 4000), meta=TWO),
    "A2C on torch-native Pendulum": make_spec(
        "ActorCritic", env("Pendulum-v1", 4000, backend="torch"), meta=RIGOROUS
    ),
    "PPO on Pendulum, normalised": make_spec(
        "PPO",
        env("Pendulum-v1", 1500, normalize_obs=True, normalize_reward=True),
        meta=TWO | {"max_session": 4},
    ),
    "PPO on LunarLander": make_spec("PPO", env("LunarLander-v3", 2000), meta=RIGOROUS),
    "DQN on CartPole, prioritised": make_spec(
        "DoubleDQN", env("CartPole-v1", 1000), memory=PRIORITIZED, meta=TWO
    ),
    "SAC on Pendulum": make_spec("SoftActorCritic", env("Pendulum-v1", 400), memory=REPLAY, meta=TWO),
    "CrossQ on Pendulum": make_spec("CrossQ", env("Pendulum-v1", 400), memory=REPLAY, meta=RIGOROUS),
    "SIL on CartPole": make_spec("SIL", env("CartPole-v1", 2000), memory=PAST_EPISODES, meta=TWO),
}
"""Each a second or two of training."""

SLOW: dict[str, tuple[str, Spec]] = {
    "PPO on HalfCheetah": (
        "mujoco",
        make_spec("PPO", env("HalfCheetah-v5", 6000, normalize_obs=True), meta=TWO),
    ),
    "SAC on Hopper": (
        "mujoco",
        make_spec("SoftActorCritic", env("Hopper-v5", 1200), memory=REPLAY, meta=RIGOROUS),
    ),
    "PPO on BipedalWalker": (
        "box2d",
        make_spec("PPO", env("BipedalWalker-v3", 4000, normalize_reward=True), meta=TWO),
    ),
    "DQN on Pong": (
        "atari",
        make_spec(
            {"name": "DQN", "training_frequency": 16},
            env("ALE/Pong-v5", 800, max_t=90),
            net={
                "type": "ConvNet",
                "conv_hid_layers": [[8, 8, 4, 0, 1], [16, 4, 2, 0, 1]],
                "fc_hid_layers": [32],
            },
            memory=REPLAY,
            meta=TWO,
        ),
    ),
    "A2C on Breakout": (
        "atari",
        make_spec(
            "ActorCritic",
            env("ALE/Breakout-v5", 1500, max_t=90),
            net={
                "type": "ConvNet",
                "conv_hid_layers": [[8, 8, 4, 0, 1], [16, 4, 2, 0, 1]],
                "fc_hid_layers": [32],
            },
            meta=TWO | {"max_session": 1},
        ),
    ),
}
"""What needs an extra, or more time."""
