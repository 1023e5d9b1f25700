"""Self-imitation against plain PyTorch, on A2C and on PPO."""

from __future__ import annotations

import json

import pytest
import torch
from torch.distributions import Categorical
from torch.testing import assert_close

from slm_lightning.data.episodes import EpisodeMemory
from slm_lightning.errors import SpecError
from slm_lightning.registry import REGISTRY
from slm_lightning.spec.load import load_spec
from slm_lightning.spec.notes import notes
from slm_lightning.spec.resolve import resolve, resolve_dict
from tests.algorithms.support import OBS, Recorder, make_agent, make_batch, make_sample
from tests.conftest import make_spec, train
from tests.envs.probes import probe
from tests.support import tiny

BOTH = pytest.mark.parametrize("name", ["SIL", "PPOSIL"])


@BOTH
@pytest.mark.parametrize("shared", [False, True])
def test_the_loss_and_its_gradient_equal_plain_torch(name, shared, rng):
    keys = {"sil_policy_loss_coef": 0.7, "sil_val_loss_coef": 0.3}
    agent = make_agent(name, net={"shared": shared}, **keys)
    obs, action = torch.randn(16, OBS, generator=rng), torch.randint(3, (16,), generator=rng)
    ret, weight = torch.randn(16, generator=rng), torch.rand(16, generator=rng)
    ours, info = agent.imitation.loss(obs, action, ret, weight)

    outputs = agent.net.actor.net(obs)
    value = (outputs[1] if shared else agent.net.critic(obs)[0])[:, 0]
    gain = torch.relu(ret - value)
    assert 0 < (gain > 0).sum() < 16
    log_prob = Categorical(logits=outputs[0]).log_prob(action)
    policy_loss = 0.7 * (weight * -log_prob * gain.detach()).sum() / 16
    value_loss = 0.3 * (weight * gain**2 / 2).sum() / 16
    assert_close(info["sil_policy_loss"], policy_loss)
    assert_close(info["sil_value_loss"], value_loss)
    parameters = list(agent.net.parameters())
    theirs = torch.autograd.grad(policy_loss + value_loss, parameters)
    for one, two in zip(torch.autograd.grad(ours, parameters), theirs):
        assert_close(one, two, atol=1e-6, rtol=1e-4)


def test_the_policy_loss_sends_no_gradient_into_a_separate_critic_and_the_value_loss_does(rng):
    for coef, moves in ((0.0, False), (0.1, True)):
        agent = make_agent("SIL", sil_val_loss_coef=coef)
        rows = torch.randn(8, OBS, generator=rng), torch.zeros(8, dtype=torch.int64)
        loss, _ = agent.imitation.loss(*rows, torch.full((8,), 5.0), torch.ones(8))
        loss.backward()
        assert any(p.grad.any() for p in agent.net.critic.parameters()) == moves
        assert any(p.grad.any() for p in agent.net.actor.parameters())


