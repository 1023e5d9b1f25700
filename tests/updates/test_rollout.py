"""Vector steps as graphs: to rounding the rollouts of those that are not, and the same each time."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch._dynamo
from torch.testing import assert_close

from slm_lightning.core import Keys, Stream
from slm_lightning.data.collector import Collector, Compiler
from slm_lightning.envs import make_env
from slm_lightning.errors import MissingError
from slm_lightning.session import Session
from slm_lightning.spec.model import Spec
from slm_lightning.updates import CompiledStep, compiles, compiles_rollouts, decision, regrets
from slm_lightning.updates.deciding import FRAMES_FOR_A_STEP, WORTHWHILE_STEPS
from tests.conftest import EPSILON, REPLAY, assert_equal, make_spec, train
from tests.contracts.test_resume import Keep
from tests.support import equal, needs_compiler
from tests.updates.cases import CLIPPED, FALLING, HEAT

CPU = torch.device("cpu")
KEYS = Keys(4)


@pytest.fixture(autouse=True)
def graphs() -> Iterator[None]:
    """They can be made, and end with the test."""
    needs_compiler()
    yield
    torch._dynamo.reset()


def spec(algorithm: Any = "PPO", env: str = "CartPole-v1", **keys: Any) -> Spec:
    """In environments of tensors whose episodes end within a rollout; ``net``, ``meta`` and ``memory``
    are sections, other keys those of ``env``."""
    sections = {name: keys.pop(name, None) for name in ("net", "meta", "memory")}
    section = {"name": env, "backend": "torch", "num_envs": 3, "max_t": 20, "max_frame": 288}
    return make_spec(algorithm, section | keys, **sections)


def compiled(one: Spec, how: bool | str = True) -> Spec:
    return one.model_copy(update={"meta": one.meta.model_copy(update={"compile": how})})


CASES = {
    "PPO on CartPole": spec(net=CLIPPED),
    "A2C with a Boltzmann policy": spec({"name": "ActorCritic"} | HEAT, net={"shared": True}),
    "Reinforce on Pendulum": spec("Reinforce", "Pendulum-v1", normalize_reward=True),
    "PPO with Beta": spec({"name": "PPO", "action_pdtype": "Beta"}, "MountainCarContinuous-v0"),
    "A2C on Acrobot": spec("ActorCritic", "Acrobot-v1"),
    "SIL on MountainCar": spec("SIL", "MountainCar-v0"),
}
OFTEN = ["PPO on CartPole"]
some = pytest.mark.parametrize(
    "name", [name if name in OFTEN else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)


def collector(one: Spec, compiler: Compiler | None, state: Any = None) -> Collector:
    env = make_env(one.env, KEYS)
    session = Session.build(compiled(one, False), env.info, KEYS)
    return Collector(env, session.agent, session.normalizers, CPU, state, compiler=compiler)


@some
def test_rollouts_are_the_same_to_rounding(name):
    """Every step of both begins where the uncompiled one stands, so that none is far from the other."""
    plain, graph = (collector(CASES[name], how) for how in (None, CompiledStep))
    ends = 0
    for t in range(50):
        state = copy.deepcopy(plain.state_dict())
        graph.env.load_state_dict(state["env"])
        graph.obs = state["obs"]
        rows, episodes = [], []
        for each in (plain, graph):
            KEYS.seed_generators(Stream.BLOCK, t)
            batch, ended = each.collect(1, 0)
            rows.append(batch[:6])
            episodes.append([(e.frame, e.length) for e in ended])
        for one, other in zip(*rows):
            assert one.dtype == other.dtype
            assert_close(one, other, rtol=1e-6, atol=1e-6)
        assert_close(graph.raw, plain.raw, rtol=1e-6, atol=1e-6)
        assert graph.frame == plain.frame and episodes[0] == episodes[1]
        assert torch.equal(graph.env.episode, plain.env.episode)
        assert torch.equal(graph.env.elapsed, plain.env.elapsed)
        ends += len(episodes[0])
    assert ends >= 6
    for each in (plain, graph):  # there is no room for so many steps
        KEYS.seed_generators(Stream.BLOCK, 50)
        each.collect(4, 0)
    assert_close(graph.raw, plain.raw, rtol=1e-4, atol=1e-4)
    assert_close(graph.latest.obs, plain.latest.obs, rtol=1e-4, atol=1e-4)


@some
def test_a_session_learns_from_them_as_from_others_and_repeats_itself(name):
    plain, run = train(compiled(CASES[name], False)), train(compiled(CASES[name]))
    assert plain.data.collector.graph is None
    assert run.data.collector.graph.graph.ways, "calls do not go straight"
    assert [e[::2] for e in run.episodes] == [e[::2] for e in plain.episodes]
    assert len(run.metrics) == len(plain.metrics) > 1
    for ours, theirs in zip(run.metrics, plain.metrics):
        assert ours == pytest.approx(theirs, rel=1e-2, abs=1e-3)
    again = train(compiled(CASES[name]))
    assert again.metrics == run.metrics and again.episodes == run.episodes
    assert_equal(again.parameters, run.parameters)


def test_resumed_equals_never_stopped_even_where_auto_would_not_compile(tmp_path):
    folders = [tmp_path / "whole", tmp_path / "resumed"]
    for folder in folders:
        folder.mkdir()
    whole, resumed = Keep(folders[0], rounds=1), Keep(folders[1])
    train(compiled(CASES["PPO on CartPole"]), callbacks=[whole])
    auto = compiled(CASES["PPO on CartPole"], "auto")
    assert not compiles_rollouts(auto)
    run = train(auto, callbacks=[resumed], checkpoint=folders[0] / "middle.ckpt")
    assert run.data.collector.graph is not None
    assert equal(whole.end(), resumed.end())


def test_a_session_that_began_without_goes_on_without(tmp_path):
    name = "PPO on CartPole"
    plain = train(compiled(CASES[name], False), callbacks=[Keep(tmp_path, rounds=1)])
    run = train(compiled(CASES[name]), checkpoint=tmp_path / "middle.ckpt")
    assert run.data.collector.graph is None
    assert_equal(run.parameters, plain.parameters)


PLAIN = {
    "another library": spec(backend="gymnasium"),
    "normalised observations": spec(normalize_obs=True),
    "clipped observations": spec(clip_obs=5.0),
    "epsilon": spec({"name": "PPO"} | EPSILON),
    "a replay memory": spec("DQN", memory=REPLAY),
    "values": spec({"name": "SARSA", "action_policy": "boltzmann", "explore_var_spec": FALLING}),
}


@pytest.mark.parametrize("why", PLAIN)
def test_what_is_no_graph_stays_as_it_is_while_updates_are_compiled(why):
    assert compiles(compiled(PLAIN[why])) and not compiles_rollouts(compiled(PLAIN[why]))


def test_a_session_whose_observations_are_normalised_collects_as_ever():
    run = train(compiled(PLAIN["normalised observations"]))
    assert run.session.updates.graphs and run.data.collector.graph is None


@pytest.mark.parametrize("obstacle", [{"memory": "OnPolicyReplay"}, {"net": {"type": "RecurrentNet"}}])
def test_where_updates_are_no_graphs_neither_are_rollouts(obstacle):
    net = obstacle.get("net")
    recurrent = {"cell_type": "GRU", "rnn_hidden_size": 8, "seq_len": 4} if net else {}
    one = spec("Reinforce", memory=obstacle.get("memory"), net=net and net | recurrent)
    assert not compiles_rollouts(compiled(one))


def test_auto_compiles_from_so_many_steps_on_and_sooner_where_steps_are_large():
    def wanted(steps: int, num_envs: int, how: bool | str = "auto") -> bool:
        env = {"num_envs": num_envs, "max_frame": steps // 32 * 32 * num_envs}
        return compiles_rollouts(compiled(spec("ActorCritic", **env), how))

    few = WORTHWHILE_STEPS - WORTHWHILE_STEPS // (FRAMES_FOR_A_STEP + 1)
    assert wanted(few + 64, 1) and not wanted(few - 64, 1)
    half = WORTHWHILE_STEPS // 2
    assert wanted(half + 64, FRAMES_FOR_A_STEP) and not wanted(half - 64, FRAMES_FOR_A_STEP)
    assert wanted(64, 1, True) and not wanted(few + 64, 1, False)


def test_without_a_compiler_it_is_said(monkeypatch, tmp_path):
    one = spec("ActorCritic", num_envs=1, max_frame=WORTHWHILE_STEPS)
    assert not compiles(one) and compiles_rollouts(one)
    assert re.match("no, because .*; each vector step is$", decision(one))
    assert re.match("yes, because .*; each vector step too$", decision(compiled(one)))
    monkeypatch.setenv("CXX", str(tmp_path / "none"))
    assert not compiles_rollouts(one)
    (note,) = regrets(one)
    assert "no C++ compiler" in note


def test_what_is_shown_in_a_window_is_no_graph(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    env = make_env(spec().env, KEYS, render_mode="human")
    session = Session.build(spec(), env.info, KEYS)
    shown = Collector(env, session.agent, session.normalizers, CPU, compiler=CompiledStep)
    shown.collect(2, 0)
    assert shown.graph is None
    env.close()


def test_a_step_that_cannot_be_compiled_is_an_error_with_a_way_out():
    def untraceable(place: torch.Tensor) -> dict[str, torch.Tensor]:
        return {} if place.max() > 0 else {"place": place + 1}

    with pytest.raises(MissingError, match="the rollout cannot be compiled") as caught:
        CompiledStep(untraceable, CPU)(torch.ones(1))
    assert "meta.compile=false" in str(caught.value.hint)
