"""Calls of compiled updates that go straight to the code: which do, and that they come to the same."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch._dynamo
from lightning import Callback
from torch import Tensor, nn
from torch.testing import assert_close

from slm_lightning.data.workers import Workers
from slm_lightning.updates import Updates
from slm_lightning.updates.graph import flat, guards, overheard
from tests.conftest import assert_equal, make_spec, train
from tests.support import needs_compiler
from tests.updates.cases import CARTPOLE, STEEP
from tests.updates.test_stepper import learner


@pytest.fixture(autouse=True)
def graphs() -> Iterator[None]:
    """They can be made, and end with the test."""
    needs_compiler()
    yield
    torch._dynamo.reset()


@pytest.fixture
def looks(monkeypatch) -> list[int]:
    """One entry for each call that Dynamo looks at."""
    calls: list[int] = []

    def counted() -> Any:
        calls.append(len(calls))
        return overheard()

    monkeypatch.setattr("slm_lightning.updates.graph.overheard", counted)
    return calls


class Net:
    """A net that learns ``y = Σ x``, and the updates that teach it."""

    def __init__(self, how: bool = True, **optim_spec: Any):
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
        one = learner(list(self.layers.parameters()), 0.5, **optim_spec)
        self.updates = Updates({"net": one}, Workers(), how)
        self.optimizer = self.updates.steppers["net"].optimizer

    @property
    def ways(self) -> list[Any]:
        (graph,) = self.updates.graphs.values()
        return graph.ways

    def loss(self, x: Tensor, *more: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss = (self.layers(x) - x.sum(1, keepdim=True)).square().mean()
        return loss, {"loss": loss}

    def weighted(self, x: Tensor, *more: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss = (self.layers[0](x) * more[0].sum() * more[1].mean()).mean()
        return loss, {"loss": loss, "first": more[0]}

    def writing(self, x: Tensor, *more: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss, info = self.weighted(x, *more)
        more[1].add_(1.0)
        return loss, info

    def learn(self, x: Tensor, *more: Tensor, by: str = "loss") -> dict[str, Tensor]:
        return self.updates(("net",), getattr(self, by), x, *more)


def rows(*sizes: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(size, 4, generator=generator) for size in sizes]


def test_what_is_alike_goes_straight_and_comes_to_the_same_numbers(looks):
    """The last minibatch is smaller: Dynamo looks at it twice, as at the others."""
    minibatches = rows(*[16, 16, 16, 8] * 4)
    straight, asked = Net(name="Adam"), Net(name="Adam")
    infos = [straight.learn(x) for x in minibatches]
    assert len(looks) <= 5
    looks.clear()
    for x, info in zip(minibatches, infos):
        asked.updates.look_again()
        assert_equal(info, asked.learn(x))
    assert len(looks) == len(minibatches)
    assert_equal(straight.layers.state_dict(), asked.layers.state_dict())


@pytest.mark.slow
def test_an_optimizer_that_makes_its_state_in_the_first_step_goes_on_with_it(looks):
    plain, straight = Net(False, momentum=0.9), Net(momentum=0.9)
    for x in rows(*[16] * 8):
        assert_close(straight.learn(x), plain.learn(x))
    assert len(looks) <= 3


@pytest.mark.slow
def test_dynamo_looks_again_where_it_is_told_to():
    """The modes of modules and which tensors are theirs are nothing that a call shows."""
    net, plain = Net(), Net(False)
    for change in (
        lambda one: one.layers.eval(),
        lambda one: setattr(one.layers[1], "running_mean", torch.ones(8)),
        lambda one: one.optimizer.param_groups[0].update(lr=torch.tensor(0.5)),
    ):
        for one in (net, plain):
            for x in rows(16, 16, 16):
                one.learn(x)
            change(one)
            one.updates.look_again()
            one.learn(*rows(16))
        assert_close(net.layers.state_dict(), plain.layers.state_dict(), atol=1e-4, rtol=1e-4)


class Stop(Callback):
    """After the first block the rate of learning is 0, in another tensor."""

    def on_train_batch_end(self, trainer, session, *rest):
        for optimizer in session.optims.values():
            optimizer.param_groups[0]["lr"] = torch.tensor(0.0)
        assert all(graph.ways for graph in session.updates.graphs.values())
        if session.version == 1:
            self.parameters = copy.deepcopy(dict(session.agent.named_parameters()))


def test_between_blocks_anything_may_change():
    spec, stop = make_spec("PPO", CARTPOLE, STEEP, meta={"compile": True}), Stop()
    session = train(spec, callbacks=[stop]).session
    assert session.version > 1
    assert_equal(dict(session.agent.named_parameters()), stop.parameters)


def test_torchs_modes_are_something_that_a_call_shows(looks):
    net = Net()
    for x in rows(16, 16, 16):
        net.learn(x)
    seen = len(looks)
    with torch.enable_grad():
        net.learn(*rows(16))
    assert net.ways and len(looks) == seen
    with torch.autocast("cpu", torch.bfloat16):
        net.learn(*rows(16))
    assert len(looks) == seen + 1


def test_what_is_given_twice_goes_straight_and_may_be_two_another_time(looks):
    net, plain = Net(), Net(False)
    x, one, two = rows(16)[0], torch.ones(3), torch.full((3,), 2.0)
    for given in [(one, one)] * 2 + [(one, two)] * 2 + [(two, two), (one, two), (two, one)]:
        ours, theirs = (each.learn(x, *given, by="weighted") for each in (net, plain))
        assert_close(ours, theirs)
    assert len(looks) == 4


def test_the_minibatches_of_a_round_go_straight(looks):
    """PPO hands over one tensor twice, for two scales that are 1."""
    session = train(make_spec("PPO", CARTPOLE, meta={"compile": True})).session
    assert session.opt_step >= 8 * session.version
    assert len(looks) <= 2 * session.version


@pytest.mark.slow
def test_what_writes_to_what_it_is_given_never_goes_straight():
    net, weight = Net(), torch.zeros(3)
    for call in range(1, 5):
        net.learn(*rows(16), torch.ones(3), weight, by="writing")
        assert weight.tolist() == [call] * 3
    assert not net.ways


@pytest.mark.slow
def test_a_parameter_that_is_given_never_goes_straight():
    net = Net()
    for x in rows(16, 16, 16):
        net.learn(x, torch.ones(3), net.layers[2].bias, by="weighted")
    assert not net.ways


def test_alike_are_tensors_for_which_a_graph_is_the_same():
    x = torch.ones(4, 4)
    for one in (x, x.clone().requires_grad_()):
        alike = guards([one]).check
        assert alike(one) and alike(torch.zeros(4, 4, requires_grad=one.requires_grad))
        with torch.no_grad():
            assert alike(one)
        for other in (x[:2], x[None], x.double(), x.t()[:, ::2], torch.ones(8, 4)[::2], x.to("meta")):
            assert not alike(other.requires_grad_(one.requires_grad))
        assert not alike(nn.Parameter(x))
        assert not alike(x.clone().requires_grad_(not one.requires_grad))


def test_tuples_are_told_apart_by_their_shape():
    x = torch.ones(1)
    ways = [(x, x), ((x, x),), ((x,), x), (x, (x,)), (x, None), (None, x)]
    shapes = []
    for way in ways:
        told, given = [], []
        flat(way, told, given)
        assert all(one is x for one in given)
        shapes.append(tuple(map(id, told)))
    assert len(set(shapes)) == len(ways)
