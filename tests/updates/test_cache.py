"""Where compiled graphs are kept, and what becomes of damaged ones."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from torch._inductor.runtime.cache_dir_utils import cache_dir, default_cache_dir

from slm_lightning.errors import MissingError
from slm_lightning.provenance import processor_digest
from slm_lightning.updates import compiles, regrets
from slm_lightning.updates.cache import CACHE, discard_torn
from slm_lightning.updates.compiling import prepare
from tests.conftest import make_spec
from tests.support import PATIENCE, REPOSITORY, can_mount, needs_compiler


@pytest.mark.parametrize("chosen", [None, "default", "other"])
def test_graphs_lie_in_a_folder_of_the_users_own(chosen, tmp_path, monkeypatch):
    """Not in PyTorch's default, which it names in the environment when Dynamo is imported: what lies
    there is executed, and another user may have put it there."""
    folders = {None: None, "default": default_cache_dir(), "other": str(tmp_path / "other")}
    monkeypatch.setenv(CACHE, folders[chosen] or "")
    if chosen is None:
        monkeypatch.delenv(CACHE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    prepare.__wrapped__()
    own = f"{tmp_path}/slm-lightning/graphs/{processor_digest()}"
    assert cache_dir() == (folders[chosen] if chosen == "other" else own)


@pytest.fixture
def closed(tmp_path, monkeypatch) -> Path:
    """A cache folder that cannot be: a file is in its place."""
    needs_compiler()
    file = tmp_path / "file"
    file.touch()
    monkeypatch.delenv(CACHE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))
    return file


def test_without_a_folder_for_graphs_auto_trains_plain_and_says_so(closed):
    spec = make_spec("PPO", {"name": "CartPole-v1", "max_frame": 100_000})
    assert not compiles(spec)
    (note,) = regrets(spec)
    assert str(closed) in note and "XDG_CACHE_HOME" in note


def test_without_a_folder_for_graphs_what_asks_for_them_is_refused(closed):
    with pytest.raises(MissingError, match="folder for graphs that can be written") as caught:
        compiles(make_spec("PPO", meta={"compile": True}))
    assert "XDG_CACHE_HOME" in caught.value.hint


@pytest.mark.skipif(not can_mount(), reason="needs root and unshare: run as root on Linux")
def test_a_real_disk_that_is_full_is_a_matter_of_storage(tmp_path):
    needs_compiler()
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    environment.pop(CACHE, None)
    command = ["unshare", "-m", sys.executable, "-m", "tests.updates.full_disk", tmp_path]
    ended = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert f"there is no room in {tmp_path}/small/slm-lightning/graphs" in ended.stdout, ended.stderr


@pytest.fixture
def library(tmp_path) -> Path:
    needs_compiler()
    path = tmp_path / "xy" / "cxyz.main.so"
    path.parent.mkdir()
    code = 'extern "C" int trial() { return 1; }'
    compiler = ["g++", "-shared", "-fPIC", "-x", "c++", "-", "-o", str(path)]
    subprocess.run(compiler, input=code, text=True, check=True)
    return path


def test_what_is_torn_is_made_again(library, tmp_path):
    """PyTorch takes a file that is there for a good one, and dies of a library that ends early."""
    whole, source = library.read_bytes(), library.with_name("cabc.py")
    source.touch()
    kept = shutil.copy(library, library.with_name("cold.main.so"))
    for size in (0, 10, 64, len(whole) - 1):
        library.write_bytes(whole[:size])
        discard_torn(tmp_path)
        assert not library.exists(), size
    assert not source.exists() and kept.exists()


def test_a_library_that_is_being_made_is_left_alone(library, tmp_path):
    library.write_bytes(library.read_bytes()[:100])
    (tmp_path / "locks").mkdir()
    with FileLock(tmp_path / "locks" / "cxyz.lock"):
        discard_torn(tmp_path)
    assert library.exists()
