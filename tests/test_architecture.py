"""The shape of the house: which way its imports point, and how large its files are."""

from __future__ import annotations

import ast
import fnmatch
import re
import sys
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "slm_lightning"
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
MAX_LINES = 350

LAYERS = [
    {"core", "errors", "files", "processes"},
    {"redact", "foreign"},
    {"limits", "spec", "provenance"},
    {"rl"},
    {"nets"},
    {"algorithms"},
    {"envs", "data"},
    {"registry"},
    {"updates"},
    {"session"},
    {"callbacks"},
    {"tracking", "hub"},
    {"lab"},
    {"api"},
    {"__init__"},
    {"output"},
    {"cli"},
    {"__main__"},
]
"""A part may import itself and what stands in a line above its own."""

ONLY_FROM = {
    "envs": {"core", "errors", "processes", "spec"},
    "tracking": {"core", "errors", "files", "redact", "spec"},
    "hub": {"errors", "foreign", "redact"},
}
"""Parts that may import even less than the layers above them."""

HEAVY = {"lightning", "gymnasium", "mlflow", "optuna", "ray", "pandas", "plotly", "scipy"}
PURE = {"rl", "nets", "algorithms"}
"""Parts that need PyTorch and nothing heavier."""

HOMES = {
    "mlflow": ["tracking.py", "tracking/*"],
    "optuna": ["lab/search/study.py", "lab/search/storage.py", "lab/report/importance.py"],
    "huggingface_hub": ["hub/*"],
    "ray": ["lab/running/ray_engine.py"],
    "safetensors": ["lab/bundle.py"],
    "gymnasium": ["envs/*", "lab/baselines.py"],
    "click": ["cli/*"],
}
"""Libraries that only some files may know."""

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIREMENTS = [*PROJECT["dependencies"], *chain(*PROJECT["optional-dependencies"].values())]
DEPENDENCIES = {re.split(r"[^\w-]", text)[0].replace("-", "_") for text in REQUIREMENTS} | {"yaml"}


def imports(file: str) -> Iterator[tuple[str, ...]]:
    """Every imported module of ``file`` as the parts of its name, inside functions too."""
    for node in ast.walk(ast.parse((PACKAGE / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            yield from (tuple(f"{node.module}.{alias.name}".split(".")) for alias in node.names)


def part_of(file: str) -> str:
    """The package or top-level module that ``file`` belongs to."""
    return file.split("/")[0].removesuffix(".py")


def rank(part: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if part in layer)


@pytest.mark.parametrize("file", FILES)
def test_arrows_point_one_way(file):
    part = part_of(file)
    assert any(part in layer for layer in LAYERS), f"{part} has no place in LAYERS yet"
    for library, *names in imports(file):
        if library != "slm_lightning":
            continue
        known = any(names[0] in layer for layer in LAYERS)
        target = names[0] if known else "__init__"
        if target == part:
            continue
        assert rank(target) < rank(part), f"{file} imports {target}"
        allowed = ONLY_FROM.get(part)
        assert allowed is None or target in allowed, f"{file} imports {target}"


@pytest.mark.parametrize("file", FILES)
def test_libraries_stay_in_their_homes(file):
    libraries = {name[0] for name in imports(file)}
    if part_of(file) in PURE:
        assert not libraries & HEAVY
    for library in libraries & HOMES.keys():
        assert any(fnmatch.fnmatch(file, home) for home in HOMES[library]), f"{file} imports {library}"


@pytest.mark.parametrize(
    "path",
    sorted([*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]),
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_a_file_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("file", FILES)
def test_no_file_shadows_a_module_that_others_import(file):
    name = Path(file).stem
    assert name.startswith("__") or name not in sys.stdlib_module_names | DEPENDENCIES


def test_the_rules_see_what_they_forbid(tmp_path, monkeypatch):
    """The checks above, on a file that breaks each of them."""
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    (tmp_path / "rl").mkdir()
    (tmp_path / "envs").mkdir()
    broken = {
        "rl/upwards.py": "from slm_lightning.nets import net",
        "rl/whole.py": "from slm_lightning import session",
        "rl/lazy.py": "def f():\n    import slm_lightning.lab.trial",
        "envs/sideways.py": "from slm_lightning.rl import returns",
        "elsewhere.py": "",
    }
    for file, text in broken.items():
        (tmp_path / file).write_text(text)
        with pytest.raises(AssertionError):
            test_arrows_point_one_way(file)
    for file, text in {"rl/gym.py": "import gymnasium", "core.py": "import mlflow.entities"}.items():
        (tmp_path / file).write_text(text)
        with pytest.raises(AssertionError):
            test_libraries_stay_in_their_homes(file)
