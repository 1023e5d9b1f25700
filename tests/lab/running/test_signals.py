"""Signals while the lab starts."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from slm_lightning.lab.running.signals import Preempted, preemptible

MODULE = """
import os, signal
try:
    os.kill(os.getpid(), signal.{name})
    begun = True
except BaseException:
    pass
whole = True
"""


@pytest.mark.parametrize(("name", "kind"), [("SIGTERM", Preempted), ("SIGINT", KeyboardInterrupt)])
def test_an_import_is_not_broken_off_and_swallows_no_signal(
    name: str, kind: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"signals_itself_{name.lower()}"
    (tmp_path / f"{module}.py").write_text(MODULE.format(name=name))
    monkeypatch.syspath_prepend(tmp_path)
    before = [signal.getsignal(number) for number in (signal.Signals[name], signal.SIGALRM)]
    with pytest.raises(kind, match=name) as raised, preemptible():
        __import__(module)
        signal.pause()
    assert raised.type is kind
    assert sys.modules[module].begun and sys.modules[module].whole
    assert before == [signal.getsignal(number) for number in (signal.Signals[name], signal.SIGALRM)]
