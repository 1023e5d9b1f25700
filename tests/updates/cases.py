"""Small sessions of every algorithm, with the keys that change what an update computes."""

from __future__ import annotations

from typing import Any

from slm_lightning.algorithms import algorithms
from slm_lightning.spec.model import Spec
from tests.conftest import PAST, PRIORITIZED, make_spec
from tests.envs.probes import probe

FEW = {"max_frame": 128}
"""Two rounds of PPO and A2C, sixteen of SARSA, twenty-four of what replays."""
CARTPOLE = {"name": "CartPole-v1"} | FEW
PENDULUM = {"name": "Pendulum-v1"} | FEW
FALLING = {"name": "linear_decay", "start_val": 2.0, "end_val": 0.5, "end_step": 128}
"""Lower in every round."""
HEAT = {"action_policy": "boltzmann", "explore_var_spec": FALLING}
STEEP = {"optim_spec": {"name": "SGD", "lr": 0.01}}
"""Adam would step by the rounding errors of biases before a batch norm, which have no gradient."""
CLIPPED = {
    "clip_grad_val": 0.5,
    "lr_scheduler_spec": {"name": "LinearToZero", "frame": 150},
    "optim_spec": {"name": "Adam", "lr": 0.01},
}
POLYAK = {"update_type": "polyak", "polyak_coef": 0.05}
IMAGES = {
    "type": "ConvNet",
    "conv_hid_layers": [[8, 3, 3]],
    "fc_hid_layers": [16],
    "normalize": True,
}


def off_policy(name: str, *, net: dict[str, Any] | None = None, **keys: Any) -> Spec:
    """SAC, CrossQ or TD3 on continuous actions, learning 16 minibatches; ``critic_net`` and ``env`` are
    sections, other keys the algorithm's."""
    env, critic_net = keys.pop("env", PENDULUM), keys.pop("critic_net", None)
    short = {"name": name, "training_frequency": 8, "training_start_step": 64} | keys
    return make_spec(short, env, CLIPPED | POLYAK | (net or {}), critic_net=critic_net)


def plain(name: str) -> Spec:
    """The algorithm called ``name``, its gradients clipped and its learning rate falling."""
    env = CARTPOLE if "discrete" in algorithms()[name].actions else PENDULUM
    return make_spec(name, env, CLIPPED | POLYAK)


SHORT: dict[str, Spec] = {
    "PPO": make_spec(
        {"name": "PPO", "clip_eps_spec": FALLING, "entropy_coef_spec": FALLING}, CARTPOLE, CLIPPED
    ),
    "DQN": plain("DQN"),
    "SAC": off_policy("SoftActorCritic"),
}
"""What every commit is tested with: to compile takes seconds."""

LONG: dict[str, Spec] = {
    **{
        name: plain(name)
        for name, cls in algorithms().items()
        if cls.Params.learns and name not in SHORT
    },
    **{
        f"{name} with a Boltzmann policy": make_spec({"name": name} | HEAT, CARTPOLE, CLIPPED)
        for name in ("PPO", "ActorCritic", "Reinforce", "SIL")
    },
    "A2C with an entropy schedule": make_spec(
        {"name": "ActorCritic", "entropy_coef_spec": FALLING}, CARTPOLE, CLIPPED | {"shared": True}
    ),
    "PPO on continuous actions": make_spec(
        "PPO", PENDULUM | {"normalize_obs": True, "normalize_reward": True}, {"log_std_init": 0.0}
    ),
    "PPO with Beta": make_spec({"name": "PPO", "action_pdtype": "Beta"}, PENDULUM),
    "PPO with a shared net": make_spec("PPO", CARTPOLE, CLIPPED | {"shared": True}),
    "PPO whose last minibatch is smaller": make_spec({"name": "PPO", "minibatch_size": 24}, CARTPOLE),
    "PPO with percentiles": make_spec(
        {"name": "PPO", "normalize_advantages": "percentile", "normalize_v_targets": True}, CARTPOLE
    ),
    "PPO with symlog": make_spec({"name": "PPO", "symlog": True}, CARTPOLE),
    "PPO with clip_vloss": make_spec(
        {"name": "PPO", "clip_vloss": True, "clip_eps_spec": FALLING}, CARTPOLE
    ),
    "PPO on images": make_spec("PPO", probe("BrightHalf") | FEW, IMAGES),
    **{
        f"PPO with {key}": make_spec("PPO", CARTPOLE, STEEP | {key: True})
        for key in ("layer_norm", "batch_norm", "weight_norm")
    },
    "DQN on images": make_spec("DQN", probe("BrightHalf") | FEW, IMAGES),
    "dueling DQN": make_spec("DQN", CARTPOLE, CLIPPED | {"type": "DuelingMLPNet", "hid_layers": [16]}),
    "dueling DQN on images": make_spec(
        "DoubleDQN", probe("BrightHalf") | FEW, IMAGES | {"type": "DuelingConvNet"}
    ),
    "DQN with priorities": make_spec("DQN", CARTPOLE, memory=PRIORITIZED | {"num_step_returns": 3}),
    "DQN with two steps on a minibatch": make_spec({"name": "DQN", "training_batch_iter": 2}, CARTPOLE),
    "SIL with priorities": make_spec(
        "SIL",
        CARTPOLE,
        memory=PAST | {"name": "OnPolicyBatchReplay", "sil_replay_name": "PrioritizedReplay"},
    ),
    "SAC on discrete actions": off_policy("SoftActorCritic", env=CARTPOLE),
    "SAC with a falling alpha": off_policy("SoftActorCritic", fixed_alpha=0.4, alpha_anneal_frames=128),
    "SAC with an entropy schedule": off_policy(
        "SoftActorCritic",
        env=CARTPOLE,
        entropy_anneal={"start_ratio": 0.9, "end_ratio": 0.3, "frames": 128},
    ),
    "SAC with an entropy penalty": off_policy("SoftActorCritic", entropy_penalty_coef=2.0),
    "SAC with spectral norm": off_policy(
        "SoftActorCritic", net={"hid_layers": [16, 16]}, spectral_norm=True, symlog=True
    ),
    "SAC with priorities": make_spec(
        {"name": "SoftActorCritic", "training_start_step": 64}, PENDULUM, memory=PRIORITIZED
    ),
    "SAC with a Boltzmann policy": off_policy("SoftActorCritic", env=CARTPOLE, **HEAT),
    "SAC with a delayed policy": off_policy("SoftActorCritic", policy_delay=2),
    "CrossQ with batch renorm": off_policy(
        "CrossQ", net=STEEP, critic_net=STEEP | {"batch_renorm": True}
    ),
    "CrossQ on discrete actions": off_policy(
        "CrossQ", env=CARTPOLE, net=STEEP, critic_net=STEEP | {"batch_norm": True}
    ),
    "TD3 with priorities": make_spec(
        {"name": "TD3", "training_start_step": 64}, PENDULUM, memory=PRIORITIZED
    ),
}
"""All the rest."""
