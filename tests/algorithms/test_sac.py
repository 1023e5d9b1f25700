"""SAC's updates against the papers in plain PyTorch and by hand, for both kinds of actions."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch import distributions as reference
from torch.testing import assert_close

from slm_lightning.core import Sample
from slm_lightning.errors import SpecError
from slm_lightning.rl.normalizers import Normalizers
from slm_lightning.session import Session
from slm_lightning.spec.model import EnvParams
from tests.algorithms.support import OBS, Recorder, make_agent, make_sample
from tests.conftest import assert_equal

KINDS = ("continuous", "discrete")
LR = 0.01
POLYAK = {"update_type": "polyak", "polyak_coef": 0.2, "optim_spec": {"name": "Adam", "lr": LR}}
every_kind = pytest.mark.parametrize("kind", KINDS)


def make_session(name: str, kind: str, net: dict | None = None, **keys) -> Session:
    agent = make_agent(name, kind, POLYAK | (net or {}), **keys)
    session = Session(agent, Normalizers(EnvParams(name="x", max_frame=1), (OBS,), 0.9))
    session.configure_optimizers()
    return session


def squashed(agent, obs: Tensor) -> tuple[Tensor, Tensor]:
    """An action tanh(x) and its log-probability, by ``torch.distributions``."""
    mean, log_std = agent.policy.net(obs)
    x = mean + log_std.clamp(-5, 2).exp() * torch.randn_like(mean)
    normal = reference.Normal(mean, log_std.clamp(-5, 2).exp())
    pi = reference.TransformedDistribution(normal, [reference.TanhTransform(cache_size=1)])
    action = pi.transforms[0](x)  # whose cache knows x
    return action, pi.log_prob(action).sum(-1)


def soft_value(agent, critics, obs: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """V(s) and the entropy: equation 3, or Christodoulou's sum with the mean of both critics."""
    if agent.continuous:
        action, log_prob = squashed(agent, obs)
        joint = torch.cat([obs, action], -1)
        q1, q2 = (critic.net(joint)[0][:, 0] for critic in (critics.q1, critics.q2))
        return torch.minimum(q1, q2) - alpha * log_prob, -log_prob
    pi = reference.Categorical(logits=agent.policy.net(obs)[0])
    q = (critics.q1.net(obs)[0] + critics.q2.net(obs)[0]) / 2
    return (pi.probs * (q - alpha * pi.logits)).sum(-1), pi.entropy()


def q_taken(agent, critic, obs: Tensor, action: Tensor) -> Tensor:
    if agent.continuous:
        return critic.net(torch.cat([obs, action], -1))[0][:, 0]
    return critic.net(obs)[0][torch.arange(len(obs)), action]


def reference_learn(agent, batch: Sample, policy_delay: int, target_entropy: float) -> None:
    """Algorithm 1 with separate optimizers, one after the other."""
    actor = torch.optim.Adam(agent.policy.parameters(), LR)
    critics = [torch.optim.Adam(q.parameters(), LR) for q in (agent.critics.q1, agent.critics.q2)]
    temperature = torch.optim.Adam([agent.log_alpha], LR)
    for k, rows in enumerate(batch.minibatches()):
        with torch.no_grad():
            value = soft_value(agent, agent.target.net, rows.next_obs, agent.log_alpha.exp())[0]
            y = rows.reward + rows.discount * (~rows.terminated) * value
        for q, optimizer in zip((agent.critics.q1, agent.critics.q2), critics):
            optimizer.zero_grad()
            error = q_taken(agent, q, rows.obs, rows.action) - y
            (rows.weight * error**2).mean().backward()
            optimizer.step()
        if k % policy_delay:
            continue
        alpha = agent.log_alpha.exp().detach()
        value, entropy = soft_value(agent, agent.critics, rows.obs, alpha)
        actor.zero_grad()
        (-value.mean()).backward()
        actor.step()
        temperature.zero_grad()
        (agent.log_alpha.exp() * (entropy.mean().detach() - target_entropy)).backward()
        temperature.step()
        with torch.no_grad():
            for slow, fast in zip(agent.target.parameters(), agent.critics.parameters()):
                slow.copy_(0.8 * slow + 0.2 * fast)


