"""``slm-lightning`` in process after process, forked from one that has imported everything: so a
command starts at once, and hundreds of them can be killed.

The sessions come from a fork server that all these processes share. Apart from that, and from pictures,
which are not drawn, each is the command as a user runs it.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing import forkserver
from pathlib import Path

import psutil

from tests.support import REPOSITORY

IMPORTED = Path("imported.txt")
"""What a command has imported that came to its end."""


class Zygote:
    """Runs commands in ``folder``, one at a time, with the record there."""

    def __init__(self, folder: Path):
        self.folder, self.process = folder, _started(folder)
        self.pid = self.server = 0
        self.running = False

    def start(self, *arguments: object) -> None:
        """Starts a command; what it prints goes to ``out.txt`` in the folder. One that a failed test
        has left running is killed first."""
        assert self.process.stdin
        if self.running:
            self.kill()
        words = [str(argument) for argument in arguments]
        print(json.dumps(words), file=self.process.stdin, flush=True)
        self.pid, self.server = map(int, self._read().split())
        self.running = True

    def wait(self) -> int:
        """The exit code of the command, -9 where it was killed."""
        code = int(self._read())
        self.running = False
        return code

    def call(self, *arguments: object) -> str:
        """What a command prints that succeeds."""
        self.start(*arguments)
        code, out = self.wait(), (self.folder / "out.txt").read_text()
        assert code == 0, out
        return out

    def lot(self) -> list[psutil.Process]:
        """The command with all that it has started."""
        try:
            command, server = psutil.Process(self.pid), psutil.Process(self.server)
            return [command, *command.children(recursive=True), *server.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def kill(self) -> int:
        """Ends the whole lot at once; returns the exit code of the command."""
        for process in (lot := self.lot()):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        code = self.wait()
        _, alive = psutil.wait_procs(lot, timeout=5)
        assert not alive
        return code

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()

    def _read(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline()


def _started(folder: Path) -> subprocess.Popen[str]:
    mine = {key: v for key, v in os.environ.items() if not key.startswith(("MLFLOW_", "SLM_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.lab.kills.zygote"],
        cwd=folder,
        env={**mine, "PYTHONPATH": str(REPOSITORY), "SLM_MLRUNS": str(folder / "mlruns")},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def serve() -> None:
    """The process that forks: takes commands as lines of JSON, tells their process and their end."""
    import slm_lightning.lab.search.experiment_result
    import slm_lightning.lab.trial
    from slm_lightning.envs import make_single
    from slm_lightning.lab import graphs
    from slm_lightning.lab.running import local_engine

    assert slm_lightning and make_single
    graphs.write_png = lambda figs: False
    local_engine._PRELOADED = "tests.lab.kills.often"
    local_engine.warm_up()
    server = forkserver._forkserver
    ensure_running = server.ensure_running
    for place in (server, forkserver):  # it is no child of the commands, who would start another
        place.ensure_running = lambda: None
    for line in sys.stdin:
        ensure_running()  # it ends where a command is killed in the midst of what it asks of it
        pid = os.fork()
        if pid == 0:
            _become(json.loads(line))
        print(pid, server._forkserver_pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
        if IMPORTED.exists():
            _import_all(IMPORTED.read_text().split())
            IMPORTED.unlink()


def _become(arguments: list[str]) -> None:
    known = set(sys.modules)
    from slm_lightning.cli import main

    os.setsid()
    with Path("out.txt").open("w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    sys.argv = ["slm-lightning", *arguments]
    code = 1
    try:
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        if names := set(sys.modules) - known:
            IMPORTED.write_text("\n".join(names))
        os._exit(code)


def _import_all(names: Iterable[str]) -> None:
    """Imports what a command has imported, so that the next one need not."""
    for name in names:
        with suppress(ImportError):
            importlib.import_module(name)


if __name__ == "__main__":
    serve()
