"""What the command line refuses: one sentence for a problem, the right exit code, nothing on standard
output, nothing created."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from slm_lightning.cli import main
from slm_lightning.errors import SpecError
from slm_lightning.tracking import Record
from tests.support import REPOSITORY, Lab, tiny, write_spec

pytestmark = pytest.mark.usefixtures("no_pictures")

SPECS = REPOSITORY / "specs"


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    return write_spec(tmp_path / "spec.json", tiny())


SPEC_PROBLEMS = [
    (["--set", "env.name=CartPool-v1"], 3, 'error: environment "CartPool-v1" is not registered'),
    (
        ["--set", "agent.net.optim_spec.name=Adm"],
        2,
        "error: agent.net.optim_spec.name: unknown optimizer",
    ),
    (["--set", "agent.net.optim_spec.lrr=1"], 2, "error: agent.net.optim_spec.lrr: unknown key"),
    (["--set", "agent.net.optim_spec.betas=3"], 2, "error: agent.net.optim_spec: Adam cannot be made"),
    (["--set", "agent.net.init_fn=xavier"], 2, "error: agent.net.init_fn: unknown initialiser"),
    (["--set", "agent.net.hid_layers_activation=rellu"], 2, 'did you mean "relu"?'),
    (["--set", "agent.algorithm.name=PPOO"], 2, "error: agent.algorithm.name: "),
    (["--set", "agent.algorithm.gamma=1.5"], 2, "error: agent.algorithm.gamma: "),
    (["--set", "agent.algorithm.action_pdtype=Normal"], 2, "does not fit a discrete action space"),
    (["--set", "env.num_envs=0"], 2, "error: env.num_envs: "),
    (["--set", "env.max_frame=10"], 2, "error: env.max_frame: 10 frames are less than one round"),
    (
        ["--set", "env.entry_point=nowhere:Env"],
        2,
        'error: env.entry_point: cannot import "nowhere:Env"',
    ),
    (["--set", "nonsense"], 2, 'error: --set "nonsense": write it as KEY=VALUE'),
    (["-s", "nonsense"], 2, 'error: -s "nonsense": write it as KEY=VALUE'),
    (["-s", "x=1"], 2, "nothing here is ${x}"),
    (["other"], 2, 'has no spec "other"'),
]


@pytest.mark.parametrize(("arguments", "code", "message"), SPEC_PROBLEMS)
def test_a_spec_that_cannot_run(
    arguments: list[str], code: int, message: str, lab: Lab, spec_file: Path, tmp_path: Path
) -> None:
    answer = lab("run", spec_file, *arguments)
    assert (answer.code, answer.out) == (code, "")
    assert answer.err.startswith("error: ") and message in answer.err.replace(f"{spec_file}", "")
    assert "Traceback" not in answer.err and len(answer.err.splitlines()) <= 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["spec.json"]


def test_all_problems_at_once(lab: Lab, spec_file: Path) -> None:
    options = ["agent.net.init_fn=xavier", "agent.algorithm.gamma=2", "env.numenvs=2"]
    answer = lab("run", spec_file, *(part for option in options for part in ("--set", option)))
    assert answer.code == 2
    assert len(answer.err.splitlines()) >= 3
    for path in ("agent.net.init_fn", "agent.algorithm.gamma", "env.numenvs"):
        assert f"{path}: " in answer.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nofile.json"], "nofile.json: no such file"),
        (["run", SPECS], "is a folder, not a spec file"),
        (["run", "spec.txt"], "spec.txt"),
        (["enjoy", "0123abcd"], 'no run "0123abcd" in the record at'),
        (["show", "0123abcd"], 'no run "0123abcd" in the record at'),
        (["resume", "0123abcd"], 'no run "0123abcd" in the record at'),
    ],
)
def test_what_is_not_there(
    arguments: list[str],
    message: str,
    lab: Lab,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.txt").write_text("no spec")
    answer = lab(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("error: ") and message in answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["spec.txt"]


def test_a_gpu_that_is_not_there(lab: Lab, record: Record, spec_file: Path,
                                 monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    answer = lab("run", spec_file, "--device", "cuda")
    assert (answer.code, answer.out) == (3, "")
    assert answer.err == (
        "error: no CUDA device on this machine\nleave out --device, or give --device cpu\n"
    )
    assert record.runs() == []


def test_a_reference_that_fits_several_runs(lab: Lab, finished_record: Record) -> None:
    copy = finished_record.create_run(experiment="tiny", name="tiny_t0", kind="trial")
    try:
        answer = lab("show", "tiny_t0")
    finally:
        finished_record.finish(copy, "FINISHED")
        finished_record.client.delete_run(copy)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith('error: "tiny_t0" fits 2 runs\n')
    assert f"  {copy[:8]}  tiny_t0  " in answer.err


def test_a_broken_record(lab: Lab, spec_file: Path, record: Record) -> None:
    record.database.write_bytes(b"no database" * 1000)
    for arguments in (["list"], ["run", spec_file], ["show", "tiny_t0"]):
        answer = lab(*arguments)
        assert (answer.code, answer.out) == (6, "")
        assert "file is not a database" in answer.err and "Traceback" not in answer.err


@pytest.mark.parametrize("where", [0, 2])
def test_debug_shows_the_traceback(where: int, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["run", "nofile.json"]
    arguments.insert(where, "--debug")
    monkeypatch.setattr(sys, "argv", ["slm-lightning", *arguments])
    with pytest.raises(SpecError, match="no such file"):
        main()


def test_a_window_that_was_asked_for(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    answer = lab("enjoy", "x", "--render", "human")
    assert (answer.code, answer.out) == (3, "")
    assert answer.err.splitlines() == [
        "error: no display here to open a window on",
        "without a window: --video replay.mp4",
    ]
    assert lab("enjoy", "x", "--render", "human", "--video", "x.mp4").code == 2


def test_what_nobody_foresaw(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("slm_lightning.api.load", fail)
    answer = lab("enjoy", "x")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.splitlines()[0] == "error: ZeroDivisionError: division by zero"
    assert "--debug" in answer.err


def test_code_that_is_no_python(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "halfdone.py").write_text("x = 1\ny = (\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("slm_lightning.api.load", lambda *_: importlib.import_module("halfdone"))
    answer = lab("enjoy", "x")
    assert (answer.code, answer.out) == (3, "")
    said = f"error: {tmp_path}/halfdone.py, line 2, is not valid Python: '(' was never closed"
    assert answer.err.splitlines()[0] == said


def test_ctrl_c(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("slm_lightning.api.load", interrupted)
    answer = lab("enjoy", "x")
    assert (answer.code, answer.out, answer.err.strip()) == (130, "", "stopped by SIGINT")
