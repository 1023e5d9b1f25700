"""A Session under Lightning's Trainer: the same numbers as without it, from a seed alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from lightning import Callback
from torch import nn
from torch.testing import assert_close

from slm_lightning.algorithms import algorithms
from slm_lightning.core import Keys, Stream
from slm_lightning.data.collector import Collector
from slm_lightning.data.evaluate import evaluate
from slm_lightning.data.workers import Workers
from slm_lightning.envs import make_env
from slm_lightning.rl.normalizers import Normalizers
from slm_lightning.session import Session
from slm_lightning.spec.model import Spec
from slm_lightning.updates import Updates
from tests.algorithms.support import info, make_batch
from tests.conftest import assert_equal, make_spec, train

NAMES = ["PPO", "ActorCritic", "Reinforce"]
FULL_NET = {
    "clip_grad_val": 0.5,
    "init_fn": "orthogonal_",
    "lr_scheduler_spec": {"name": "LinearToZero", "frame": 512},
}
FULL_ENV = {"normalize_obs": True, "normalize_reward": True, "num_envs": 3, "max_frame": 600}


def bare_loop(spec: Spec, keys: Keys) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    """The training of ``spec`` without Lightning: the same agent, keys, environment, collector and
    updates, and a while loop. Returns parameters with normalisers, and metrics by round."""
    algorithm, env = spec.agent.algorithm, make_env(spec.env, keys)
    keys.seed_generators(Stream.INIT)
    agent = algorithms()[algorithm.name](algorithm, spec.agent.net, env.info)
    normalizers = Normalizers(spec.env, env.info.obs_shape, algorithm.gamma)
    updates = Updates(agent.learners(), Workers())
    collector, metrics = Collector(env, agent, normalizers, torch.device("cpu")), []

    def optimize(names, loss_fn, *tensors):
        return updates((names,) if isinstance(names, str) else names, loss_fn, *tensors)

    for version in range(10**6):
        left = (spec.env.max_frame - collector.frame) // spec.env.num_envs
        keys.seed_generators(Stream.BLOCK, version)
        start = collector.frame
        if spec.agent.memory.name == "OnPolicyReplay":
            if left == 0:
                break
            batch, _ = collector.collect_episodes(algorithm.horizon, left, version)
        else:
            if left < algorithm.horizon:
                break
            batch, _ = collector.collect(algorithm.horizon, version)
        for name, learner in agent.learners().items():
            if learner.net.lr_scheduler_spec:
                decay = 1 - start / learner.net.lr_scheduler_spec.frame
                optimizer = updates.steppers[name].optimizer
                optimizer.param_groups[0]["lr"] = learner.net.optim_spec.lr * max(0.0, decay)
        agent.frame = collector.frame
        metrics.append({k: float(v) for k, v in agent.learn(batch, optimize).items()})
    env.close()
    state = {f"agent.{k}": v for k, v in agent.state_dict().items()}
    return state | {f"normalizers.{k}": v for k, v in normalizers.state_dict().items()}, metrics


FALLING = {"name": "linear_decay", "start_val": 0.5, "end_val": 0.0, "end_step": 600}
SPECS = [
    *(
        make_spec(
            {"name": name, "entropy_coef_spec": FALLING}, {"name": "CartPole-v1"} | FULL_ENV, FULL_NET
        )
        for name in NAMES
    ),
    make_spec("PPO", {"name": "Pendulum-v1"} | FULL_ENV, FULL_NET | {"shared": True}),
    make_spec("ActorCritic", "Pendulum-v1", {"log_std_init": 0.0}),
    make_spec(
        {"name": "Reinforce", "training_frequency": 8},  # episodes, which make a block
        {"name": "CartPole-v1", "num_envs": 1, "max_frame": 1200},
        memory="OnPolicyReplay",
    ),
]


@pytest.mark.parametrize(
    "spec",
    SPECS,
    ids=lambda spec: f"{spec.agent.algorithm.name}-{spec.env.name}-{spec.agent.memory.name}",
)
def test_the_trainer_runs_number_for_number_as_a_bare_loop(spec):
    run = train(spec, Keys(3))
    parameters, metrics = bare_loop(spec, Keys(3))
    assert len(metrics) > 3
    assert run.metrics == metrics
    assert_equal(run.parameters, parameters)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_keys_give_the_same_run_and_others_do_not(name):
    spec = make_spec(name)
    first, again = train(spec, Keys(7)), train(spec, Keys(7))
    assert first.metrics == again.metrics
    assert first.episodes == again.episodes
    assert_equal(first.parameters, again.parameters)
    for keys in (Keys(8), Keys(7, session=1)):
        other = train(spec, keys)
        assert other.metrics != first.metrics
        assert other.episodes != first.episodes


def test_a_draw_before_the_run_does_not_change_it():
    spec = make_spec("PPO")
    first = train(spec)
    torch.manual_seed(99)
    assert_equal(train(spec).parameters, first.parameters)


class Interruption(Callback):
    """Evaluates after each of the first rounds, greedily and exploring, and draws at random."""

    def __init__(self, spec: Spec, rounds: int):
        self.spec, self.rounds = spec, rounds
        self.returns: list[float] = []

    def on_train_batch_end(self, trainer: Any, session: Any, *args: Any) -> None:
        if len(self.returns) < self.rounds:
            env = make_env(self.spec.env, Keys(1), Stream.EVAL, num_envs=2)
            for explore in (False, True):
                returns = evaluate(session.agent, session.normalizers, env, explore=explore)
            self.returns.append(returns.mean())
            env.close()
            torch.rand(5)


@pytest.mark.parametrize("name", NAMES)
def test_evaluations_in_between_do_not_change_training(name):
    net = {"batch_norm": name == "PPO"}  # its running statistics must not learn from evaluation
    spec = make_spec(name, {"name": "CartPole-v1", "normalize_obs": True}, net)
    plain = train(spec)
    for rounds in (1, 3):
        interruption = Interruption(spec, rounds)
        run = train(spec, callbacks=[interruption])
        assert len(interruption.returns) == rounds
        assert run.metrics == plain.metrics
        assert_equal(run.parameters, plain.parameters)


def outside(spec: Spec) -> Session:
    """A Session that no Trainer holds, with its optimizers."""
    session = Session.build(spec, info(), Keys(0))
    session.configure_optimizers()
    return session


OPTIM = {"name": "Adam", "lr": 0.01}
SEPARATE = {
    "actor_optim_spec": OPTIM,
    "critic_optim_spec": {"name": "SGD", "lr": 0.1, "momentum": 0.9},
    "actor_clip_grad_val": 0.05,
    "critic_clip_grad_val": 0.2,
}


def test_one_joint_backward_equals_a_step_of_each_net(rng):
    """With separate nets the sum of the losses has the gradients of its terms; each net is clipped by
    its own norm and stepped by its own optimizer."""
    session = outside(make_spec("ActorCritic", net=SEPARATE))
    reference = copy.deepcopy(session.agent)
    actor = torch.optim.Adam(reference.net.actor.parameters(), lr=0.01, fused=True)
    critic = torch.optim.SGD(reference.net.critic.parameters(), lr=0.1, momentum=0.9, fused=True)
    one, coef = torch.tensor(1.0), torch.tensor(0.01)
    for _ in range(3):
        batch = make_batch().flatten()
        advantage, target = torch.randn(2, len(batch.reward), generator=rng) * 3
        tensors = batch.obs, batch.action, advantage, target, one, coef
        out = session.optimize(("actor", "critic"), session.agent.loss, *tensors)

        pi = reference.net.policy(batch.obs)
        actor.zero_grad()
        policy_loss = -(pi.log_prob(batch.action) * advantage).mean() - coef * pi.entropy().mean()
        policy_loss.backward()
        gradients = [parameter.grad for parameter in reference.net.actor.parameters()]
        norm = torch.linalg.vector_norm(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient in gradients:
            gradient *= 0.05 / norm
        actor.step()

        critic.zero_grad()
        value_loss = 0.5 * (reference.net.value(batch.obs) - target).square().mean()
        value_loss.backward()
        nn.utils.clip_grad_norm_(reference.net.critic.parameters(), 0.2)
        critic.step()

        assert out["grad_norm/actor"] > 0.05, "the test is to clip"
        assert_close(out["grad_norm/actor"], norm)
        for ours, theirs in zip(session.agent.parameters(), reference.parameters()):
            assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    assert session.opt_step == 6


def test_a_shared_net_takes_one_step_on_the_sum(rng):
    net = {"shared": True, "optim_spec": OPTIM, "clip_grad_val": 0.1}
    session = outside(make_spec("ActorCritic", net=net))
    reference = copy.deepcopy(session.agent)
    optim = torch.optim.Adam(reference.parameters(), lr=0.01)
    one, coef, batch = torch.tensor(1.0), torch.tensor(0.01), make_batch().flatten()
    advantage, target = torch.randn(2, len(batch.reward), generator=rng)
    tensors = batch.obs, batch.action, advantage, target, one, coef
    session.optimize(tuple(session.agent.learners()), session.agent.loss, *tensors)

    logits, value = reference.net.actor.net(batch.obs)
    pi = torch.distributions.Categorical(logits=logits)
    loss = -(pi.log_prob(batch.action) * advantage).mean() - coef * pi.entropy().mean()
    (loss + 0.5 * (value[:, 0] - target).square().mean()).backward()
    nn.utils.clip_grad_norm_(reference.parameters(), 0.1)
    optim.step()
    for ours, theirs in zip(session.agent.parameters(), reference.parameters()):
        assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    assert session.opt_step == 1


def test_only_the_named_optimizers_step():
    session = outside(make_spec("PPO"))
    net = session.agent.net
    before = {key: value.clone() for key, value in net.state_dict().items()}
    session.optimize("critic", lambda obs: (net.value(obs).sum(), {}), torch.ones(2, 4))
    changed = {key for key, value in net.state_dict().items() if not torch.equal(value, before[key])}
    assert changed and all(key.startswith("critic") for key in changed)


def test_metrics_carry_no_graph():
    session = outside(make_spec("PPO"))
    out = session.optimize(
        "critic",
        lambda obs: ((loss := session.agent.net.value(obs).sum()), {"loss": loss}),
        torch.ones(2, 4),
    )
    assert not out["loss"].requires_grad


class Rates(Callback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer: Any, session: Session, *args: Any) -> None:
        self.seen.append(session.learning_rate())


def test_the_learning_rate_of_a_round_is_that_of_its_first_frame():
    net = {"lr_scheduler_spec": {"name": "LinearToZero", "frame": 256}, "optim_spec": {"lr": 0.1}}
    rates = Rates()
    train(make_spec("PPO", net=net), callbacks=[rates])  # rounds of 64 frames
    assert rates.seen == pytest.approx([0.1, 0.075, 0.05, 0.025])


def test_the_learning_rate_is_the_mean_over_the_optimizers():
    net = {"actor_optim_spec": {"lr": 0.1}, "critic_optim_spec": {"lr": 0.3}}
    assert outside(make_spec("PPO", net=net)).learning_rate() == pytest.approx(0.2)


def test_a_rollout_of_an_older_policy_is_refused():
    class Stale(Callback):
        def on_train_start(self, trainer: Any, session: Any) -> None:
            learn = session.learn
            session.learn = lambda batch: learn(batch._replace(version=batch.version - 1))

    with pytest.raises(AssertionError, match="older policy"):
        train(make_spec("PPO"), callbacks=[Stale()])


def test_counters_travel_in_the_checkpoint():
    run = train(make_spec("PPO"))
    assert (run.session.version, run.session.opt_step) == (4, 4 * 4 * 2 * 2)  # rounds, epochs, …
    checkpoint: dict[str, Any] = {}
    run.session.on_save_checkpoint(checkpoint)
    other = outside(make_spec("PPO"))
    other.on_load_checkpoint(checkpoint)
    assert (other.version, other.opt_step) == (4, 64)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", NAMES)
def test_training_on_a_gpu(name):
    spec = make_spec(name, {"name": "Pendulum-v1", "normalize_obs": True})
    first, again = train(spec, accelerator="gpu"), train(spec, accelerator="gpu")
    assert all(value.is_cuda for value in first.session.info.values())
    assert first.metrics == again.metrics
    assert_equal(first.parameters, again.parameters)
