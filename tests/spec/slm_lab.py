"""Specs such as SLM Lab ships: every algorithm with every memory, net and kind of environment that
occurs there."""

from __future__ import annotations

import copy
from typing import Any

Spec = dict[str, Any]

DISCRETE = ("CartPole-v1", "Acrobot-v1", "MountainCar-v0", "LunarLander-v3")
CONTINUOUS = (
    *("Pendulum-v1", "BipedalWalker-v3", "LunarLanderContinuous-v3", "Hopper-v5", "Humanoid-v5"),
    *("HumanoidStandup-v5", "HalfCheetah-v5", "InvertedPendulum-v5", "InvertedDoublePendulum-v5"),
    *("Swimmer-v5", "Pusher-v5", "Walker2d-v5", "Ant-v5", "Reacher-v5"),
)
ATARI = ("ALE/Pong-v5", "ALE/Qbert-v5", "ALE/Breakout-v5", "ALE/Seaquest-v5", "VideoPinball-v0")
CHEAP = {"discrete": "CartPole-v1", "continuous": "Pendulum-v1", "image": "ALE/Pong-v5"}


def decay(start: float, end: float | None, step: float = 10_000, name: str = "linear_decay") -> Spec:
    return {"name": name, "start_val": start, "end_val": end, "start_step": 0, "end_step": step}


def fixed(value: float) -> Spec:
    return decay(value, value, 0, "no_decay")


SAMPLED = {"action_pdtype": "default", "action_policy": "default", "explore_var_spec": None}
GREEDY = {
    "action_pdtype": "Argmax",
    "action_policy": "epsilon_greedy",
    "explore_var_spec": decay(1.0, 0.1, 1000),
}
BOLTZMANN = {**GREEDY, "action_policy": "boltzmann", "explore_var_spec": decay(5, 0.5, 4000)}
GAE = {**SAMPLED, "gamma": 0.99, "lam": 0.95, "num_step_returns": None, "val_loss_coef": 0.5}
GAE |= {"entropy_coef_spec": fixed(0.01), "policy_loss_coef": 1.0, "training_frequency": 32}
N_STEP = {**GAE, "lam": None, "num_step_returns": 5, "training_frequency": 5}
IMITATION = {"sil_policy_loss_coef": 0.6, "sil_val_loss_coef": 0.01, "training_iter": 4}
IMITATION |= {"training_batch_iter": 8}
LEARNED_FROM = {"training_batch_iter": 1, "training_iter": 4, "training_frequency": 4}
LEARNED_FROM |= {"training_start_step": 32, "gamma": 0.99}

ALGORITHMS: dict[str, Spec] = {
    "Random": {"name": "Random"},
    "Reinforce": {
        **SAMPLED,
        "name": "Reinforce",
        "gamma": 0.99,
        "center_return": True,
        "training_frequency": 1,
        "entropy_coef_spec": decay(0.01, 0.0, 20_000),
    },
    "ActorCritic": {"name": "ActorCritic", **GAE},
    "n_step": {"name": "ActorCritic", **N_STEP},
    "monte_carlo": {"name": "ActorCritic", **GAE, "lam": None},
    "PPO": {
        **GAE,
        "name": "PPO",
        "clip_eps_spec": fixed(0.2),
        "time_horizon": 128,
        "minibatch_size": 64,
        "training_epoch": 4,
        "normalize_v_targets": True,
    },
    "SIL": {**GAE, "name": "SIL", **IMITATION},
    "SARSA": {**GREEDY, "name": "SARSA", "gamma": 0.99, "training_frequency": 32},
    "VanillaDQN": {**GREEDY, "name": "VanillaDQN", **LEARNED_FROM},
    "DQN": {**GREEDY, "name": "DQN", **LEARNED_FROM},
    "DQNBase": {**GREEDY, "name": "DQNBase", **LEARNED_FROM},
    "DoubleDQN": {**BOLTZMANN, "name": "DoubleDQN", **LEARNED_FROM},
    "SoftActorCritic": {
        **SAMPLED,
        "name": "SoftActorCritic",
        "gamma": 0.99,
        "training_frequency": 1,
        "training_iter": 1,
        "training_start_step": 1000,
    },
}
ALGORITHMS["PPOSIL"] = ALGORITHMS["PPO"] | IMITATION | {"name": "PPOSIL"}
CROSSQ = {"policy_delay": 3, "log_alpha_max": 0.5, "training_iter": 4, "name": "CrossQ"}
ALGORITHMS["CrossQ"] = ALGORITHMS["SoftActorCritic"] | CROSSQ

