"""The command line: what it prints where, how it ends, and what it leaves alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from slm_lightning import __version__
from slm_lightning.cli import cli
from slm_lightning.errors import MissingError
from slm_lightning.lab.result import Result
from slm_lightning.tracking import Record
from tests.support import REPOSITORY, TINY, Lab, tiny, write_spec

pytestmark = pytest.mark.usefixtures("no_pictures")

SPECS = REPOSITORY / "specs"
HEAVY = {"torch", "lightning", "mlflow", "gymnasium", "pandas", "plotly", "scipy", "numpy"}


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    return write_spec(tmp_path / "spec.json", tiny())


class TestHelp:
    @pytest.mark.parametrize("command", [None, *cli.commands])
    def test_every_command_explains_itself(self, command: str | None, lab: Lab) -> None:
        answer = lab(*([command] if command else []), "--help")
        assert (answer.code, answer.err) == (0, "")
        assert answer.out.startswith("Usage: slm-lightning")
        assert "..." not in re.sub(r"\[?\w+\]?\.\.\.", "", answer.out), "no sentence is cut off"

    def test_every_option_is_explained(self) -> None:
        """But those whose name says it all."""
        plain = {"mode", "device", "episodes", "checkpoint", "kind", "limit", "as_json", "help"}
        for command in cli.commands.values():
            for option in command.params:
                if isinstance(option, click.Option) and option.name not in plain:
                    assert option.help, f"{command.name} {option.name}"

    def test_the_package_is_the_command_too(self) -> None:
        command = [sys.executable, "-m", "slm_lightning", "--version"]
        done = subprocess.run(command, text=True, capture_output=True, check=True)
        assert __version__ in done.stdout

    @pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"], ["nonsense"]])
    def test_it_needs_nothing_heavy(self, arguments: list[str]) -> None:
        code = f"""
import sys
from slm_lightning.cli import main
sys.argv = ["slm-lightning", *{arguments!r}]
try:
    main()
finally:
    print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)
