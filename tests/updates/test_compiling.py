"""Updates as compiled graphs: to rounding the numbers of those that are not, and the same each time."""

from __future__ import annotations

import copy
import gc
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch._dynamo
from torch import nn
from torch._inductor import config as inductor
from torch._inductor.codecache import torch_key
from torch._inductor.cpu_vec_isa import VecAVX2
from torch.testing import assert_close

from slm_lightning.data.workers import Workers
from slm_lightning.errors import MissingError, SpecError, StorageError
from slm_lightning.registry import REGISTRY
from slm_lightning.spec.model import Spec
from slm_lightning.spec.resolve import resolve_dict
from slm_lightning.spec.torch_names import OPTIMIZERS
from slm_lightning.updates import Updates, compiles, decision, regrets
from slm_lightning.updates.cache import CACHE
from slm_lightning.updates.compiling import prepare, uncollected
from slm_lightning.updates.deciding import WORTHWHILE, updates
from tests.conftest import REPLAY, assert_equal, make_spec, train
from tests.contracts.test_resume import Keep
from tests.support import equal, needs_compiler
from tests.updates.cases import LONG, SHORT
from tests.updates.test_stepper import learner

ALL = SHORT | LONG


@pytest.fixture(autouse=True)
def graphs() -> Iterator[None]:
    """They can be made, and end with the test."""
    needs_compiler()
    yield
    torch._dynamo.reset()


def cases(*often: str) -> Any:
    """Every case by name; tested with each commit are those called ``often``."""
    slow = (pytest.param(name, marks=pytest.mark.slow) for name in ALL if name not in often)
    return pytest.mark.parametrize("name", [*often, *slow])


def compiled(spec: Spec, how: bool | str = True) -> Spec:
    """``spec`` with ``meta.compile``, and so many rows that its rounds are several batches."""
    meta = spec.meta.model_copy(update={"compile": how, "log_frequency": 50})
    return spec.model_copy(update={"meta": meta})


@cases(*SHORT)
def test_a_compiled_session_draws_the_same_and_differs_by_rounding_only(name):
    """Schedules that fall from round to round are in most of them: none is a constant of its graph."""
    spec = ALL[name]
    plain, run = train(compiled(spec, False)), train(compiled(spec))
    graphs = run.session.updates.graphs.values()
    assert graphs and not plain.session.updates.graphs
    assert all(len(graph.ways) < 3 for graph in graphs), "calls that are alike go one way"
    assert len(run.metrics) == len(plain.metrics) > 1
    assert run.episodes == plain.episodes
    for ours, theirs in zip(run.metrics, plain.metrics):
        assert ours == pytest.approx(theirs, rel=1e-2, abs=1e-4)
    for key, value in plain.parameters.items():
        assert_close(run.parameters[key], value, atol=1e-4, rtol=1e-3, msg=key)
    again = train(compiled(spec))
    assert again.metrics == run.metrics
    assert_equal(again.parameters, run.parameters)


@cases("DQN")
def test_a_compiled_session_goes_on_compiled_whatever_the_machine_has(name, tmp_path):
    """The checkpoint says so: what is resumed computes as it began."""
    spec = ALL[name]
    folders = [tmp_path / "whole", tmp_path / "resumed"]
    for folder in folders:
        folder.mkdir()
    whole, resumed = Keep(folders[0], rounds=1), Keep(folders[1])
    train(compiled(spec), callbacks=[whole])
    assert whole.end()["session"]["compiled"] is True
    run = train(compiled(spec, "auto"), callbacks=[resumed], checkpoint=folders[0] / "middle.ckpt")
    assert run.session.compiled and run.session.updates.graphs
    assert equal(whole.end(), resumed.end())


def test_a_session_that_began_plain_goes_on_plain(tmp_path):
    keep = Keep(tmp_path, rounds=1)
    plain = train(compiled(SHORT["DQN"], False), callbacks=[keep])
    run = train(compiled(SHORT["DQN"]), checkpoint=tmp_path / "middle.ckpt")
    assert not run.session.compiled and not run.session.updates.graphs
    assert_equal(run.parameters, plain.parameters)


