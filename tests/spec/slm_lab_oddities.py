"""What the authors of SLM Lab's specs left behind, misspelt, wrote for other versions or got wrong."""

from __future__ import annotations

from typing import Any

from tests.spec.conftest import drop_at, set_at
from tests.spec.slm_lab import (
    COMMON,
    RENORM_ARC,
    Spec,
    decay,
    fixed,
    pairing,
    spec,
)

A2C = pairing("ActorCritic", "batch", "mlp", "CartPole-v1")
PPO = pairing("PPO", "batch", "mlp", "CartPole-v1")
DQN = pairing("DQN", "replay", "mlp", "CartPole-v1")
SAC = pairing("SoftActorCritic", "replay", "mlp", "Pendulum-v1")
SAC_DISCRETE = pairing("SoftActorCritic", "replay", "mlp", "LunarLander-v3")
CROSSQ = pairing("CrossQ", "replay", "arc", "Acrobot-v1")
SIL = pairing("SIL", "episodes_sil", "mlp", "LunarLander-v3")
REINFORCE = pairing("Reinforce", "batch", "mlp", "CartPole-v1")
SARSA = pairing("SARSA", "batch", "mlp", "CartPole-v1")
REPLAYED = {"name": "Replay", "batch_size": 32, "max_size": 1e4, "use_cer": False}
RANDOM = spec({"name": "Random", "gamma": 0.99, "training_frequency": 1}, REPLAYED, {}, "CartPole-v1")
CONV_A2C = pairing("ActorCritic", "batch", "conv", "ALE/Pong-v5")

ALGORITHM, NET, MEMORY = "agent.algorithm", "agent.net", "agent.memory"
GONE = object()
"""In place of a value: the key is not there."""

BATCH_NORM = {**COMMON, "type": "MLPNet", "hid_layers": [64, 64], "hid_layers_activation": "relu"}
BATCH_NORM = BATCH_NORM | {"batch_norm": True}
RENORMED = {**COMMON, "type": "TorchArcNet", "arc": RENORM_ARC, "batch_norm": True}