REPLAY = {"name": "Replay", "batch_size": 32, "max_size": 10_000, "use_cer": True}
PRIORITIZED = {**REPLAY, "name": "PrioritizedReplay", "alpha": 0.6, "epsilon": 1e-4, "use_cer": False}
PAST = {"sil_replay_name": "Replay", "batch_size": 32, "max_size": 10_000, "use_cer": True}
MEMORIES: dict[str, Spec] = {
    "batch": {"name": "OnPolicyBatchReplay"},
    "episodes": {"name": "OnPolicyReplay"},
    "cross_entropy": {"name": "OnPolicyCrossEntropy", "cross_entropy": 0.5},
    "batch_sil": {"name": "OnPolicyBatchReplay", **PAST},
    "episodes_sil": {"name": "OnPolicyReplay", **PAST},
    "replay": REPLAY,
    "prioritized": PRIORITIZED,
}

COMMON: Spec = {
    "init_fn": "orthogonal_",
    "clip_grad_val": 0.5,
    "use_same_optim": False,
    "gpu": "auto",
    "shared": False,
    "loss_spec": {"name": "MSELoss"},
    "optim_spec": {"name": "Adam", "lr": 1e-3},
    "lr_scheduler_spec": {"name": "LinearToZero", "frame": 1e5},
    "update_type": "polyak",
    "update_frequency": 1,
    "polyak_coef": 0.005,
}
CONV = {
    "hid_layers_activation": "relu",
    "batch_norm": False,
    "normalize": True,
    "init_fn": None,
    "conv_hid_layers": [[32, 8, 4, 0, 1], [64, 4, 2, 0, 1], [32, 3, 1, 0, 1]],
    "fc_hid_layers": [256],
}


def arc(*modules: Any) -> Spec:
    return {
        "modules": {"body": {"Sequential": list(modules)}},
        "graph": {"input": "x", "modules": {"body": ["x"]}, "output": "body"},
    }


def linear(width: int) -> Spec:
    return {"LazyLinear": {"out_features": width}}


def conv(channels: int, kernel: int, stride: int) -> Spec:
    return {"LazyConv2d": {"out_channels": channels, "kernel_size": kernel, "stride": stride}}


RENORM = {"LazyBatchRenorm1d": {"momentum": 0.01, "eps": 1e-3, "warmup_steps": 5000}}
MLP_ARC = arc(linear(64), {"Tanh": None}, linear(64), {"SELU": {}}, {"SiLU": None})
NORMED_ARC = arc(linear(64), {"LayerNorm": {"normalized_shape": 64}}, {"ReLU": None})
RENORM_ARC = arc(linear(64), RENORM, {"ReLU": None})
CONV_ARC = arc(
    conv(32, 8, 4), {"ReLU": None}, conv(64, 4, 2), {"ReLU": None}, {"Flatten": None}, linear(256)
)

NETS: dict[str, Spec] = {
    "mlp": {"type": "MLPNet", "hid_layers": [64, 64], "hid_layers_activation": "tanh"},
    "mlp_shared": {
        "type": "MLPNet",
        "hid_layers": [64],
        "hid_layers_activation": "selu",
        "shared": True,
    },
    "rnn": {
        "type": "RecurrentNet",
        "cell_type": "GRU",
        "fc_hid_layers": [],
        "rnn_hidden_size": 32,
        "rnn_num_layers": 1,
        "bidirectional": False,
        "seq_len": 4,
        "hid_layers_activation": "relu",
    },
    "dueling": {"type": "DuelingMLPNet", "hid_layers": [64], "hid_layers_activation": "relu"},
    "arc": {"type": "TorchArcNet", "arc": MLP_ARC, "hid_layers_activation": "tanh"},
    "normed_arc": {"type": "TorchArcNet", "arc": NORMED_ARC, "hid_layers": [64], "batch_norm": False},
    "two_arcs": {"type": "TorchArcNet", "actor_arc": MLP_ARC, "critic_arc": NORMED_ARC},
    "conv": {"type": "ConvNet", **CONV},
    "conv_shared": {"type": "ConvNet", **CONV, "shared": True},
    "dueling_conv": {"type": "DuelingConvNet", **CONV},
    "conv_arc": {"type": "TorchArcNet", "arc": CONV_ARC, "normalize": True, "shared": True},
}
IMAGE_NETS = ("conv", "conv_shared", "dueling_conv", "conv_arc")