LONG_RUN = {"name": "CartPole-v1", "max_frame": 100_000}
NETS = {"type": "RecurrentNet", "cell_type": "GRU", "rnn_hidden_size": 8, "seq_len": 5}
OBSTACLES = {
    "learns nothing": make_spec("Random", LONG_RUN),
    "every round has another size": make_spec("Reinforce", LONG_RUN, memory="OnPolicyReplay"),
    "RecurrentNet would be": make_spec("DQN", LONG_RUN, NETS, memory=REPLAY),
    "several workers": make_spec("PPO", LONG_RUN, meta={"distributed": "synced", "max_session": 2}),
}


@pytest.mark.parametrize("why", OBSTACLES)
def test_what_is_no_graph_is_refused_where_it_is_asked_for_and_else_left_plain(why):
    spec = OBSTACLES[why]
    with pytest.raises(SpecError, match=rf"meta\.compile: .*{why}.*; write auto or false"):
        resolve_dict(compiled(spec).to_dict(), REGISTRY)
    assert not compiles(compiled(spec, "auto"))
    assert re.match(f"no, because .*{why}", decision(compiled(spec, "auto")))
    assert not compiles(compiled(spec, False))
    assert decision(compiled(spec, False)) == "no, because meta.compile is false"


def test_auto_compiles_from_so_many_updates_on():
    def spec(frames: int) -> Spec:
        return make_spec("PPO", {"name": "CartPole-v1", "max_frame": frames})

    # 64 frames make 2 minibatches of 32, each learned from 4 times
    assert [updates(spec(frames)) for frames in (64, 640, 660)] == [8, 80, 80]
    most = WORTHWHILE // 8 * 64
    assert compiles(spec(most)) and not compiles(spec(most - 64))
    assert decision(spec(most)) == f"yes, because a session makes about {WORTHWHILE} updates"
    few = f"a session makes about {WORTHWHILE - 8} updates, and compiling pays from {WORTHWHILE} on"
    assert decision(spec(most - 64)) == f"no, because {few}"
    assert decision(compiled(spec(64))) == "yes, because meta.compile is true"
    assert compiles(compiled(spec(64))) and not compiles(compiled(spec(most), False))


def test_updates_of_what_replays_are_counted_by_its_rounds():
    algorithm = {"name": "DQN", "training_iter": 3, "training_batch_iter": 2}
    spec = make_spec(algorithm, {"name": "CartPole-v1", "max_frame": 400})
    session = train(compiled(spec, False)).session
    assert updates(spec) == session.opt_step == session.version * 6


def test_minibatches_of_a_round_are_as_many_as_sub_environments():
    cart = {"name": "Pendulum-v1", "num_envs": 4, "max_frame": 2000}
    spec = make_spec("SoftActorCritic", cart)
    assert spec.agent.algorithm.training_iter is None
    assert updates(spec) == train(compiled(spec, False)).session.version * 4


@pytest.mark.parametrize("lacks", ["CXX", "PATH"])
def test_without_a_compiler_auto_trains_plain_and_says_so(lacks, monkeypatch, tmp_path):
    monkeypatch.setenv(lacks, str(tmp_path / "none"))
    if lacks == "PATH":
        monkeypatch.delenv("CXX", raising=False)
    spec = make_spec("PPO", LONG_RUN)
    assert not compiles(spec)
    (note,) = regrets(spec)
    assert "no C++ compiler" in note and "a run begun with --set meta.compile=false" in note
    assert decision(spec) == "no, because there is no C++ compiler"
    assert not regrets(compiled(spec, False))
    with pytest.raises(MissingError, match=r"meta\.compile: there is no C\+\+ compiler"):
        compiles(compiled(spec))


def test_without_pythons_headers_nothing_is_compiled_either(monkeypatch, tmp_path):
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(MissingError, match=r"there is no Python\.h"):
        compiles(compiled(make_spec("PPO")))