"""
        done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=False)
        assert done.stderr.splitlines()[-1] == "[]"
        assert done.returncode == (2 if arguments == ["nonsense"] else 0)

    def test_the_version(self, lab: Lab) -> None:
        assert lab("--version").out.strip() == f"slm-lightning, version {__version__}"

    @pytest.mark.parametrize(
        "arguments",
        [["nonsense"], ["run"], ["run", "a", "b", "c"], ["run", "x", "--seed", "-1"],
         ["enjoy", "x", "--episodes", "0"], ["list", "--kind", "models"], ["--nonsense"]],
    )  # fmt: skip
    def test_a_command_that_is_none(self, arguments: list[str], lab: Lab) -> None:
        answer = lab(*arguments)
        assert (answer.code, answer.out) == (2, "")
        assert "Error: " in answer.err and "Traceback" not in answer.err


class TestRun:
    def test_results_go_to_standard_output_and_news_do_not(
        self, lab: Lab, record: Record, spec_file: Path
    ) -> None:
        answer = lab("run", spec_file)
        assert answer.code == 0
        run_id = record.find("tiny_t0").run_id[:8]
        assert answer.out.splitlines()[0] == "tiny_t0: 2 of 2 sessions done"
        assert re.search(
            r"^  total_reward_ma   \S+ \(95 % interval \S+ to \S+\)", answer.out, re.MULTILINE
        )
        for command in ("enjoy", "show"):
            assert f"slm-lightning {command} {run_id}" in answer.out
        assert f"tiny_t0: run {run_id} in {record.root}\n" in answer.err
        assert re.search(
            r"^tiny_t0_s1  1,984/1,984 frames  total_reward_ma \S+$", answer.err, re.MULTILINE
        )

    def test_json(self, lab: Lab, record: Record, spec_file: Path) -> None:
        answer = lab("run", spec_file, "--json")
        result = json.loads(answer.out, parse_constant=pytest.fail)
        assert (result["name"], result["status"]) == ("tiny_t0", "done")
        assert record.get(result["run_id"]).metrics["score"] == result["metrics"]["score"]
        assert [record.get(s["run_id"]).name for s in result["sessions"]] == [
            "tiny_t0_s0",
            "tiny_t0_s1",
        ]

    def test_options_change_the_spec(self, lab: Lab, record: Record, tmp_path: Path) -> None:
        spec = tiny(algorithm={"gamma": "${gamma}"}) | {"other": TINY | {"env": {"name": "no"}}}
        answer = lab(
            *("run", write_spec(tmp_path / "spec.json", spec), "tiny", "-s", "gamma=0.9"),
            *("--set", "env.max_frame=640", "--set", "agent.net.hid_layers=[4,4]"),
            *("--set", "agent.net.hid_layers_activation=tanh"),
            *("--seed", 11, "--sessions", 1, "--device", "cpu"),
        )
        assert answer.code == 0, answer.err
        trial = record.find("tiny_t0")
        expected = {
            "agent.algorithm.gamma": "0.9",
            "env.max_frame": "640",
            "agent.net.hid_layers": "[4, 4]",
            "agent.net.hid_layers_activation": "tanh",
            "meta.seed": "11",
            "meta.max_session": "1",
        }
        assert expected.items() <= trial.params.items()
        (session,) = record.children(trial.run_id)
        assert record.history(session.run_id)["frame"].max() == 640

    def test_dev_is_one_short_session(self, lab: Lab, record: Record, spec_file: Path) -> None:
        answer = lab("run", spec_file, "--mode", "dev")
        assert answer.code == 0 and "1 of 1 sessions done" in answer.out
        trial = record.find("tiny_t0")
        assert trial.tags["slm.mode"] == "dev"
        (session,) = record.children(trial.run_id)
        assert record.history(session.run_id)["frame"].tolist() == list(range(64, 641, 64))

    def test_a_yaml_spec(self, lab: Lab, record: Record, tmp_path: Path) -> None:
        path = tmp_path / "spec.yaml"
        path.write_text(f"_base: {{lr: 3e-3}}\ntiny: {json.dumps(TINY)}\n")
        assert lab("run", path, "--sessions", 1, "--set", "env.max_frame=640").code == 0
        assert record.find("tiny_t0").status == "FINISHED"


class TestLooking:
    def test_list(self, lab: Lab, finished: Result, finished_record: Record) -> None:
        answer = lab("list")
        head, row = answer.out.splitlines()
        assert head.split() == ["run", "kind", "name", "status", "score", "eval", "environment", "age"]
        score, evaluated = (f"{finished.scalars[name]:.4g}" for name in ("score", "eval_score"))
        assert row.split()[:7] == [
            finished.run_id[:8],
            "trial",
            "tiny_t0",
            "done",
            score,
            evaluated,
            "CartPole-v1",
        ]
        names = {
            "all": ["tiny_t0", "tiny_t0_s0", "tiny_t0_s1"],
            "session": ["tiny_t0_s0", "tiny_t0_s1"],
        }
        for kind, expected in names.items():
            lines = lab("list", "--kind", kind).out.splitlines()[1:]
            assert sorted(line.split()[2] for line in lines) == expected
        assert len(lab("list", "--kind", "all", "--limit", 2).out.splitlines()) == 3

    def test_list_as_json(self, lab: Lab, finished: Result, finished_record: Record) -> None:
        (run,) = json.loads(lab("list", "--json").out)
        assert (run["run_id"], run["kind"], run["status"]) == (finished.run_id, "trial", "done")
        assert run["score"] == finished.scalars["score"]

    def test_an_empty_list(self, lab: Lab, tmp_path: Path) -> None:
        answer = lab("list")
        assert answer.code == 0
        assert answer.out.startswith("nothing recorded yet; start with: slm-lightning run ")
        assert json.loads(lab("list", "--json").out) == []
        assert list(tmp_path.iterdir()) == []

    def test_a_run_that_goes_on_is_running(self, lab: Lab, record: Record) -> None:
        run_id = record.create_run(experiment="tiny", name="tiny_t0", kind="trial")
        record.set_tags(run_id, {"slm.status": "stopped"})  # of the time before it was resumed
        assert lab("list").out.splitlines()[1].split()[3:6] == ["running", "n/a", "n/a"]
        assert lab("show", "tiny_t0").out.startswith(f"tiny_t0  trial  running  {run_id}\n")

    def test_show(self, lab: Lab, finished: Result, finished_record: Record) -> None:
        lines = lab("show", finished.run_id[:8]).out.splitlines()
        assert lines[0] == f"tiny_t0  trial  done  {finished.run_id}"
        assert re.match(r"commit (\w{12}|none)( \+ uncommitted changes)?  seed 3  started 20", lines[1])
        assert lines[2].startswith(
            "updates compiled: no, because a session makes about 31 updates, and "
        )
        assert f"score {finished.scalars['score']:.4g}" in [" ".join(line.split()) for line in lines]
        for i, session in enumerate(finished.sessions):
            score = f"{session.scalars['score']:.4g}"
            assert f"{session.run_id[:8]}  tiny_t0_s{i}  done  score {score}" in lines
        assert lines[-3].startswith("artifacts: graphs/trial.html, ")
        assert lines[-2] == f"in MLflow  slm-lightning ui {finished.run_id[:8]}"
        spec = finished_record.download(finished.run_id, "spec.json")
        assert lines[-1] == f"repeat     slm-lightning run {spec}"

    def test_show_as_json(self, lab: Lab, finished: Result, finished_record: Record) -> None:
        data = json.loads(lab("show", "tiny_t0", "--json").out, parse_constant=pytest.fail)
        assert data["metrics"]["score"] == finished.scalars["score"]
        assert data["tags"]["slm.kind"] == "trial"
        assert [s["run_id"] for s in data["children"]] == [s.run_id for s in finished.sessions]
        assert "spec.json" in data["artifacts"]
        session = json.loads(lab("show", "tiny_t0_s1", "--json").out)
        assert (session["kind"], session["children"]) == ("session", [])


class TestValidate:
    def test_a_file_a_folder_and_all(
        self, lab: Lab, spec_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answer = lab("validate", spec_file)
        assert (answer.code, answer.err) == (0, "")
        assert answer.out == f"{spec_file}:tiny: runs\n1 spec: 1 run\n"
        count = len(list((SPECS / "sac").iterdir()))
        assert f"{count} specs: {count} run\n" in lab("validate", SPECS / "sac").out
        monkeypatch.chdir(REPOSITORY)
        count = len(list(SPECS.rglob("*.json")))
        assert lab("validate").out.splitlines()[-1].startswith(f"{count} specs: ")
        monkeypatch.chdir(spec_file.parent)
        nothing = lab("validate")
        assert nothing.code == 2 and nothing.err + nothing.out != ""

    def test_what_cannot_run(self, lab: Lab, tmp_path: Path) -> None:
        write_spec(tmp_path / "a.json", tiny("good") | tiny("bad", net={"init_fn": "xavier"}))
        write_spec(tmp_path / "b.json", tiny("elsewhere", env={"name": "CartPool-v1"}))
        (tmp_path / "c.json").write_text('{"torn": ')
        (tmp_path / "notes.txt").write_text("not a spec")
        answer = lab("validate", tmp_path)
        assert (answer.code, answer.err) == (2, "")
        lines = answer.out.splitlines()
        assert lines[0] == f"{tmp_path}/a.json:good: runs"
        assert lines[1] == f"{tmp_path}/a.json:bad: cannot run"
        assert lines[2].startswith("    agent.net.init_fn: unknown initialiser")
        assert f"{tmp_path}/b.json:elsewhere: cannot run" in lines
        assert '    environment "CartPool-v1" is not registered' in lines
        assert f"{tmp_path}/c.json: cannot run" in lines
        assert lines[-1] == "4 specs: 1 run, 3 cannot run"

    def test_an_environment_of_the_working_directory(
        self, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = "from gymnasium.envs.classic_control import CartPoleEnv as Mine\n"
        (tmp_path / "my_own_env.py").write_text(source)
        env = {"name": "Mine-v0", "entry_point": "my_own_env:Mine"}
        path = write_spec(tmp_path / "spec.json", tiny(env=env))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
        assert lab("validate", path).out.endswith("1 spec: 1 run\n")

    def test_what_exists_no_more_is_not_faulty(self, lab: Lab, tmp_path: Path) -> None:
        path = write_spec(tmp_path / "spec.json", tiny(env={"name": "HopperBulletEnv-v0"}))
        answer = lab("validate", path, "--json")
        (finding,) = json.loads(answer.out)
        assert answer.code == 3 and finding["gone"] and finding["verdict"] == "cannot run"
        assert finding["spec"] == f"{path}:tiny" and finding["lines"][0].startswith("env.name: Hopper")

    def test_what_is_not_installed(self, lab: Lab, spec_file: Path, monkeypatch) -> None:
        from slm_lightning.lab import validation

        def look_at(env):
            raise MissingError("it needs a package", 'pip install "slm-lightning[some]"')

        monkeypatch.setattr(validation, "look_at", look_at)
        answer = lab("validate", spec_file)
        assert answer.code == 3 and f"{spec_file}:tiny: runs once installed\n" in answer.out
        assert 'pip install "slm-lightning[some]"' in answer.out
        assert answer.out.endswith("1 spec: 1 run once installed\n")

    def test_variables(self, lab: Lab, tmp_path: Path) -> None:
        path = write_spec(tmp_path / "spec.json", tiny(env={"name": "${env}"}, meta={"x_y": "${z}"}))
        missing = lab("validate", path)
        assert missing.code == 2 and "add -s z=VALUE" in missing.out
        path = write_spec(tmp_path / "spec.json", tiny(env={"name": "${env}"}))
        answer = lab("validate", path)
        assert (answer.code, answer.out.splitlines()[0]) == (
            0,
            f"{path}:tiny: runs, as with -s env=CartPole-v1",
        )
        answer = lab("validate", path, "-s", "env=Acrobot-v1")
        assert (answer.code, answer.out.splitlines()[0]) == (0, f"{path}:tiny: runs")

    def test_nothing_is_created(self, lab: Lab, spec_file: Path) -> None:
        lab("validate", spec_file)
        assert [path.name for path in spec_file.parent.iterdir()] == ["spec.json"]


def test_the_schema_is_one(lab: Lab) -> None:
    answer = lab("schema")
    assert (answer.code, answer.err) == (0, "")
    schema = json.loads(answer.out)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert {"PPO", "ActorCritic", "Reinforce"} <= schema["$defs"].keys()
