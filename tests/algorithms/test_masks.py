"""Action masks: what is not allowed is never done, and never counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from slm_lightning.algorithms import algorithms
from slm_lightning.core import ActionSpec, EnvInfo, Keys, Recalled, Sequences, Stream
from slm_lightning.data.evaluate import evaluate
from slm_lightning.envs import make_env
from slm_lightning.errors import SpecError
from slm_lightning.lab.preflight import check
from slm_lightning.nets.masks import masked, without_mask
from slm_lightning.rl.distributions import FORBIDDEN, Categorical
from tests.algorithms.support import make_sample
from tests.conftest import make_spec, train
from tests.envs.probes import probe

MASKED = EnvInfo("x", 2, (6,), torch.float32, ActionSpec("discrete", (4,)), mask_size=4)
NAMES = sorted(name for name, cls in algorithms().items() if cls.masks and cls.__name__ == name)
LEARNERS = [name for name in NAMES if name != "Random"]
ALL = {"name": "no_decay", "start_val": 1.0}
POLICIES: dict[str, dict[str, Any]] = {
    "default": {"action_policy": "default", "explore_var_spec": None},
    "always explores": {"action_policy": "epsilon_greedy", "explore_var_spec": ALL},
    "boltzmann": {"action_policy": "boltzmann", "explore_var_spec": ALL},
    "hot": {"action_policy": "boltzmann", "explore_var_spec": {"start_val": 1e3}},
    "random": {"action_policy": "random"},
}
RNN = {"type": "RecurrentNet", "cell_type": "GRU", "rnn_hidden_size": 8}


def make_masked(name: str, **keys: Any) -> Any:
    torch.manual_seed(0)
    return algorithms()[name].build(make_spec({"name": name} | keys).agent, MASKED)


def noise(rows: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    """Observations ``[rows, 6]`` and the actions they allow ``[rows, 4]``, one at least."""
    allowed = torch.rand(rows, 4) < 0.5
    allowed[torch.arange(rows), torch.randint(4, (rows,))] = True
    return torch.cat([torch.randn(rows, 2), allowed.float()], 1), allowed


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", LEARNERS)
def test_only_allowed_actions_are_taken(name, policy):
    agent = make_masked(name, **POLICIES[policy])
    obs, allowed = noise()
    rows = torch.arange(len(obs))
    for explore in (True, False):
        assert allowed[rows, agent.act(obs, explore)].all()


def test_random_keeps_to_the_mask():
    obs, allowed = noise()
    assert allowed[torch.arange(len(obs)), make_masked("Random").act(obs)].all()


@pytest.mark.parametrize("name", ["PPO", "DQN"])
def test_exploring_is_uniform_over_what_is_allowed(name):
    agent = make_masked(name, **POLICIES["always explores"])
    obs = torch.tensor([0.3, -0.2, 1, 0, 1, 1]).expand(30_000, 6)
    shares = torch.bincount(agent.act(obs), minlength=4) / 30_000
    assert_close(shares, torch.tensor([1, 0, 1, 1]) / 3, atol=0.01, rtol=0)


def test_a_policy_is_that_of_the_allowed_actions():
    """Probabilities, entropy and their gradients as if there were no others."""
    torch.manual_seed(0)
    logits = torch.randn(5, 4, requires_grad=True)
    obs = torch.tensor([0.3, -0.2, 1, 0, 1, 1]).expand(5, 6)
    pi, plain = Categorical([masked(logits, obs, 4)]), Categorical([logits[:, [0, 2, 3]]])
    assert_close(pi.entropy(), plain.entropy())
    for action, same in ((0, 0), (2, 1), (3, 2)):
        assert_close(pi.log_prob(torch.full((5,), action)), plain.log_prob(torch.full((5,), same)))
    assert pi.log_prob(torch.full((5,), 1)).isfinite().all()
    (found,) = torch.autograd.grad(pi.entropy().sum(), logits)
    (expected,) = torch.autograd.grad(plain.entropy().sum(), logits)
    assert_close(found, expected)
    assert pi.allowed.tolist() == [[True, False, True, True]] * 5


# Q_θ = (1, 5, 2, 3), Q_θ' = (7, 9, 4, 6), r = 1, γ = 0.5, and action 1 is not allowed. DQN takes 7; the
# online net would choose 3 among the others, whose value is 6 in the target net; vanilla DQN takes 3.
@pytest.mark.parametrize(("name", "y"), [("DQN", 4.5), ("DoubleDQN", 4.0), ("VanillaDQN", 2.5)])
def test_targets_count_what_the_successor_allows(name, y):
    agent = make_masked(name)
    values = {agent.q: [1.0, 5.0, 2.0, 3.0]}
    if name != "VanillaDQN":
        values[agent.target.net] = [7.0, 9.0, 4.0, 6.0]
    for net, q in values.items():
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.zero_()
            net.net.heads[0].bias.copy_(torch.tensor(q))
    everything, obs = torch.ones(1, 6), torch.tensor([[0.0, 0, 1, 0, 1, 1]])
    (minibatch,) = make_sample(minibatches=1, rows=1).minibatches()
    sample = minibatch._replace(
        obs=everything,
        next_obs=obs,
        reward=torch.ones(1),
        terminated=torch.tensor([False]),
        discount=torch.tensor([0.5]),
    )
    assert agent.target_value(sample).tolist() == [y]
    nothing = sample._replace(next_obs=torch.zeros(1, 6), terminated=torch.tensor([True]))
    assert agent.target_value(nothing).tolist() == [1.0]


def test_nets_do_not_see_the_mask():
    obs = torch.arange(24.0).view(2, 2, 6)
    start = torch.zeros(2, 2, dtype=torch.bool)
    seen = Sequences(obs, torch.zeros(2, 3), start, obs + 100)
    stripped = without_mask(seen, 4)
    assert isinstance(stripped, Sequences) and stripped.next_obs is not None
    assert torch.equal(stripped.obs, obs[..., :2])
    assert torch.equal(stripped.next_obs, obs[..., :2] + 100)
    values = torch.zeros(4, 4)
    assert torch.equal(masked(values, seen, 4), values)
    none = Recalled(torch.zeros(2, 6), torch.zeros(2, 3))
    assert (masked(values[:2], none, 4) == FORBIDDEN).all()
    agent = make_masked("PPO")
    assert agent.net.actor.net.body.layers[0].in_features == 2


@pytest.mark.parametrize("net", [{}, RNN], ids=["MLPNet", "RecurrentNet"])
@pytest.mark.parametrize("name", LEARNERS)
def test_training_where_a_forbidden_action_is_an_error(name, net):
    if net and not algorithms()[name].recurrent:
        pytest.skip("learns from no sequences")
    env = probe("Allowed", num_envs=4, max_frame=400, normalize_obs=True, clip_obs=0.5)
    run = train(make_spec(name, env, net))
    assert run.metrics and run.episodes
    assert run.session.normalizers.obs.moments.mean.shape == (2,)
    batch, _ = run.data.collector.collect(5, run.session.version)
    assert set(batch.obs[..., -4:].unique().tolist()) == {0.0, 1.0}
    assert batch.obs[..., :2].abs().max() <= 0.5


@pytest.mark.parametrize("name", ["PPO", "DQN"])
def test_the_best_of_the_allowed_actions_is_learned(name):
    keys = {"PPO": {"time_horizon": 16}, "DQN": {"training_frequency": 32, "training_iter": 8}}
    algorithm = {"name": name, "gamma": 0.0} | keys[name]
    net = {"optim_spec": {"name": "Adam", "lr": 0.01}}
    run = train(make_spec(algorithm, probe("Allowed", num_envs=8, max_frame=3000), net))
    agent = run.session.agent
    obs, allowed = noise(500)
    allowed[:, 3] = False
    obs, allowed = obs[allowed.any(1)], allowed[allowed.any(1)]
    obs[:, -1] = 0
    best = torch.where(allowed, torch.arange(4), -1).amax(1)
    assert (agent.act(obs, explore=False) == best).float().mean() > 0.95
    env = make_env(run.data.spec.env, Keys(1), Stream.EVAL)
    evaluate(agent, run.session.normalizers, env, explore=True)
    env.close()


def test_a_state_without_any_action_is_refused():
    env = make_env(make_spec("PPO", probe("Allowed")).env, Keys(0))
    env.envs.envs[0].unwrapped._obs = lambda: {"action_mask": [0] * 4, "number": [0.0, 0.0]}
    agent, normalizers = make_masked("PPO"), train(make_spec("PPO")).session.normalizers
    with pytest.raises(SpecError, match="allows no action where an episode goes on"):
        evaluate(agent, normalizers, env)
    env.close()


def test_an_algorithm_that_keeps_to_no_mask_is_refused():
    net = {"type": "MLPNet", "hid_layers": [8]}
    name = next(
        name for name, cls in algorithms().items() if not cls.masks and "discrete" in cls.actions
    )
    spec = make_spec(name, probe("Allowed", max_frame=10_000), net)
    with pytest.raises(SpecError, match=f"{name} does not keep to the actions that env.name"):
        check(spec)
