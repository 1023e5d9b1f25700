"""What is imported before sessions begin."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support import PATIENCE, REPOSITORY


def test_that_fonts_cannot_be_kept_is_no_news(tmp_path):
    """Matplotlib comes with Lightning, and says so of a cache folder that it cannot make."""
    file = tmp_path / "file"
    file.touch()
    places = {"XDG_CACHE_HOME": str(file), "XDG_CONFIG_HOME": str(file)}
    environment = {**os.environ, **places, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(tmp_path)}
    environment.pop("MPLCONFIGDIR", None)
    code = "import slm_lightning.lab.running.fork_server, sys; print('matplotlib' in sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (ended.stdout, ended.stderr) == ("True\n", "")
