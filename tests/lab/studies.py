"""What a process of a test does with a storage. Imports little, because each process does so anew."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Barrier

import optuna

from slm_lightning.lab.search.storage import open_storage

start: Barrier


def prepare(barrier: Barrier) -> None:
    """Once in each process; ``work`` waits at the barrier for the others."""
    global start
    start = barrier
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def work(url: str | None, root: Path) -> list[int]:
    """Opens the storage and runs a trial of a study of our own and two of a study of all processes;
    their numbers."""
    start.wait(timeout=60)
    storage = open_storage(url, root)
    own = optuna.create_study(storage=storage, study_name=f"own {os.getpid()}")
    shared = optuna.create_study(storage=storage, study_name="shared", load_if_exists=True)
    numbers = []
    for study in (own, shared, shared):
        trial = study.ask()
        study.tell(trial, trial.suggest_float("x", 0, 1))
        numbers.append(trial.number)
    return numbers
