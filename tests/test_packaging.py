"""What is shipped: the package with its extras, the image, the scripts."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from slm_lightning import __version__
from slm_lightning.errors import MissingError
from slm_lightning.lab.preflight import check
from tests.conftest import make_spec
from tests.support import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
SCRIPTS = ["scripts/setup", "scripts/demo", "scripts/test", "scripts/random_baselines", ".ci/run"]


def test_the_project() -> None:
    assert PROJECT["version"] == __version__
    assert PROJECT["scripts"] == {"slm-lightning": "slm_lightning.cli:main"}
    extras = PROJECT["optional-dependencies"]
    assert extras.keys() == {"atari", "mujoco", "envpool", "ray", "postgres", "docs", "dev"}
    assert (REPOSITORY / PROJECT["readme"]).is_file()
    assert "MIT License" in (REPOSITORY / "LICENSE").read_text()
    assert f"## {__version__}" in (REPOSITORY / "CHANGELOG.md").read_text() or (
        "## [Unreleased]" in (REPOSITORY / "CHANGELOG.md").read_text()
    )


def test_every_dependency_is_pinned() -> None:
    """``constraints.txt`` has a tested version of all that an installation brings."""
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pinned = {_normal(line.split("==")[0]) for line in lines if "==" in line}
    needed = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    names = {_normal(re.split(r"[\[<>=~! ]", need)[0]) for need in needed}
    assert names <= pinned


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize(
    ("env", "module", "extra"),
    [("ALE/Pong-v5", "ale_py", "atari"), ("HalfCheetah-v5", "mujoco", "mujoco")],
)
def test_a_missing_extra_says_what_to_install(env: str, module: str, extra: str) -> None:
    if importlib.util.find_spec(module):
        pytest.skip(f"{module} is installed here")
    with pytest.raises(MissingError, match=env) as caught:
        check(make_spec("PPO", env))
    assert caught.value.hint == f'pip install "slm-lightning[{extra}]"'
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script(script: str) -> None:
    path = REPOSITORY / script
    assert os.access(path, os.X_OK)
    first = path.read_text().splitlines()[0]
    if "bash" in first:
        subprocess.run(["bash", "-n", path], check=True)
        assert "set -euo pipefail" in path.read_text()
    else:
        compile(path.read_text(), script, "exec")


def test_the_image_has_all_that_the_lab_needs(tmp_path: Path) -> None:
    """What the Dockerfile copies, and nothing else, installs into a working command."""
    source, target = tmp_path / "lab", tmp_path / "installed"
    for given, place in re.findall(r"^COPY (.+) (\S+)$", DOCKERFILE, flags=re.MULTILINE):
        for name in given.split():
            if (REPOSITORY / name).is_dir():
                shutil.copytree(
                    REPOSITORY / name, source / place, ignore=shutil.ignore_patterns("__pycache__")
                )
            else:
                (source / place).mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPOSITORY / name, source / place)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install"]
    subprocess.run([*pip, *options, "."], cwd=source, check=True)
    packaged = {path.name for path in (target / "slm_lightning" / "lab").iterdir()}
    assert "random_baselines.json" in packaged
    assert not (target / "tests").exists()

    def lab(*arguments: str) -> str:
        command = [target / "bin" / "slm-lightning", *arguments]
        env = {**os.environ, "PYTHONPATH": str(target)}
        return subprocess.run(
            command, cwd=source, env=env, text=True, capture_output=True, check=True
        ).stdout

    assert "Commands:" in lab("--help")
    where = "import slm_lightning; print(slm_lightning.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", where],
        cwd=source.parent,
        env={**os.environ, "PYTHONPATH": str(target)},
        text=True,
        capture_output=True,
        check=True,
    ).stdout
    assert found.strip() == str(target / "slm_lightning" / "__init__.py")
    assert json.loads(lab("schema"))["title"]
    assert "0 cannot" in lab("validate", "specs/reinforce")


def test_the_image_runs_without_privileges() -> None:
    steps = [line.split() for line in DOCKERFILE.splitlines() if line[:1].isupper()]
    instructions = [step[0] for step in steps]
    assert instructions.index("USER") < instructions.index("ENTRYPOINT")
    assert ["USER", "lab"] in steps
    assert 'ENTRYPOINT ["slm-lightning"]' in DOCKERFILE
    assert "--constraint constraints.txt" in DOCKERFILE


def test_the_record_is_kept_out_of_git() -> None:
    """But for its README."""
    if not (REPOSITORY / ".git").exists():
        pytest.skip("this is no clone")
    ask = ["git", "check-ignore", "--quiet"]
    ignored = [
        subprocess.run([*ask, path], cwd=REPOSITORY, check=False).returncode == 0
        for path in ("mlruns/mlflow.db", "mlruns/artifacts/x", "mlruns/README.md")
    ]
    assert ignored == [True, True, False]