CHANGES: dict[str, tuple[Spec, dict[str, Any]]] = {
    # numbers as text
    "lr_text": (PPO, {f"{NET}.optim_spec.lr": "3e-4", f"{NET}.actor_optim_spec": {"lr": "1e-3"}}),
    "frames_text": (CONV_A2C, {"env.max_frame": "1e7", f"{NET}.lr_scheduler_spec.frame": "10e6"}),
    "max_size_float": (DQN, {f"{MEMORY}.max_size": 1e5, f"{MEMORY}.batch_size": 4}),
    # keys that nothing read
    "clip_val_loss": (PPO, {f"{ALGORITHM}.clip_val_loss": True}),
    "ppo_frequency": (PPO, {f"{ALGORITHM}.training_frequency": 1, f"{ALGORITHM}.training_iter": 8}),
    "ppo_of_sil": (PPO, {f"{ALGORITHM}.sil_policy_loss_coef": 1.0, f"{ALGORITHM}.policy_loss_coef": 1}),
    "mlp_normalize": (DQN, {f"{NET}.normalize": True}),
    "arc_batch_norm": (CROSSQ, {f"{NET}.batch_norm": True, f"{NET}.hid_layers": [256]}),
    "num_gpus": (A2C, {"meta.num_gpus": 1}),
    "min_factor": (PPO, {f"{NET}.lr_scheduler_spec.min_factor": 0.1}),
    "sac_shared": (SAC, {f"{NET}.shared": True, f"{NET}.use_same_optim": True}),
    "reinforce_lam": (REINFORCE, {f"{ALGORITHM}.lam": 0.95, f"{ALGORITHM}.val_loss_coef": 0.5}),
    "a2c_of_ppo": (A2C, {f"{ALGORITHM}.clip_eps_spec": fixed(0.2), f"{ALGORITHM}.training_epoch": 8}),
    "a2c_of_dqn": (A2C, {f"{ALGORITHM}.training_iter": 1, f"{ALGORITHM}.training_start_step": 10}),
    "sarsa_of_dqn": (SARSA, {f"{ALGORITHM}.training_iter": 1, f"{ALGORITHM}.training_batch_iter": 8}),
    "dqn_of_a2c": (DQN, {f"{ALGORITHM}.lam": None, f"{ALGORITHM}.entropy_coef_spec": None}),
    "sac_of_dqn": (SAC, {f"{ALGORITHM}.training_batch_iter": 1, f"{ALGORITHM}.lam": 0.9}),
    "random_of_all": (RANDOM, {f"{ALGORITHM}.lam": 1, f"{NET}.gpu": "auto"}),
    "memory_of_replay": (
        A2C,
        {f"{MEMORY}.batch_size": 32, f"{MEMORY}.max_size": 1e4, f"{MEMORY}.use_cer": True},
    ),
    "memory_of_per": (DQN, {f"{MEMORY}.alpha": 0.6, f"{MEMORY}.epsilon": 0}),
    "memory_of_sil": (PPO, {f"{MEMORY}.sil_replay_name": "Replay", f"{MEMORY}.cross_entropy": 1.0}),
    "net_of_rnn": (A2C, {f"{NET}.cell_type": "GRU", f"{NET}.seq_len": 4, f"{NET}.fc_hid_layers": []}),
    "rnn_of_mlp": (pairing("ActorCritic", "batch", "rnn", "CartPole-v1"), {f"{NET}.hid_layers": [64]}),
    "critic_net_of_sac": (SAC, {"agent.critic_net": BATCH_NORM}),
    "critic_net_of_ppo": (PPO, {"agent.critic_net": BATCH_NORM}),
    "old_keys": (
        DQN,
        {
            f"{NET}.clip_grad": True,
            f"{NET}.lr_decay": "rate_decay",
            "body": {"product": "outer", "num": 1},
            f"{ALGORITHM}.normalize_state": True,
            "meta.train_mode": True,
        },
    ),
    "saved": (
        A2C,
        {
            **{f"meta.{key}": None for key in ("prepath", "random_seed", "experiment_ts")},
            **{f"meta.{key}": -1 for key in ("experiment", "trial", "session")},
            "meta.resume": False,
            "meta.cuda_offset": 0,
            "meta.git_sha": "0" * 40,
            "name": "saved",
        },
    ),
    # PPO as it could not run
    "ppo_no_minibatch": (PPO, {f"{ALGORITHM}.minibatch_size": GONE}),
    "ppo_no_entropy": (PPO, {f"{ALGORITHM}.entropy_coef_spec": None}),
    "ppo_episodes": (PPO, {f"{MEMORY}.name": "OnPolicyReplay"}),
    "ppo_lunar": (
        pairing("PPO", "episodes", "mlp", "LunarLander-v3"),
        {f"{ALGORITHM}.time_horizon": GONE, f"{ALGORITHM}.training_frequency": 1},
    ),
    "ppo_lunar_batch": (
        PPO,
        {f"{ALGORITHM}.time_horizon": GONE, f"{ALGORITHM}.training_frequency": 20},
    ),
    "pposil_lunar": (
        pairing("PPOSIL", "episodes_sil", "rnn", "LunarLander-v3"),
        {
            **{f"{ALGORITHM}.{key}": GONE for key in ("time_horizon", "training_iter")},
            f"{ALGORITHM}.training_frequency": 1,
        },
    ),
    "sil_lunar": (SIL, {f"{ALGORITHM}.training_iter": GONE}),
    "ppo_playground_horizon": (PPO, {"env.num_envs": 2048, f"{ALGORITHM}.time_horizon": 10}),
    "ppo_min": (
        PPO,
        {f"{NET}.lr_scheduler_spec": {"name": "LinearToMin", "frame": 1e7, "min_factor": 0.2}},
    ),
    "ppo_tanh": (
        pairing("PPO", "batch", "two_arcs", "Pendulum-v1"),
        {f"{ALGORITHM}.action_pdtype": "NormalTanh", f"{ALGORITHM}.normalize_advantages": "percentile"},
    ),
    "ppo_values": (PPO, {f"{ALGORITHM}.clip_vloss": True, f"{ALGORITHM}.symlog": True}),
    # schedules
    "entropy_to_0": (REINFORCE, {f"{ALGORITHM}.entropy_coef_spec": decay(0.01, 0.0)}),
    "entropy_rises": (PPO, {f"{ALGORITHM}.clip_eps_spec": decay(0.1, 0.2)}),
    "explore_stays": (DQN, {f"{ALGORITHM}.explore_var_spec": decay(1.0, 1.0)}),
    "temperature_as_epsilon": (DQN, {f"{ALGORITHM}.explore_var_spec": decay(5, 0.5)}),
    "boltzmann_to_0": (
        DQN,
        {f"{ALGORITHM}.action_policy": "boltzmann", f"{ALGORITHM}.explore_var_spec": decay(3, 0)},
    ),
    "sarsa_boltzmann": (SARSA, {f"{ALGORITHM}.explore_var_spec": decay(1.0, 0.05)}),
    "steps_lr": (
        DQN,
        {f"{NET}.lr_scheduler_spec": {"name": "StepLR", "step_size": 1000, "gamma": 0.9}},
    ),
    # nets
    "update_typo": (DQN, {f"{NET}.update_frequency": 0.9}),
    "update_typo_replace": (DQN, {f"{NET}.update_frequency": 0.9, f"{NET}.update_type": "replace"}),
    "polyak_0": (DQN, {f"{NET}.polyak_coef": 0}),
    "polyak_0.9": (DQN, {f"{NET}.polyak_coef": 0.9}),
    "head_init": (PPO, {f"{NET}.actor_init_std": 0.01, f"{NET}.critic_init_std": 1.0}),
    "head_init_plain": (PPO, {f"{NET}.actor_init_std": 0.01, f"{NET}.init_fn": None}),
    "log_std": (pairing("PPO", "batch", "mlp_shared", "Pendulum-v1"), {f"{NET}.log_std_init": 0.0}),
    "conv_default_norm": (CONV_A2C, {f"{NET}.batch_norm": GONE}),
    "loss_in_critic": (
        CROSSQ,
        {"agent.critic_net": RENORMED | {"loss_spec": {"name": "SmoothL1Loss"}}},
    ),
    "crossq_mlp_norm": (CROSSQ, {NET: BATCH_NORM}),
    "crossq_default_iter": (
        CROSSQ,
        {f"{ALGORITHM}.training_iter": GONE, f"{ALGORITHM}.policy_delay": GONE},
    ),
    "rmsprop": (
        A2C,
        {f"{NET}.optim_spec": {"name": "RMSprop", "lr": 7e-4, "alpha": 0.99, "eps": 1e-5}},
    ),
    "adamw": (A2C, {f"{NET}.optim_spec": {"name": "AdamW", "lr": 1e-3, "betas": [0.9, 0.999]}}),
    "activations": (
        A2C,
        {f"{NET}.hid_layers_activation": "leakyrelu", f"{NET}.init_fn": "xavier_uniform_"},
    ),
    "sigmoid": (A2C, {f"{NET}.hid_layers_activation": "sigmoid", f"{NET}.out_layer_activation": None}),
    "gpu_text": (A2C, {f"{NET}.gpu": "false"}),
    # environments and memories that contradict each other
    "episodes_of_many": (pairing("ActorCritic", "episodes", "mlp", "CartPole-v1"), {"env.num_envs": 4}),
    "one_env": (DQN, {"env.num_envs": 1, "env.max_t": 500}),
    "one_game": (CONV_A2C, {"env.num_envs": 1, "env.life_loss_info": True}),
    "no_envs": (DQN, {"env.num_envs": GONE}),
    "reward_scale": (SAC, {"env.reward_scale": 10.0, "env.clip_obs": 5.0}),
    "no_meta": (A2C, {"meta": {"distributed": False, "max_session": 1}}),
    # distributions
    "gumbel": (SAC_DISCRETE, {f"{ALGORITHM}.action_pdtype": "GumbelSoftmax"}),
    "argmax_policy": (A2C, {f"{ALGORITHM}.action_pdtype": "Argmax"}),
    "normal": (SAC, {f"{ALGORITHM}.action_pdtype": "Normal"}),
    "multivariate": (
        pairing("PPO", "batch", "mlp", "BipedalWalker-v3"),
        {f"{ALGORITHM}.action_pdtype": "MultivariateNormal"},
    ),
    "sac_everything": (
        SAC,
        {
            f"{ALGORITHM}.{key}": value
            for key, value in {
                "symlog": True,
                "spectral_norm": True,
                "alpha_lr": "3e-4",
                "log_alpha_max": 1,
                "policy_delay": 2,
                "entropy_penalty_coef": 0.5,
                "target_entropy": "auto",
            }.items()
        },
    ),
    # many workers
    **{
        f"a3c_{kind}_{optimizer.lower()}": (
            A2C,
            {"meta.distributed": kind, f"{NET}.optim_spec": {"name": optimizer, "lr": 1e-3}},
        )
        for kind in ("synced", "shared")
        for optimizer in ("GlobalAdam", "GlobalRMSprop", "Adam")
    },
    "dppo": (PPO, {"meta.distributed": "synced", "meta.max_session": 16}),
    "async_sac": (
        SAC,
        {"meta.distributed": "shared", f"{NET}.optim_spec": {"name": "GlobalAdam", "lr": 1e-3}},
    ),
    "async_sac_lunar": (
        SAC_DISCRETE,
        {"meta.distributed": "synced", f"{ALGORITHM}.action_pdtype": "GumbelSoftmax"},
    ),
    **{
        f"a3c_{name}": (data, {"meta.distributed": "synced", "meta.max_session": 4})
        for name, data in {
            "episodes": pairing("ActorCritic", "episodes", "mlp", "CartPole-v1"),
            "rnn": pairing("ActorCritic", "batch", "rnn", "CartPole-v1"),
            "conv": CONV_A2C,
            "per": pairing("DQN", "prioritized", "mlp", "CartPole-v1"),
            "sil": SIL,
            "crossq": CROSSQ,
            "reinforce": REINFORCE,
        }.items()
    },
    # budgets and starts
    "few_frames": (PPO, {"env.max_frame": 250, f"{ALGORITHM}.time_horizon": 2048}),
    "few_frames_replay": (SAC, {"env.max_frame": 250}),
    "early_start": (DQN, {f"{ALGORITHM}.training_start_step": 10, f"{MEMORY}.batch_size": 256}),
    # searches
    "search": (
        PPO,
        {
            "search": {
                "agent.algorithm.gamma__uniform": [0.9, 0.999],
                "agent": {
                    "algorithm": {"lam__uniform": [0.9, "1.0"]},
                    "net": {
                        "hid_layers__choice": [[64], [64, 64]],
                        "optim_spec": {"lr__loguniform": ["1e-5", 1e-2]},
                    },
                },
                "env.num_envs__choice": [4, 8],
                "meta.max_session__choice": [1, 2],
                "agent.algorithm.time_horizon__qrandint": [64, 512, 64],
                "agent.algorithm.training_epoch__randint": [1, 10],
            },
            "meta.search_scheduler": {"grace_period": 1e4, "reduction_factor": 3},
            "meta.max_trial": 200,
        },
    ),
    "search_old": (
        PPO,
        {
            "search": {
                "agent": [
                    {
                        "algorithm": {"lam_uniform": [0.9, 1.0], "gamma__grid_search": [0.9, 0.99]},
                        "net": {"hid_layers__choice": [[64]]},
                    }
                ]
            }
        },
    ),
    "old_env_keys": (
        A2C,
        {
            "env.frame_op": "concat",
            "env.frame_op_len": 4,
            "env.normalize_state": True,
            "env.reward_scale": "sign",
            "env.max_tick_unit": "total_t",
        },
    ),
    "scaled_images": (CONV_A2C, {"env.scale_obs": True, f"{NET}.normalize": GONE}),
    "Of_This_Lab": (A2C, {"curriculum": {"threshold": 0.8}, f"{NET}.lr_decay_rate": 0.9}),
    "search_stale": (
        DQN,
        {
            "search": {
                "agent.net.lr_decay_frequency__choice": [1000],
                "agent.algorithm.clip_eps__uniform": [0.1, 0.4],
                "agent.agent.training_batch_iter__choice": [1, 2],
                "agent.net": {},
            }
        },
    ),
}

REMOVED = {
    "hydra_dqn": set_at(set_at(DQN, f"{ALGORITHM}.name", "HydraDQN"), f"{NET}.type", "HydraMLPNet"),
    "async_sac_halfcheetah": set_at(SAC, "env.name", "HalfCheetahBulletEnv-v0"),
    "a2c_roboschool": set_at(A2C, "env.name", "RoboschoolHopper-v1"),
}
"""What names things that do not exist any more."""


def oddities() -> dict[str, Spec]:
    """An entry for each of :data:`CHANGES`."""
    entries = {}
    for name, (data, changes) in CHANGES.items():
        for path, value in changes.items():
            data = drop_at(data, path) if value is GONE else set_at(data, path, value)
        entries[name] = data
    return entries
