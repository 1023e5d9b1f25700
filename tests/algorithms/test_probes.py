"""Every algorithm learns the probe environments, each of which needs one more part to be right. Those
that need least, and so tell where it goes wrong, are among the slow tests."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from slm_lightning.algorithms import algorithms
from slm_lightning.algorithms.off_policy import OffPolicyActorCritic
from slm_lightning.algorithms.qr_dqn import QRDQN
from slm_lightning.core import Keys, Stream
from slm_lightning.data.evaluate import evaluate
from slm_lightning.envs import make_env
from tests.conftest import Run, make_spec, train
from tests.envs.probes import Identity, probe

GAMMA = 0.5
FAST = {
    "hid_layers": [32],
    "hid_layers_activation": "tanh",
    "log_std_init": -1.0,
    "clip_grad_val": 2.0,
    "optim_spec": {"name": "Adam", "lr": 0.02},
}
BASES = {"SIL": "ActorCritic", "PPOSIL": "PPO"}
CRITICS = {
    "PPO": {"time_horizon": 8, "minibatch_size": 32, "training_epoch": 4, "lam": 0.9},
    "ActorCritic": {"training_frequency": 2, "lam": 0.9},
}
LEARNERS = CRITICS | {"Reinforce": {"training_frequency": 2}}
IMITATORS = {name: CRITICS[base] | {"training_iter": 1} for name, base in BASES.items()}
REPLAY = {"name": "Replay", "batch_size": 32, "max_size": 1000}
REPLAYED = {"training_frequency": 8, "training_iter": 2, "training_start_step": 64}
SOFT = REPLAYED | {"fixed_alpha": 0.1, "alpha_anneal_frames": 1000}
TARGET = {"update_type": "polyak", "polyak_coef": 0.2, "optim_spec": {"name": "Adam", "lr": 0.01}}
Q_CRITICS = {
    "SoftActorCritic": SOFT,
    "CrossQ": SOFT,
    "QRDQN": REPLAYED | {"explore_var_spec": {"start_val": 0.2}, "num_quantiles": 8},
}
Q_LEARNERS = Q_CRITICS | {
    "TD3": REPLAYED | {"training_iter": 4, "training_start_step": 400, "explore_noise": 0.3}
}


def learn(name: str, env: dict, frames: int = 2000, critic_net: dict | None = None, **keys) -> Run:
    env = {"num_envs": 8, "max_frame": frames} | env
    if name in Q_LEARNERS:
        algorithm, net = {"name": name, "gamma": GAMMA} | Q_LEARNERS[name] | keys, FAST | TARGET
        return train(make_spec(algorithm, env, net, memory=REPLAY, critic_net=critic_net))
    algorithm = {"name": name, "gamma": GAMMA, "entropy_coef_spec": None} | keys
    algorithm = (LEARNERS | IMITATORS)[name] | algorithm
    return train(make_spec(algorithm, env, FAST))


def value(run: Run, obs: list) -> Tensor:
    agent, rows = run.session.agent, torch.tensor(obs, dtype=torch.float32)
    with torch.no_grad():
        if isinstance(agent, OffPolicyActorCritic):
            return agent.critics(rows).mean((0, 2))
        return agent.q(rows).mean(1) if isinstance(agent, QRDQN) else agent.net.value(rows)


@pytest.mark.parametrize("name", [*CRITICS, *IMITATORS, *Q_CRITICS])
@pytest.mark.parametrize(
    ("env", "obs", "expected"),
    [
        pytest.param("ConstantReward", [[1]], [1], marks=pytest.mark.slow),
        ("ObservedReward", [[-1], [1]], [-1, 1]),
        ("DelayedReward", [[0], [1]], [GAMMA, 1]),
    ],
)
def test_the_critic_learns_the_value(name, env, obs, expected):
    run = learn(name, probe(env))
    assert value(run, obs).tolist() == pytest.approx(expected, abs=0.05)


# γ = 0.5. Truncated, the value is that of going on for ever, 1 / (1 - γ) = 2. Terminated after three
# steps it is 1 + 0.5 + 0.25, 1 + 0.5 and 1. No mixture of the two is right for either.
@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("PPO", {}),
        ("ActorCritic", {}),
        ("ActorCritic", {"lam": None}),
        *((name, {}) for name in Q_CRITICS),
    ],
)
@pytest.mark.parametrize(
    ("ending", "expected"), [("truncated", [2, 2, 2]), ("terminated", [1.75, 1.5, 1])]
)
def test_termination_cuts_the_value_and_truncation_does_not(name, keys, ending, expected):
    run = learn(name, probe("EndlessReward", ending=ending), **keys)
    assert value(run, torch.eye(3).tolist()).tolist() == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("name", [*LEARNERS, *IMITATORS, *Q_CRITICS])
@pytest.mark.parametrize(
    ("env", "obs", "best"),
    [
        pytest.param("RewardedAction", [[1.0]], [1], marks=pytest.mark.slow),
        ("RewardedMatch", [[-1.0], [1.0]], [0, 1]),
    ],
)
def test_the_policy_learns_the_better_action(name, env, obs, best):
    run = learn(name, probe(env))
    agent = run.session.agent
    assert agent.act(torch.tensor(obs), explore=False).tolist() == best
    torch.manual_seed(0)
    explored = agent.act(torch.tensor(obs).repeat(200, 1)).view(200, -1)
    assert (explored == torch.tensor(best)).float().mean() > 0.8


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name in LEARNERS for kind in Identity.SPACES]
    + [(name, kind) for name in Q_LEARNERS for kind in sorted(algorithms()[name].actions)],
)
def test_identity_is_learned_for_every_kind_of_action(name, kind):
    critic_net = FAST | TARGET | {"batch_renorm": True} if name == "CrossQ" else None
    frames = 2000 if name in Q_LEARNERS else 4000
    run = learn(name, probe("Identity", kind=kind), frames, critic_net, gamma=0.0)
    spec, keys = run.data.spec, Keys(1)
    env = make_env(spec.env, keys, Stream.EVAL, num_envs=20)
    per_step = evaluate(run.session.agent, run.session.normalizers, env).mean() / 8
    env.close()
    assert per_step > (-0.15 if kind == "continuous" else 0.95)  # at best 0 and 1