def test_a_compiler_that_fails_is_an_error_with_a_way_out():
    updates = Updates({"net": learner([nn.Parameter(torch.ones(3))])}, Workers(), compiled=True)

    def untraceable(x):
        return x.sum() * float(x.sum().item() > 0) if x.max() > 0 else x.sum(), {}

    with pytest.raises(MissingError, match="the update cannot be compiled") as caught:
        updates(("net",), untraceable, torch.ones(3))
    assert "a run begun with --set meta.compile=false" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("says", "refused", "sentence"),
    [
        ("g++: error: unrecognized option", MissingError, r"g\+\+: error: unrecognized option"),
        ("ld: final link failed: No space left on device", StorageError, "there is no room in"),
    ],
)
def test_a_compiler_that_fails_on_this_machine_is_an_error_with_a_way_out(
    says, refused, sentence, tmp_path, monkeypatch
):
    prepare()
    monkeypatch.setenv(CACHE, str(tmp_path / "graphs"))
    old = tmp_path / "g++"
    fails = f"echo {says}; exit 1"
    old.write_text(f'#!/bin/sh\ncase "$*" in *.cpp*) {fails};; *) exec g++ "$@";; esac')
    old.chmod(0o755)
    weights = nn.Parameter(torch.ones(3))
    updates = Updates({"net": learner([weights])}, Workers(), compiled=True)
    cannot = pytest.raises(refused, match=f"cannot be compiled: {sentence}")
    with inductor.patch("cpp.cxx", (str(old),)), cannot as caught:
        updates(("net",), lambda x: ((weights * x).sum() * 7, {}), torch.ones(3))
    way = "a run begun with --set" if refused is MissingError else "make room, and go on"
    assert way in caught.value.hint
    assert not updates.graphs and gc.isenabled()


@pytest.mark.parametrize("frozen", [False, True])
def test_what_is_built_while_the_collector_rests_is_old_behind_it(frozen):
    if frozen:
        gc.freeze()
    try:
        with uncollected():
            built = [[] for _ in range(1000)]
            assert any(built is one for one in gc.get_objects(generation=0))
        assert not any(built is one for one in gc.get_objects(generation=0))
        assert bool(gc.get_freeze_count()) is frozen
    finally:
        gc.unfreeze()


def test_graphs_of_another_pytorch_are_told_apart_without_reading_all_its_files():
    prepare()
    assert str(torch.version.git_version) in torch_key().decode()


@pytest.mark.parametrize("calls", ["", "missing()"])
def test_whether_newer_instructions_load_is_tried_in_this_process(calls, tmp_path, monkeypatch):
    """PyTorch's own trial asks another interpreter."""
    prepare()
    library = str(tmp_path / "trial.so")
    code = f'extern "C" int missing(); extern "C" void trial() {{ {calls}; }}'
    compiler = ["g++", "-shared", "-fPIC", "-x", "c++", "-", "-o", library]
    subprocess.run(compiler, input=code, text=True, check=True)
    monkeypatch.setattr("subprocess.run", pytest.fail)
    assert VecAVX2()._probe_load(library) is not bool(calls)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [None, 0.5])
@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "Adafactor"])
def test_every_optimizer_steps_in_the_graph(name, limit):
    torch.manual_seed(0)
    nets = [nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))]
    nets.append(copy.deepcopy(nets[0]))
    x = torch.randn(16, 4)
    for net, how in zip(nets, (False, True)):
        made = Updates({"net": learner(list(net.parameters()), limit, name=name)}, Workers(), how)

        def loss(x, net=net):
            loss = (net(x) - 3 * x[:, :1]).square().mean()
            return loss, {"loss": loss}

        infos = [made(("net",), loss, x) for _ in range(8)]
        assert infos[-1]["loss"] < infos[0]["loss"]
    for one, other in zip(*(net.parameters() for net in nets)):
        assert_close(one, other, atol=3e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "keys", [{"name": "Adafactor"}, {"fused": True}, {"foreach": True}], ids=lambda keys: str(keys)
)
def test_an_optimizer_that_is_no_graph_is_an_obstacle_and_auto_trains_plain(keys):
    """Adafactor compares its rate with a number, a fused step is a kernel of its own."""
    spec = make_spec("PPO", LONG_RUN, {"optim_spec": {"name": "Adam"} | keys})
    assert not compiles(spec)
    with pytest.raises(SpecError, match=r"meta\.compile: .*; write auto or false"):
        resolve_dict(compiled(spec).to_dict(), REGISTRY)
