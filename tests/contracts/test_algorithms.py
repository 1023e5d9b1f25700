"""What the lab asks of every algorithm, whatever it learns."""

from __future__ import annotations

import copy

import pytest
import torch

from slm_lightning.algorithms import algorithms
from slm_lightning.algorithms.agent import Agent
from slm_lightning.core import EnvInfo, Keys, Sample
from slm_lightning.data.memory import MEMORIES
from slm_lightning.session import Session
from tests.algorithms.support import ACTIONS, OBS, experience, info, make_batch
from tests.conftest import ALGORITHMS, assert_equal, make_spec
from tests.support import equal

NAMES = sorted(algorithms())
CASES = [(name, kind) for name in NAMES for kind in sorted(algorithms()[name].actions)]
NETS = [
    {},
    {"shared": True},
    {"log_std_init": -0.5, "init_fn": "orthogonal_", "init_std": 0.01, "clip_grad_val": 0.5},
    {"layer_norm": True, "optim_spec": {"name": "RMSprop", "lr": 0.01}},
]
every_case = pytest.mark.parametrize(("name", "kind"), CASES)
every_learner = pytest.mark.parametrize(
    ("name", "kind"), [case for case in CASES if algorithms()[case[0]].Params.learns]
)


def make_session(name: str, kind: str = "discrete", net: dict | None = None) -> Session:
    session = Session.build(make_spec(name, net=net), info(kind), Keys(0))
    session.configure_optimizers()
    return session


def test_every_algorithm_has_a_setting_here():
    assert set(algorithms()) == set(ALGORITHMS)


@pytest.mark.parametrize("name", NAMES)
def test_what_it_declares(name):
    cls = algorithms()[name]
    assert issubclass(cls, Agent)
    assert cls.__name__ == name
    assert isinstance(cls.on_policy, bool)
    assert cls.actions and cls.actions <= set(ACTIONS)
    assert cls.memories and cls.memories <= set(MEMORIES)


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_is_and_where_it_comes_from(name):
    """The class in a sentence, the paper with its year in the module, a line for every key."""
    cls = algorithms()[name]
    assert cls.__doc__ and cls.__doc__ != Agent.__doc__
    module = __import__(cls.__module__, fromlist=["_"]).__doc__
    assert any(f"{year}" in module for year in range(1985, 2027))
    fields = cls.Params.model_fields
    assert not [key for key, field in fields.items() if not field.description]
    assert all(reason for reason in cls.Params.unread.values())
    assert not set(cls.Params.unread) & set(fields)


@every_case
def test_actions_fit_their_space(name, kind):
    agent, spec = make_session(name, kind).agent, ACTIONS[kind]
    obs = torch.randn(50, OBS)
    for explore in (True, False):
        action = agent.act(obs, explore)
        assert action.shape == (50, *spec.shape)
        assert action.dtype == spec.dtype
        if kind != "continuous":
            sizes = torch.tensor(spec.sizes if kind != "multi_binary" else 2)
            assert ((action >= 0) & (action < sizes)).all()


@every_learner
def test_exploring_varies_and_greed_does_not(name, kind):
    agent, obs = make_session(name, kind).agent, torch.randn(50, OBS)
    torch.manual_seed(0)
    greedy = agent.act(obs, explore=False)
    assert torch.equal(greedy, agent.act(obs, explore=False))
    assert not torch.equal(agent.act(obs), agent.act(obs))


@every_case
def test_acting_changes_nothing(name, kind):
    agent = make_session(name, kind).agent
    before = copy.deepcopy(agent.state_dict())
    agent.act(torch.randn(5, OBS))
    assert_equal(agent.state_dict(), before)


@pytest.mark.parametrize("net", NETS, ids=["plain", "shared", "initialised", "layer_norm"])
@every_learner
def test_learning_changes_every_parameter_and_gives_finite_metrics(name, kind, net):
    session = make_session(name, kind, net)
    before = copy.deepcopy(session.agent.state_dict())
    batch = experience(name, kind)
    metrics = session.agent.learn(batch, session.optimize)
    drawn = batch if isinstance(batch, Sample) else batch.past
    if drawn is not None:
        assert metrics.pop("td_error").shape == drawn.reward.shape
    for key, value in metrics.items():
        assert value.shape == (), key
        assert value.device.type == "cpu", key
        assert value.isfinite(), key
        assert not value.requires_grad, key
    assert "loss" in metrics
    learned = {id(p) for learner in session.learners.values() for p in learner.parameters}
    for key, parameter in session.agent.named_parameters():
        if id(parameter) not in learned:
            continue
        assert parameter.isfinite().all(), key
        assert not torch.equal(parameter, before[key]), key


