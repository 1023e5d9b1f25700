"""What is found out about a spec before anything is created."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch

from slm_lightning.errors import LabError, MissingError, SpecError
from slm_lightning.lab.preflight import (
    check,
    device_of,
    doubts,
    has_display,
    look_at,
    shortened,
)
from slm_lightning.registry import REGISTRY
from tests.conftest import make_spec
from tests.envs.misbehaving import misbehaving
from tests.envs.probes import probe
from tests.support import tiny, write_spec


def refusal(spec: Any) -> LabError:
    with pytest.raises(LabError) as caught:
        check(spec)
    assert "\n" not in str(caught.value), "one sentence for one problem"
    return caught.value


@pytest.mark.parametrize(
    "net",
    [
        {},
        {"optim_spec": {"name": "Adam", "lr": 0.001, "weight_decay": 0.1}},
        {"lr_scheduler_spec": {"name": "StepLR", "step_size": 10}},
    ],
)
def test_a_spec_is_checked_without_the_compiler(net: dict[str, Any], tmp_path: Path) -> None:
    """Which PyTorch's optimizers import; afterwards they are hidden from it as ever."""
    write_spec(tmp_path / "spec.json", tiny(net=net))
    code = """
import sys
from slm_lightning.lab import preflight
from slm_lightning.registry import REGISTRY
from slm_lightning.spec.load import load_spec
from slm_lightning.spec.resolve import resolve

preflight.check(resolve(load_spec("spec.json"), REGISTRY))
print("torch._dynamo" in sys.modules)

import torch
from torch.optim import SGD

SGD([torch.ones(1, requires_grad=True)], 0.1)
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, text=True, capture_output=True, check=True
    )
    assert done.stdout.split() == ["False", "True"]


class TestCheck:
    @pytest.mark.parametrize(
        ("env", "kind"),
        [
            ("CartPole-v1", "discrete"),
            ("Pendulum-v1", "continuous"),
            (probe("Identity", kind="multi_binary"), "multi_binary"),
        ],
    )
    def test_what_can_run(self, env: Any, kind: str) -> None:
        able = [name for name, cls in REGISTRY.algorithms.items() if kind in cls.actions]
        assert {"PPO", "Random"} <= set(able)
        for algorithm in able:
            check(make_spec(algorithm, env))

    @pytest.mark.parametrize(
        ("env", "kind", "message"),
        [
            ("CartPool-v1", MissingError, 'environment "CartPool-v1" is not registered'),
            ({"name": "CartPole-v1", "gravity": 9}, SpecError, "env.gravity: neither a key of env nor"),
            (probe("Missing"), SpecError, "env.entry_point: cannot import"),
            ("ALE/Pong-v5", MissingError, "ALE/Pong-v5 needs ale-py"),
            ("HalfCheetah-v5", MissingError, "HalfCheetah-v5 needs a package that is missing"),
        ],
    )
    def test_the_environment(self, env: Any, kind: type[LabError], message: str) -> None:
        if kind is MissingError and _installed(env):
            pytest.skip(f"{env} is installed here")
        error = refusal(make_spec("PPO", env))
        assert isinstance(error, kind)
        assert str(error).startswith(message)
        assert error.hint or kind is SpecError

    def test_a_similar_id_is_suggested(self) -> None:
        assert "CartPole-v1" in refusal(make_spec("PPO", "CartPool-v1")).hint

    def test_an_action_space_that_nothing_supports(self) -> None:
        error = refusal(make_spec("PPO", {"name": "tests/Text-v0", "entry_point": f"{__name__}:Text"}))
        assert "env.name: action space Text(" in str(error)
        assert isinstance(error, SpecError)

    def test_an_algorithm_that_does_not_take_these_actions(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(REGISTRY.algorithms["PPO"], "actions", {"discrete"})
        check(make_spec("PPO"))
        error = refusal(make_spec("PPO", "Pendulum-v1"))
        assert str(error) == (
            "agent.algorithm.name: PPO takes discrete actions,"
            " and env.name Pendulum-v1 has continuous ones"
        )

    @pytest.mark.parametrize(
        ("env", "pdtype", "fits"),
        [
            ("CartPole-v1", "Normal", "choose Categorical"),
            ("Pendulum-v1", "Categorical", "choose Normal or MultivariateNormal"),
        ],
    )
    def test_a_distribution_that_does_not_fit(self, env: str, pdtype: str, fits: str) -> None:
        error = refusal(make_spec({"name": "PPO", "action_pdtype": pdtype}, env))
        assert str(error).startswith(f'agent.algorithm.action_pdtype: "{pdtype}" does not fit a ')
        assert fits in str(error)

    def test_a_budget_below_one_round(self) -> None:
        env = {"name": "CartPole-v1", "num_envs": 4, "max_frame": 127}
        error = refusal(make_spec("PPO", env))
        assert str(error) == (
            "env.max_frame: 127 frames are less than one round of 128"
            " (32 vector steps x 4 sub-environments)"
        )
        check(make_spec("PPO", env | {"max_frame": 128}))
        episodes = make_spec("Reinforce", {"name": "CartPole-v1", "num_envs": 1, "max_frame": 1},
                             memory="OnPolicyReplay")  # fmt: skip
        check(episodes)

    def test_a_schedule_that_does_not_go_with_the_optimizer(self) -> None:
        cycle = {"name": "OneCycleLR", "max_lr": 0.1, "total_steps": 100}
        net: Any = {"optim_spec": {"name": "Adagrad"}, "lr_scheduler_spec": cycle}
        error = refusal(make_spec("PPO", net=net))
        assert str(error).startswith(
            "agent.net.lr_scheduler_spec: OneCycleLR does not go with Adagrad"
            " (agent.net.optim_spec.name): optimizer must support momentum"
        )
        check(make_spec("PPO", net=net | {"lr_scheduler_spec": cycle | {"cycle_momentum": False}}))

    def test_the_environment_is_closed(self, tmp_path: Path) -> None:
        notes = tmp_path / "notes"
        check(make_spec("PPO", misbehaving("none", notes=str(notes))))
        assert Counter(notes.read_text().split()) == {"made": 3, "closed": 3}


class TestUnknownEnvironment:
    """One that the lab's tests do not know may do anything to its process."""

    @pytest.mark.parametrize(
        ("fault", "said"),
        [
            ("nan", "breaks the interface of Gymnasium: observation is not finite, in step 13"),
            ("segfault", "ends the process that plays it: SIGSEGV"),
            ("exit", "ends the process that plays it: exit 3"),
            ("sleep", "hangs: a step took longer than 0.5 s (env.step_timeout)"),
            ("spin", "hangs: a step took longer than 0.5 s (env.step_timeout)"),
        ],
    )
    def test_it_is_refused(self, fault: str, said: str) -> None:
        error = refusal(make_spec("PPO", misbehaving(fault, step_timeout=0.5)))
        assert isinstance(error, MissingError)
        assert str(error).startswith(f"tests/Misbehaving-v0 {said}")

    def test_what_it_prints_is_not_seen(self, capfd: pytest.CaptureFixture[str]) -> None:
        refusal(make_spec("PPO", misbehaving("segfault")))
        assert capfd.readouterr() == ("", "")

    def test_each_section_is_looked_at_once(self, tmp_path: Path) -> None:
        notes = tmp_path / "notes"
        env = {"name": "tests/Misbehaving-v0", "max_frame": 256, "num_envs": 2}
        env |= misbehaving("none", notes=str(notes))
        spec = make_spec("PPO", env)
        check(spec)
        made = notes.read_text().count("made")
        assert look_at(spec.env.model_copy(update={"num_envs": 7})).info.num_envs == 1
        assert notes.read_text().count("made") == made
        look_at(spec.env.model_copy(update={"max_t": 5}))
        assert notes.read_text().count("made") == 2 * made
        check(spec)
        assert notes.read_text().count("made") == 3 * made, "a run looks anew"

    def test_an_unknown_key(self) -> None:
        error = refusal(make_spec("PPO", misbehaving("none", gravity=9)))
        assert isinstance(error, SpecError)
        assert str(error).startswith("env.gravity: neither a key of env nor an argument of")

    def test_one_that_does_not_repeat_itself_is_no_error(self) -> None:
        look = check(make_spec("PPO", misbehaving("random")))
        assert doubts(look) == [
            "env.name: tests/Misbehaving-v0 does not repeat itself from its seed and actions: another"
            " reward in step 4; resume is approximate: it begins new episodes"
        ]