ON_POLICY = ("batch", "episodes")
PAIRINGS: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    "Random": (("episodes", "batch"), (), "discrete continuous"),
    "Reinforce": ((*ON_POLICY, "cross_entropy"), ("mlp", "rnn", "arc", "conv"), "discrete continuous"),
    "ActorCritic": (
        ON_POLICY,
        ("mlp", "mlp_shared", "rnn", "arc", "normed_arc", "conv", "conv_shared", "conv_arc"),
        "discrete continuous",
    ),
    "n_step": (ON_POLICY, ("mlp", "mlp_shared", "rnn", "conv"), "discrete continuous"),
    "monte_carlo": (ON_POLICY, ("mlp",), "discrete"),
    "PPO": (
        ON_POLICY,
        ("mlp", "mlp_shared", "rnn", "arc", "two_arcs", "conv", "conv_shared", "conv_arc"),
        "discrete continuous",
    ),
    "SIL": (("batch_sil", "episodes_sil"), ("mlp", "mlp_shared", "rnn", "conv"), "discrete continuous"),
    "PPOSIL": (("batch_sil", "episodes_sil"), ("mlp", "mlp_shared", "rnn", "arc"), "discrete"),
    "SARSA": (ON_POLICY, ("mlp", "rnn", "arc"), "discrete"),
    "VanillaDQN": (("replay",), ("mlp", "arc"), "discrete"),
    "DQN": (
        ("replay", "prioritized"),
        ("mlp", "rnn", "dueling", "arc", "conv", "dueling_conv"),
        "discrete",
    ),
    "DQNBase": (("replay",), ("mlp",), "discrete"),
    "DoubleDQN": (
        ("replay", "prioritized"),
        ("mlp", "rnn", "dueling", "arc", "conv", "dueling_conv", "conv_arc"),
        "discrete",
    ),
    "SoftActorCritic": (
        ("replay", "prioritized"),
        ("mlp", "rnn", "arc", "conv", "conv_arc"),
        "discrete continuous",
    ),
    "CrossQ": (("replay",), ("mlp", "arc", "conv"), "discrete continuous"),
}
"""Memories, nets and kinds of actions that each algorithm has in SLM Lab's specs."""


def spec(algorithm: Spec, memory: Spec, net: Spec, env: str, **more: Any) -> Spec:
    """An entry with the usual other keys; ``more`` are keys of ``env``."""
    episodes = memory["name"] in ("OnPolicyReplay", "OnPolicyCrossEntropy")
    env_section: Spec = {"name": env, "max_t": None, "max_frame": 2e5, **more}
    if not episodes and "num_envs" not in more:
        env_section["num_envs"] = 4
    meta = {"distributed": False, "log_frequency": 500, "eval_frequency": 500, "rigorous_eval": 0}
    meta |= {"max_session": 4, "max_trial": 1, "search_resources": {"cpu": 1, "gpu": 0.125}}
    agent = {"name": algorithm["name"], "algorithm": algorithm, "memory": memory, "net": net}
    return copy.deepcopy({"agent": agent, "env": env_section, "meta": meta})


def pairing(algorithm: str, memory: str, net: str, env: str, **more: Any) -> Spec:
    """An entry by the names of its parts; ``net`` may be empty."""
    section = {**COMMON, **NETS[net]} if net else {}
    if net in ("two_arcs", "conv_arc", "arc", "normed_arc"):
        section["actor_optim_spec"] = {"name": "AdamW", "lr": "3e-4"}
        section["critic_optim_spec"] = {"name": "AdamW", "lr": 1e-3}
    params = copy.deepcopy(ALGORITHMS[algorithm])
    if memory == "prioritized" and algorithm.endswith("DQN"):
        section["update_type"], section["update_frequency"] = "replace", 100
    return spec(params, MEMORIES[memory], section, env, **more)


def pairings() -> dict[str, Spec]:
    """One entry for each algorithm with each memory, net and kind of environment."""
    entries = {}
    for algorithm, (memories, nets, kinds) in PAIRINGS.items():
        for memory in memories:
            for net in nets or ("",):
                for kind in ("image",) if net in IMAGE_NETS else kinds.split():
                    name = f"{algorithm}_{memory}_{net or 'none'}_{kind}".lower()
                    entries[name] = pairing(algorithm, memory, net, CHEAP[kind])
    return entries


def environments() -> dict[str, Spec]:
    """One entry for each environment, by an algorithm of its kind."""
    entries = {}
    for env in (*DISCRETE, *CONTINUOUS, *ATARI):
        name = env.removeprefix("ALE/").partition("-")[0].lower()
        image = env in ATARI
        net = "conv" if image else "mlp"
        entries[f"a2c_gae_{name}"] = pairing("ActorCritic", "batch", net, env, num_envs=16)
        if env in DISCRETE or image:
            more = {"num_envs": 8, "life_loss_info": True} if image and "/" in env else {}
            entries[f"dqn_{name}"] = pairing("DQN", "replay", net, env, **more)
        else:
            more = {"normalize_obs": True, "normalize_reward": True}
            entries[f"sac_{name}"] = pairing("SoftActorCritic", "replay", net, env, **more)
    continuous = pairing("PPO", "batch", "mlp", "LunarLander-v3", continuous=True)
    entries["ppo_lunar_continuous"] = continuous
    sticky = pairing("PPO", "batch", "conv_shared", "ALE/Pong-v5", repeat_action_probability=0.0)
    return entries | {"ppo_pong_still": sticky}