@every_case
def test_learning_repeats_itself(name, kind):
    results = []
    for _ in range(2):
        session = make_session(name, kind)
        torch.manual_seed(3)
        session.agent.learn(experience(name, kind), session.optimize)
        results.append(session.agent.state_dict())
    assert_equal(*results)


@pytest.mark.parametrize("name", NAMES)
def test_learning_leaves_the_batch_as_it_was(name):
    kind = min(algorithms()[name].actions)
    session, batch = make_session(name, kind), experience(name, kind)
    before = copy.deepcopy(batch)
    session.agent.learn(batch, session.optimize)
    assert equal(batch, before)


@every_learner
def test_its_state_is_the_whole_policy(name, kind):
    """Weights in a state dict, loaded into another agent, act alike."""
    one = make_session(name, kind)
    one.agent.learn(experience(name, kind), one.optimize)
    spec = make_spec(name)
    other = Session.build(spec, info(kind), Keys(1)).agent
    obs = torch.randn(50, OBS)
    assert not torch.equal(one.agent.act(obs, explore=False), other.act(obs, explore=False))
    other.load_state_dict(one.agent.state_dict())
    assert torch.equal(one.agent.act(obs, explore=False), other.act(obs, explore=False))


@pytest.mark.parametrize("net", [{}, {"shared": True}, {"log_std_init": 0.0}])
@every_case
def test_every_parameter_has_one_optimizer(name, kind, net):
    agent = make_session(name, kind, net).agent
    stepped = [id(p) for learner in agent.learners().values() for p in learner.parameters]
    assert len(stepped) == len(set(stepped))
    assert set(stepped) == {id(p) for p in agent.parameters() if p.requires_grad}


@pytest.mark.parametrize("name", NAMES)
def test_schedules_are_plain_numbers_of_the_frame(name):
    decay = {"name": "linear_decay", "start_val": 1.0, "end_val": 0.0, "end_step": 100}
    fields = algorithms()[name].Params.model_fields
    keys = [key for key in ("entropy_coef_spec", "explore_var_spec") if key in fields]
    spec = make_spec({"name": name, **dict.fromkeys(keys, decay)})
    agent = Session.build(spec, info(), Keys(0)).agent
    for frame, expected in ((0, 1.0), (25, 0.75)):
        agent.frame = frame
        found = agent.schedules()
        assert [found[key.removesuffix("_spec")] for key in keys] == [expected] * len(keys)


@pytest.mark.parametrize("name", [name for name in NAMES if algorithms()[name].on_policy])
@pytest.mark.parametrize(
    "batch", [make_batch(steps=4, num_envs=1), make_batch(steps=7, num_envs=3)], ids=["N=1", "N=3"]
)
def test_rollouts_of_other_sizes(name, batch):
    session = make_session(name)
    metrics = session.agent.learn(batch, session.optimize)
    assert all(value.isfinite() for value in metrics.values())


@pytest.mark.parametrize("name", NAMES)
def test_images_and_flat_observations_are_both_seen(name):
    space = EnvInfo("x", 2, (2, 3, 3), torch.uint8, ACTIONS["discrete"])
    agent = Session.build(make_spec(name), space, Keys(0)).agent
    assert agent.act(torch.zeros(5, 2, 3, 3, dtype=torch.uint8)).shape == (5,)


@every_learner
def test_mixed_precision_learns_in_the_direction_of_single_precision(name, kind):
    """A gradient that gets lost on the way would show."""
    steps = []
    for precision in ("32-true", "bf16-mixed"):
        net = {"optim_spec": {"name": "SGD", "lr": 0.01}}
        spec = make_spec(name, net=net, meta={"precision": precision})
        session = Session.build(spec, info(kind), Keys(0))
        session.configure_optimizers()
        before = session.agent.state_dict()
        before = {key: value.clone() for key, value in before.items() if value.is_floating_point()}
        torch.manual_seed(5)
        with session.updates.autocast():
            session.agent.learn(experience(name, kind), session.optimize)
        after = session.agent.state_dict()
        steps.append({key: (after[key] - value).flatten() for key, value in before.items()})
    single, mixed = steps
    for key in single:
        assert single[key].any() == mixed[key].any(), key
    one, other = (torch.cat(list(step.values())) for step in steps)
    assert torch.nn.functional.cosine_similarity(one, other, 0) > 0.95