@pytest.mark.parametrize("policy_delay", [1, 2])
@every_kind
def test_a_round_of_learning_is_algorithm_1(kind, policy_delay):
    session = make_session("SoftActorCritic", kind, policy_delay=policy_delay)
    agent, batch = copy.deepcopy(session.agent), make_sample(kind, minibatches=3)
    torch.manual_seed(5)
    session.agent.learn(batch, session.optimize)
    torch.manual_seed(5)
    reference_learn(agent, batch, policy_delay, -2.0 if kind == "continuous" else 0.6 * math.log(3))
    for (name, ours), theirs in zip(session.agent.named_parameters(), agent.parameters()):
        assert_close(ours, theirs, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize(("policy_delay", "steps"), [(1, [3, 3, 3]), (2, [3, 1, 3])])
def test_a_minibatch_is_one_update(policy_delay, steps):
    """Of the critics, the policy with α, and the targets, one after the other."""
    session = make_session("SoftActorCritic", "discrete", policy_delay=policy_delay)
    made = []

    def optimize(*step, then=()):
        made.append(1 + len(then))
        return session.optimize(*step, then=then)

    session.agent.learn(make_sample(minibatches=3), optimize)
    assert made == steps
    assert session.opt_step == sum(4 if count == 3 else 2 for count in steps)


def fixed_critics(agent, monkeypatch, target: bool, q1: list, q2: list) -> None:
    """The critics answer this, whatever they are asked."""
    answer = torch.tensor([q1, q2])
    monkeypatch.setattr(agent.target if target else agent.critics, "forward", lambda *inputs: answer)


def test_the_target_by_hand_for_discrete_actions(monkeypatch):
    agent = make_agent("SoftActorCritic", fixed_alpha=0.5)
    with torch.no_grad():
        for parameter in agent.policy.parameters():
            parameter.zero_()  # π = 1/3 everywhere
    rows = make_sample(rows=2).minibatches()[0]
    rows = rows._replace(
        reward=torch.tensor([1.0, 1.0]),
        terminated=torch.tensor([False, True]),
        discount=torch.tensor([0.9, 0.9]),
    )
    q1, q2 = [[1.0, 2.0, 3.0]] * 2, [[3.0, 4.0, 5.0]] * 2
    fixed_critics(agent, monkeypatch, True, q1, q2)
    fixed_critics(agent, monkeypatch, False, [[0.0, 0.0, 0.0]] * 2, [[0.0, 0.0, 0.0]] * 2)
    y = Recorder()(*agent.critics_step(rows))["td_error"]  # where every value is 0
    # the mean of 2, 3, 4 is 3, the entropy of three equal actions ln 3; the second row is terminal
    assert_close(y, torch.tensor([1 + 0.9 * (3 + 0.5 * math.log(3)), 1.0]))


def test_the_td_error_is_that_of_the_smaller_value_and_weights_scale_the_loss(monkeypatch):
    agent = make_agent("SoftActorCritic", "continuous")
    q, y = torch.tensor([[1.0, 4.0], [2.0, 3.0]]), torch.tensor([3.0, 3.0])
    loss, info = agent.critic_loss(q, y, torch.tensor([1.0, 0.5]))
    assert info["td_error"].tolist() == [2.0, 0.0]
    # (1 · 2² + 0.5 · 1²) / 2 + (1 · 1² + 0.5 · 0²) / 2
    assert loss.item() == pytest.approx(2.25 + 0.5)


def test_symlog_compresses_both_sides_of_the_loss_only():
    agent = make_agent("SoftActorCritic", "continuous", symlog=True)
    q, y = torch.tensor([[1.0], [-1.0]]), torch.tensor([3.0])
    loss, info = agent.critic_loss(q, y, torch.ones(1))
    # ln 4 - ln 2, and ln 4 + ln 2
    assert loss.item() == pytest.approx(math.log(2) ** 2 + math.log(8) ** 2, rel=1e-5)
    assert info["td_error"].tolist() == [4.0]


def assert_steps(before: nn.Module, after: nn.Module, loss: Tensor) -> None:
    """Every parameter went down the gradient of ``loss``, a function of those ``before``, at rate 1."""
    gradients = torch.autograd.grad(loss, list(before.parameters()))
    for old, new, gradient in zip(before.parameters(), after.parameters(), gradients, strict=True):
        assert gradient.any()
        assert_close(old - new, gradient, atol=1e-6, rtol=1e-4)


@every_kind
def test_the_policys_update_follows_its_gradient_and_leaves_the_critics_as_they_are(kind):
    """With plain descent at rate 1 a step is the gradient."""
    session = make_session("SoftActorCritic", kind, {"optim_spec": {"name": "SGD", "lr": 1.0}})
    agent, before = session.agent, copy.deepcopy(session.agent)
    obs = torch.randn(8, OBS)
    torch.manual_seed(5)
    info = session.optimize(*agent.policy_step(obs))
    torch.manual_seed(5)
    value, entropy = soft_value(before, before.critics, obs, torch.tensor(1.0))
    assert_steps(before.policy, agent.policy, -value.mean())
    assert_equal(agent.critics.state_dict(), before.critics.state_dict())
    # α (H - H̄), whose derivative by log α is itself; α began as 1
    target = agent.schedules()["target_entropy"]
    assert -agent.log_alpha.item() == pytest.approx(entropy.mean().item() - target, rel=1e-5)
    assert info["entropy"].item() == pytest.approx(entropy.mean().item(), rel=1e-5)


def test_log_alpha_stays_in_its_range_from_the_start():
    session = make_session("SoftActorCritic", "discrete", log_alpha_min=0.3, log_alpha_max=0.305)
    assert session.agent.log_alpha.item() == pytest.approx(0.3)
    session.agent.learn(make_sample(), session.optimize)
    assert 0.3 <= session.agent.log_alpha.item() <= 0.305 + 1e-6


def test_a_fixed_alpha_is_annealed_and_has_no_optimizer():
    agent = make_agent("SoftActorCritic", fixed_alpha=0.4, alpha_anneal_frames=100)
    assert agent.log_alpha is None and "alpha" not in agent.learners()
    for frame, expected in ((0, 0.4), (25, 0.3), (100, 0.0), (1000, 0.0)):
        agent.frame = frame
        assert agent.alpha == agent.schedules()["alpha"] == pytest.approx(expected)
    assert make_agent("SoftActorCritic", fixed_alpha=0.4).alpha == 0.4


@pytest.mark.parametrize(
    ("kind", "keys", "frame", "expected"),
    [
        ("continuous", {}, 0, -2.0),
        ("continuous", {"target_entropy": -0.5}, 0, -0.5),
        ("discrete", {}, 0, 0.6 * math.log(3)),
        ("discrete", {"target_entropy": 0.1}, 0, 0.1),
        ("discrete", {"entropy_anneal": {"start_ratio": 0.8}}, 70, 0.8 * math.log(3)),
        (
            "discrete",
            {"entropy_anneal": {"start_ratio": 0.8, "end_ratio": 0.4, "frames": 100}},
            25,
            0.7 * math.log(3),
        ),
    ],
)
def test_the_target_entropy(kind, keys, frame, expected):
    agent = make_agent("SoftActorCritic", kind, **keys)
    agent.frame = frame
    assert agent.schedules()["target_entropy"] == pytest.approx(expected)


def test_the_entropy_penalty_keeps_to_the_running_mean():
    agent = make_agent("SoftActorCritic", entropy_penalty_coef=4.0)
    first = torch.tensor(1.0, requires_grad=True)
    assert agent.entropy_penalty(first).item() == 0.0
    agent.updates += 1
    second = torch.tensor(0.5, requires_grad=True)
    penalty = agent.entropy_penalty(second)
    assert penalty.item() == pytest.approx(4 / 2 * 0.5**2)
    (gradient,) = torch.autograd.grad(penalty, second)
    assert gradient.item() == pytest.approx(-4 * 0.5)
    assert agent.entropy_mean.item() == pytest.approx(0.99 * 1.0 + 0.01 * 0.5)


@every_kind
def test_the_entropy_penalty_enters_the_policy_loss(kind):
    agent = make_agent("SoftActorCritic", kind, entropy_penalty_coef=4.0, fixed_alpha=0.1)
    agent.updates += 1
    loss, info = agent.policy_loss(torch.randn(8, OBS), agent.alpha)
    assert loss.item() == pytest.approx(
        (info["policy_loss"] + 2 * info["entropy"] ** 2).item(), rel=1e-5
    )


def test_log_alpha_is_stepped_as_the_actor_but_for_rate_decay_and_clipping():
    net = {"optim_spec": {"name": "AdamW", "lr": 0.01, "eps": 1e-5}, "clip_grad_val": 0.5}
    learners = make_agent("SoftActorCritic", net=net, alpha_lr=0.02).learners()
    optim = learners["alpha"].net.optim_spec
    assert (optim.name, optim.lr, optim.keywords) == ("AdamW", 0.02, {"eps": 1e-5, "weight_decay": 0.0})
    assert learners["alpha"].net.clip_grad_val is None
    assert learners["actor"].net.optim_spec.keywords == {"eps": 1e-5}
    optim = make_agent("SoftActorCritic", net=POLYAK).learners()["alpha"].net.optim_spec
    assert (optim.name, optim.lr, optim.keywords) == ("Adam", LR, {})


@pytest.mark.parametrize("name", ["SoftActorCritic", "CrossQ", "TD3"])
def test_actions_are_uniform_until_learning_starts(name):
    agent = make_agent(name, "continuous", training_start_step=50)
    obs = torch.ones(4000, OBS)
    cases = ((0, 1, True), (49, 1, True), (50, 1, False), (99, 2, True), (100, 2, False))
    for frame, workers, uniform in cases:
        agent.frame, agent.workers = frame, workers
        action = agent.act(obs)
        spread = math.sqrt(1 / 3)
        assert (abs(action.std().item() - spread) < 0.02 and abs(action.mean()) < 0.05) == uniform
        assert torch.equal(agent.act(obs, explore=False), agent.act(obs, explore=False))


def test_the_defaults_of_start_and_updates():
    params = make_agent("SoftActorCritic", training_start_step=None).params
    assert (params.start(64), params.start(2000), params.updates(6)) == (1000, 2000, 6)
    params = make_agent("SoftActorCritic", training_start_step=7, training_iter=3).params
    assert (params.start(64), params.updates(6)) == (7, 3)


def test_the_greedy_action_is_tanh_of_the_mean_or_the_likeliest():
    obs = torch.randn(5, OBS)
    agent = make_agent("SoftActorCritic", "continuous")
    assert_close(agent.act(obs, explore=False), agent.policy.net(obs)[0].tanh())
    agent = make_agent("SoftActorCritic", "discrete")
    assert_close(agent.act(obs, explore=False), agent.policy.net(obs)[0].argmax(-1))


@pytest.mark.parametrize(("kind", "pdtype"), [("discrete", "GumbelSoftmax"), ("continuous", "Normal")])
def test_these_distributions_are_read_as_sacs_own(kind, pdtype):
    one, other = (make_agent("SoftActorCritic", kind, action_pdtype=p) for p in ("default", pdtype))
    assert one.policy.distribution is other.policy.distribution


@pytest.mark.parametrize(("kind", "pdtype"), [("discrete", "Argmax"), ("continuous", "Beta")])
def test_no_other_distribution_will_do(kind, pdtype):
    with pytest.raises(SpecError, match=rf'action_pdtype: "{pdtype}" does not fit this algorithm'):
        make_agent("SoftActorCritic", kind, action_pdtype=pdtype)


def test_target_nets_that_are_replaced_stay_between_copies():
    net = {"update_type": "replace", "update_frequency": 100}
    session = make_session("SoftActorCritic", "discrete", net)
    agent, first = session.agent, copy.deepcopy(session.agent.target.state_dict())
    agent.round_start, agent.frame = 20, 24
    agent.learn(make_sample(), session.optimize)
    assert all(torch.equal(first[k], v) for k, v in agent.target.state_dict().items())
    agent.round_start, agent.frame = 100, 104
    online = copy.deepcopy(agent.critics.state_dict())
    agent.learn(make_sample(), session.optimize)
    assert all(
        torch.equal(online[k.removeprefix("net.")], v) for k, v in agent.target.state_dict().items()
    )


@pytest.mark.parametrize("algorithm", ["SoftActorCritic", "TD3"])
def test_a_copy_is_due_by_frames_whether_or_not_the_policy_is_updated(algorithm):
    net = {"update_type": "replace", "update_frequency": 50}
    session = make_session(algorithm, "continuous", net, policy_delay=2)
    agent, copies = session.agent, 0
    for frame in range(101, 701):
        before = [p.clone() for p in agent.targets()[-1].net.parameters()]
        agent.round_start, agent.frame = frame, frame + 1
        agent.learn(make_sample(kind="continuous", minibatches=1), session.optimize)
        after = agent.targets()[-1].net.parameters()
        copies += not all(torch.equal(x, y) for x, y in zip(before, after))
    assert copies == 12  # at 150, 200, …, 700


def test_spectral_norm_bounds_the_last_hidden_layer_of_the_critics():
    session = make_session(
        "SoftActorCritic", "continuous", {"hid_layers": [16, 16]}, spectral_norm=True
    )
    for _ in range(10):
        session.agent.learn(make_sample("continuous"), session.optimize)
    for critic in (session.agent.critics.q1, session.agent.critics.q2):
        weight = critic.net.body.layers[2].weight
        assert torch.linalg.matrix_norm(weight, 2).item() == pytest.approx(1.0, abs=0.1)
