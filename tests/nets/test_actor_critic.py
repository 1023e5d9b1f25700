"""Policies and critics, on one body or two, for every kind of action."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from slm_lightning.core import ActionSpec, EnvInfo
from slm_lightning.errors import SpecError
from slm_lightning.nets.actor_critic import ActorCriticNet, Policy
from slm_lightning.nets.mlp import MLPNet
from slm_lightning.rl.distributions import MultivariateNormal

ACTIONS = {
    "discrete": (ActionSpec("discrete", (3,)), [3]),
    "continuous": (ActionSpec("continuous", (2,)), [2, 2]),
    "multi_discrete": (ActionSpec("multi_discrete", (2, 4)), [2, 4]),
    "multi_binary": (ActionSpec("multi_binary", (5,)), [5]),
}


def env(kind: str = "discrete") -> EnvInfo:
    return EnvInfo("x", 2, (4,), torch.float32, ACTIONS[kind][0])


def mlp(**keys) -> MLPNet.Params:
    return MLPNet.Params(**{"type": "MLPNet", "hid_layers": [8]} | keys)


@pytest.mark.parametrize("kind", ACTIONS)
@pytest.mark.parametrize("shared", [False, True])
def test_heads_of_actor_and_critic(kind, shared, rng):
    net = ActorCriticNet(mlp(shared=shared), env(kind))
    sizes = [head.out_features for head in net.actor.net.heads]
    assert sizes == ACTIONS[kind][1] + ([1] if shared else [])
    obs = torch.randn(6, 4, generator=rng)
    pi, value = net(obs)
    assert value.shape == net.value(obs).shape == (6,)
    assert torch.equal(value, net.value(obs))
    assert pi.sample().shape == (6, *ACTIONS[kind][0].shape)
    assert torch.equal(pi.mode(), net.policy(obs).mode())


def test_separate_nets_share_no_parameter():
    net = ActorCriticNet(mlp(critic_optim_spec={"lr": 0.5}), env())
    actor, critic = net.learners()["actor"], net.learners()["critic"]
    assert not {id(p) for p in actor.parameters} & {id(p) for p in critic.parameters}
    assert (actor.net.optim_spec.lr, critic.net.optim_spec.lr) == (1e-3, 0.5)


def test_a_shared_body_has_one_learner():
    net = ActorCriticNet(mlp(shared=True, actor_optim_spec={"lr": 0.5}), env())
    assert list(net.learners()) == ["agent"]
    assert net.learners()["agent"].net.optim_spec.lr == 0.5
    assert len(net.learners()["agent"].parameters) == len(list(net.parameters()))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("actions", [1, 3])
def test_log_std_init_is_a_parameter_of_the_policy(shared, actions, rng):
    info = EnvInfo("x", 2, (4,), torch.float32, ActionSpec("continuous", (actions,)))
    net = ActorCriticNet(mlp(shared=shared, log_std_init=-0.5), info)
    pi, _ = net(torch.randn(6, 4, generator=rng))
    assert_close(pi.std.expand(6, actions), torch.full((6, actions), -0.5).exp())
    assert net.actor.log_std.shape == (actions,)
    name = "agent" if shared else "actor"
    assert any(p is net.actor.log_std for p in net.learners()[name].parameters)


def test_log_std_init_means_nothing_to_other_distributions():
    assert Policy(mlp(log_std_init=0.0), env("discrete")).log_std is None


def test_action_pdtype_names_the_distribution(rng):
    policy = Policy(mlp(), env("continuous"), "MultivariateNormal")
    assert isinstance(policy(torch.randn(1, 4, generator=rng))[0], MultivariateNormal)


def test_a_policy_cannot_be_learned_without_a_gradient():
    with pytest.raises(SpecError, match=r"action_pdtype: Argmax has no gradient"):
        Policy(mlp(), env("discrete"), "Argmax")


def test_actor_and_critic_start_with_their_own_deviation():
    keys = {"init_fn": "orthogonal_", "actor_init_std": 0.01, "critic_init_std": 1.0}
    net = ActorCriticNet(mlp(**keys), env())
    assert net.actor.net.heads[0].weight.norm(dim=1).max().item() == pytest.approx(0.01, rel=1e-4)
    assert net.critic.heads[0].weight.norm().item() == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize(("keys", "gain"), [({}, 0.02), ({"critic_init_std": 1.0}, 1.0)])
def test_the_critics_head_on_a_shared_body_too(keys, gain):
    keys |= {"init_fn": "orthogonal_", "init_std": 0.02, "actor_init_std": 0.01, "shared": True}
    policy, value = ActorCriticNet(mlp(**keys), env()).actor.net.heads
    assert policy.weight.norm(dim=1).max().item() == pytest.approx(0.01, rel=1e-4)
    assert value.weight.norm().item() == pytest.approx(gain, rel=1e-4)