class Text(gym.Env):
    """Actions are words."""

    observation_space = gym.spaces.Box(-1, 1, (1,))
    action_space = gym.spaces.Text(3)


def _installed(env: Any) -> bool:
    module = {"ALE/Pong-v5": "ale_py", "HalfCheetah-v5": "mujoco"}.get(str(env), "")
    return bool(module) and importlib.util.find_spec(module) is not None


class TestDevice:
    @pytest.mark.parametrize(
        ("gpu", "asked", "count", "expected"),
        [
            ("auto", "auto", 0, ["cpu", "cpu", "cpu"]),
            ("auto", "auto", 2, ["cuda:0", "cuda:1", "cuda:0"]),
            (True, "auto", 1, ["cuda:0", "cuda:0", "cuda:0"]),
            (False, "auto", 2, ["cpu", "cpu", "cpu"]),
            (False, "cuda", 2, ["cuda:0", "cuda:1", "cuda:0"]),
            ("auto", "cpu", 2, ["cpu", "cpu", "cpu"]),
        ],
    )
    def test_gpus_are_dealt_in_turn(
        self, gpu: Any, asked: str, count: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        spec = make_spec("PPO", net={"gpu": gpu})
        assert [device_of(spec, session, asked) for session in range(3)] == expected

    def test_a_gpu_that_is_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
        with pytest.raises(MissingError, match="no CUDA device") as caught:
            device_of(make_spec("PPO"), 0, "cuda")
        assert "--device cpu" in caught.value.hint


def test_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv("DISPLAY", raising=False)
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        assert not has_display()
        monkeypatch.setenv(name, ":0")
        assert has_display()


def test_a_shortened_spec() -> None:
    spec = make_spec("PPO", {"name": "CartPole-v1", "num_envs": 4, "max_frame": 10**6})
    short = shortened(spec, 10)
    assert (short.env.max_frame, short.meta.log_frequency) == (1280, 128)
    assert short.agent == spec.agent
    assert shortened(make_spec("PPO"), 10).env.max_frame == 256, "it is not made longer"
    episodes = make_spec({"name": "Reinforce", "training_frequency": 2},
                         {"name": "CartPole-v1", "num_envs": 1, "max_frame": 10**6},
                         memory="OnPolicyReplay")  # fmt: skip
    assert shortened(episodes, 10).env.max_frame == 10_000
