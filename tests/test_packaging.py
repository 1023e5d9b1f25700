"""What is shipped: the package and its extras, the image, the scripts and the pinned versions."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from slm_lightning.lab.baselines import SHIPPED
from tests.support import REPOSITORY, Lab, tiny, write_spec

PROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
SCRIPTS = ("scripts/demo", "scripts/test", "scripts/setup", ".ci/run")
MISSING = {
    "ALE/Pong-v5": ("ale_py", "atari"),
    "HalfCheetah-v5": ("mujoco", "mujoco"),
    "playground/CartpoleBalance": ("jax", "playground"),
}
"""Environments, the module that each needs, and the extra that brings it."""


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as pairs of instruction and arguments, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (REPOSITORY / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in lines if line.strip()]


def test_extras_that_the_documents_name() -> None:
    environments = {"atari", "mujoco", "envpool", "playground"}
    assert EXTRAS.keys() == environments | {"ray", "postgres", "dev"}
    for extra, requirements in EXTRAS.items():
        assert requirements and all(map(Requirement, requirements)), extra


@pytest.mark.parametrize("name", MISSING)
def test_an_environment_without_its_extra_says_what_to_install(
    name: str, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, extra = MISSING[name]
    monkeypatch.setitem(sys.modules, module, None)
    spec = write_spec(tmp_path / "spec.json", tiny(env={"name": name}))
    answer = lab("run", spec)
    assert answer.code == 3
    assert name in answer.err
    assert f'pip install "slm-lightning[{extra}]"' in answer.err
    assert "Traceback" not in answer.err
    assert extra in EXTRAS


def test_the_image_has_all_that_the_package_needs(tmp_path: Path) -> None:
    lab = tmp_path / "lab"
    lab.mkdir()
    for _, arguments in (pair for pair in instructions() if pair[0] == "COPY"):
        *sources, target = shlex.split(arguments)
        for source in sources:
            here, there = REPOSITORY / source, lab / target
            if here.is_dir():
                shutil.copytree(here, there, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(here, there)
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip += ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(site), "."]
    subprocess.run(pip, cwd=lab, check=True, timeout=120)

    package = site / "slm_lightning"
    modules = {path.relative_to(REPOSITORY) for path in (REPOSITORY / "slm_lightning").rglob("*.py")}
    assert modules == {path.relative_to(site) for path in package.rglob("*.py")}
    assert (package / "py.typed").is_file() and (package / "lab/report/known_scores.csv").is_file()
    shipped = package / SHIPPED.relative_to(REPOSITORY / "slm_lightning")
    assert json.loads(shipped.read_text()) == json.loads(SHIPPED.read_text())
    assert {path.name for path in (lab / "specs").iterdir()} >= {"ppo", "a2c", "reinforce"}

    code = "import slm_lightning.cli as cli; print(cli.__file__, flush=True); cli.main()"
    answer = subprocess.run(
        [sys.executable, "-c", code, "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith(str(package))
    assert "Usage:" in answer.stdout and " run " in answer.stdout


def test_the_image_runs_as_a_user_and_with_pinned_versions() -> None:
    found = instructions()
    users = [arguments for instruction, arguments in found if instruction == "USER"]
    made = [arguments.split()[-1] for kind, arguments in found if arguments.startswith("useradd")]
    assert users and users[-1] in made and users[-1] not in ("root", "0")
    installs = [arguments for kind, arguments in found if kind == "RUN" and "pip install" in arguments]
    assert installs and all("--constraint constraints.txt" in arguments for arguments in installs)
    entry = next(json.loads(arguments) for kind, arguments in found if kind == "ENTRYPOINT")
    assert entry[0] in PROJECT["scripts"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_can_be_run(script: str) -> None:
    path = REPOSITORY / script
    assert os.access(path, os.X_OK)
    assert path.read_text().startswith("#!/usr/bin/env bash\n")
    check = subprocess.run(["bash", "-n", path], capture_output=True, text=True)
    assert check.returncode == 0, check.stderr


def test_every_direct_dependency_is_pinned_within_its_range() -> None:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    pins = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    assert len(pins) == len(lines)
    for text in PROJECT["dependencies"] + EXTRAS["dev"] + EXTRAS["atari"] + EXTRAS["mujoco"]:
        requirement = Requirement(text)
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin, f"{requirement.name} is not pinned"
        assert requirement.specifier.contains(pin), f"{text} does not allow {pin}"