@BOTH
def test_a_round_is_the_update_of_the_base_and_then_each_minibatch_some_times(name):
    agent = make_agent(name, training_batch_iter=3)
    plain = Recorder()
    torch.manual_seed(5)
    agent.learn(make_batch(), plain)
    recorder, past = Recorder(), make_sample(minibatches=2)
    torch.manual_seed(5)
    info = agent.learn(make_batch()._replace(past=past), recorder)
    base, extra = recorder.calls[: len(plain.calls)], recorder.calls[len(plain.calls) :]
    for one, two in zip(base, plain.calls, strict=True):
        assert_close(one, two)
    assert len(extra) == 2 * 3
    assert recorder.names[-6:] == [("actor", "critic")] * 6
    for k, (obs, action, ret, weight) in enumerate(extra):
        assert torch.equal(obs, past.obs[k // 3]) and torch.equal(action, past.action[k // 3])
        assert torch.equal(weight, past.weight[k // 3])
        value = agent.net.value(past.next_obs[k // 3]).detach()
        expected = past.reward[k // 3] + past.discount[k // 3] * value * ~past.terminated[k // 3]
        assert_close(ret, expected)
        gain = (ret - agent.net.value(obs).detach()).clamp(min=0)
        assert_close(info["td_error"][k // 3], gain)


@BOTH
def test_before_any_episode_has_ended_it_is_the_base(name):
    info = make_agent(name).learn(make_batch(), Recorder())
    assert not [key for key in info if key.startswith("sil_") or key == "td_error"]


@BOTH
@pytest.mark.parametrize("replay", ["Replay", "PrioritizedReplay"])
def test_it_trains_on_episodes_that_are_longer_than_a_rollout(name, replay):
    """Probe episodes of 3 steps, rollouts of 2; the memory gets back how good each was."""
    horizon = "time_horizon" if name == "PPOSIL" else "training_frequency"
    spec = make_spec(
        {"name": name, horizon: 2},
        probe("EndlessReward", ending="terminated") | {"num_envs": 4, "max_frame": 96},
        memory={"name": "OnPolicyBatchReplay", "sil_replay_name": replay},
    )
    run = train(spec)
    memory = run.data.memory
    assert isinstance(memory, EpisodeMemory)
    assert "sil_loss" in run.metrics[-1]
    assert len(memory) == 96
    assert memory.ret.view(-1)[:96].unique().numel() == 3
    priority = memory.tree.priority[:96]
    assert (priority.unique().numel() > 1) == (replay == "PrioritizedReplay")


def test_it_imitates_whole_episodes_of_one_environment_too():
    env = probe("EndlessReward", ending="truncated") | {"num_envs": 1, "max_frame": 30}
    run = train(make_spec({"name": "SIL", "training_frequency": 2}, env, memory="OnPolicyReplay"))
    assert run.data.memory is not None and len(run.data.memory) == 30
    assert all("sil_loss" in metrics for metrics in run.metrics)


def sil(**memory) -> dict:
    spec = tiny(algorithm={"name": "SIL"})["tiny"]
    spec["agent"]["memory"] = {"name": "OnPolicyReplay", **memory}
    spec["env"]["num_envs"] = 1
    return {"sil": spec}


def test_a_spec_says_how_past_episodes_are_kept():
    raw = load_spec(sil(sil_replay_name="Replay", batch_size=32, max_size=1e4, use_cer=True))
    spec = resolve(raw, REGISTRY)
    assert notes(raw, spec) == []
    assert dict(spec.agent.memory)["max_size"] == 10_000
    paper = {"sil_policy_loss_coef": 1.0, "sil_val_loss_coef": 0.01, "training_iter": 4}
    assert paper.items() <= dict(spec.agent.algorithm).items()
    assert resolve_dict(json.loads(json.dumps(spec.to_dict())), REGISTRY) == spec


def test_steps_on_past_episodes_count_as_steps_of_a_round():
    sil, ppo_sil = (
        resolve(load_spec(f"specs/{name}/cartpole.json"), REGISTRY).agent.algorithm
        for name in ("sil", "pposil")
    )
    past = dict(sil)["training_iter"] * dict(sil)["training_batch_iter"]
    assert sil.steps_on(128, 4) == 1 + past
    own = dict(ppo_sil)["training_epoch"] * -(-1000 // dict(ppo_sil)["minibatch_size"])
    past = dict(ppo_sil)["training_iter"] * dict(ppo_sil)["training_batch_iter"]
    assert ppo_sil.steps_on(1000, 4) == own + past


def test_a_spec_that_does_not_is_told_what_is_missing():
    with pytest.raises(SpecError) as caught:
        resolve(load_spec(sil()), REGISTRY)
    missing = {f"agent.memory.{key}" for key in ("sil_replay_name", "batch_size", "max_size")}
    assert {problem.path for problem in caught.value.problems} == missing
    with pytest.raises(SpecError, match=r"SIL .* cannot learn from OnPolicyCrossEntropy"):
        resolve(load_spec(sil(name="OnPolicyCrossEntropy")), REGISTRY)


def test_who_does_not_imitate_does_not_read_these_keys():
    data = sil(sil_replay_name="Replay", batch_size=32, max_size=100)
    data["sil"]["agent"]["algorithm"]["name"] = "ActorCritic"
    raw = load_spec(data)
    found = notes(raw, resolve(raw, REGISTRY))
    assert len(found) == 3 and all("only SIL and PPOSIL" in note for note in found)
