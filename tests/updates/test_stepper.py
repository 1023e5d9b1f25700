"""A learner's parameters stepped as one vector, against ``torch.optim`` on each of them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from slm_lightning.data.workers import Workers
from slm_lightning.nets.mlp import MLPNet
from slm_lightning.nets.net import Learner
from slm_lightning.rl.schedules import lr_schedule
from slm_lightning.spec.model import LRScheduleSpec
from slm_lightning.spec.torch_names import OPTIMIZERS
from slm_lightning.updates import Updates
from slm_lightning.updates.stepper import Stepper
from tests.conftest import assert_equal

SHAPES = [(4, 3), (4,), (), (2, 4, 3, 1)]
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)
modes = pytest.mark.parametrize("compiled", [False, True])


def learner(parameters: list[nn.Parameter], limit: float | None = None, **optim_spec: Any) -> Learner:
    optim_spec = {"name": "SGD", "lr": 0.01} | optim_spec
    net = MLPNet.Params(type="MLPNet", hid_layers=[], clip_grad_val=limit, optim_spec=optim_spec)
    return Learner(parameters, net)


def step(stepper: Stepper, gradients: list[Tensor]) -> Tensor | None:
    with torch.no_grad():
        return stepper(gradients)


def parameters(generator: torch.Generator) -> list[nn.Parameter]:
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def gradients(generator: torch.Generator) -> list[Tensor]:
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


def assert_alike(stepper: Stepper, theirs: torch.optim.Optimizer, generator, limit=None) -> None:
    """Six steps of both on the same gradients come to the same parameters."""
    ours, others = stepper.parameters, theirs.param_groups[0]["params"]
    for _ in range(6):
        drawn = gradients(generator)
        for parameter, gradient in zip(others, drawn, strict=True):
            parameter.grad = gradient.clone()
        norm = step(stepper, drawn)
        assert (norm is None) == (limit is None)
        if limit is not None:
            assert_close(norm, nn.utils.clip_grad_norm_(others, limit))
        theirs.step()
        for mine, other in zip(ours, others):
            assert_close(mine, other, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("limit", [None, 0.5, 100.0], ids=["unclipped", "clipped", "within limit"])
@modes
@every_optimizer
def test_it_steps_as_torch_does_parameter_by_parameter(name, compiled, limit, rng):
    ours = parameters(rng)
    theirs = OPTIMIZERS[name](copy.deepcopy(ours), lr=0.01)
    assert_alike(Stepper(learner(ours, limit, name=name), compiled), theirs, rng, limit)


@pytest.mark.parametrize(
    "keys",
    [
        {"name": "SGD", "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
        {"name": "Adam", "amsgrad": True, "betas": [0.5, 0.9], "eps": 1e-3, "weight_decay": 0.1},
        {"name": "RMSprop", "centered": True, "momentum": 0.5, "alpha": 0.9},
        {"name": "Adagrad", "lr_decay": 0.1, "initial_accumulator_value": 0.5, "maximize": True},
    ],
    ids=lambda keys: ", ".join(map(str, keys.values())),
)
@modes
def test_the_keywords_of_its_spec_hold(keys, compiled, rng):
    ours = parameters(rng)
    keywords = {key: value for key, value in keys.items() if key != "name"}
    theirs = OPTIMIZERS[keys["name"]](copy.deepcopy(ours), lr=0.01, **keywords)
    assert_alike(Stepper(learner(ours, **keys), compiled), theirs, rng)


@every_optimizer
def test_what_depends_on_shapes_alone_keeps_them_apart(name, rng):
    ours = parameters(rng)
    stepper = Stepper(learner(ours, name=name))
    assert len(stepper.vectors) == (len(ours) if name == "Adafactor" else 1)


def test_a_lone_matrix_is_stepped_too(rng):
    ours = [nn.Parameter(torch.randn(3, 2, generator=rng))]
    expected, gradient = ours[0].detach().clone(), torch.randn(3, 2, generator=rng)
    step(Stepper(learner(ours, lr=0.5)), [gradient])
    assert_close(ours[0].detach(), expected - 0.5 * gradient)


def test_parameters_are_views_of_one_vector_and_stay_so_when_others_are_loaded():
    net, other = (nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)) for _ in range(2))
    before = copy.deepcopy(net.state_dict())
    stepper = Stepper(learner(list(net.parameters()), lr=0.5))
    (vector,) = stepper.vectors
    assert_equal(net.state_dict(), before)
    net.load_state_dict(other.state_dict())
    loaded = torch.cat([parameter.flatten() for parameter in other.parameters()])
    assert torch.equal(vector, loaded)
    step(stepper, [torch.ones_like(parameter) for parameter in net.parameters()])
    assert_close(vector, loaded - 0.5)
    assert torch.equal(vector, torch.cat([parameter.flatten() for parameter in net.parameters()]))
    row = torch.ones(1, 3)
    for module in (net, other):
        module(row).sum().backward()  # a view is a leaf as any parameter
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert not torch.equal(net(row), other(row))


@modes
@every_optimizer
def test_an_optimizer_that_is_saved_and_loaded_goes_on_as_before(name, compiled, rng):
    ours = parameters(rng)
    first = Stepper(learner(ours, 0.5, name=name), compiled)
    step(first, gradients(rng))
    theirs = copy.deepcopy(ours)
    second = Stepper(learner(theirs, 0.5, name=name), compiled)
    second.optimizer.load_state_dict(copy.deepcopy(first.optimizer.state_dict()))
    for _ in range(3):
        drawn = gradients(rng)
        for stepper in (first, second):
            step(stepper, drawn)
    for one, other in zip(ours, theirs):
        assert torch.equal(one, other)


@every_optimizer
def test_what_a_loss_does_not_depend_on_keeps_its_value(name, rng):
    used, idle = (nn.Parameter(torch.randn(3, generator=rng)) for _ in range(2))
    before = copy.deepcopy([used, idle])
    still = {"AdamW": {"weight_decay": 0.0}, "ASGD": {"lambd": 0.0}}.get(name, {})
    updates = Updates({"net": learner([used, idle], 0.5, name=name, **still)}, Workers())
    for _ in range(3):
        updates(("net",), lambda x: ((used * x).square().sum(), {}), torch.ones(3))
    assert torch.equal(idle, before[1])
    assert not torch.equal(used, before[0])


SCHEDULES = [
    {"name": "LinearToZero", "frame": 100},
    {"name": "LinearToMin", "frame": 100, "min_factor": 0.3},
    {"name": "ConstantLR", "factor": 0.5, "total_iters": 2},
    {"name": "CosineAnnealingLR", "T_max": 4},
    {"name": "CosineAnnealingWarmRestarts", "T_0": 2},
    {"name": "CyclicLR", "base_lr": 0.01, "max_lr": 0.1, "cycle_momentum": False},
    {"name": "ExponentialLR", "gamma": 0.5},
    {"name": "LinearLR", "total_iters": 3},
    {"name": "MultiStepLR", "milestones": [1, 3]},
    {"name": "OneCycleLR", "max_lr": 0.1, "total_steps": 9, "cycle_momentum": False},
    {"name": "PolynomialLR", "total_iters": 4},
    {"name": "StepLR", "step_size": 2},
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("keys", SCHEDULES, ids=lambda keys: keys["name"])
def test_a_scheduled_rate_is_that_of_the_step(keys):
    """Also where the rate is a tensor: by SGD a step on the gradient 1 is the rate. Rounds of 20
    frames."""
    spec, rates = LRScheduleSpec(**keys), []
    plain = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.05)
    schedule = lr_schedule(plain, spec)
    for frame in range(0, 100, 20):
        schedule.step(frame)
        rates.append(plain.param_groups[0]["lr"])
        plain.step()
    assert len(set(rates)) > 1
    for compiled in (False, True):
        stepper = Stepper(learner([nn.Parameter(torch.zeros(1))], lr=0.05), compiled)
        schedule, steps = lr_schedule(stepper.optimizer, spec), []
        for frame in range(0, 100, 20):
            schedule.step(frame)
            before = stepper.parameters[0].item()
            step(stepper, [torch.ones(1)])
            steps.append(before - stepper.parameters[0].item())
        assert steps == pytest.approx(rates, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "compiled"),
    [
        *[(name, False) for name in ("Adam", "AdamW", "RMSprop", "SGD")],
        ("Adam", True),
        *[pytest.param(name, True, marks=pytest.mark.slow) for name in ("AdamW", "RMSprop", "SGD")],
    ],
)
def test_where_a_rate_has_come_to_nothing_nothing_moves(name, compiled, rng):
    """Not even what never had a gradient."""
    used, idle = (nn.Parameter(torch.randn(3, generator=rng)) for _ in range(2))
    updates = Updates({"net": learner([used, idle], name=name)}, Workers(), compiled)
    spec = LRScheduleSpec(name="LinearToZero", frame=100)
    schedule = lr_schedule(updates.steppers["net"].optimizer, spec)

    def update(frame):
        schedule.step(frame)
        updates(("net",), lambda x: ((used * x).square().sum(), {}), torch.ones(3))

    update(0)
    before = copy.deepcopy([used, idle])
    update(100)
    assert_close([used, idle], before, rtol=0, atol=1e-12)
