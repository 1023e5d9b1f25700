"""Many labs in one moment, with one record."""

from __future__ import annotations

import multiprocessing
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from slm_lightning.lab.trial import Trial
from slm_lightning.registry import REGISTRY
from slm_lightning.spec.load import load_spec
from slm_lightning.spec.resolve import resolve
from slm_lightning.tracking import Record
from tests.support import PATIENCE, tiny

LABS = 50


def begin(root: Path, barrier: Barrier) -> None:
    raw = load_spec(tiny(meta={"max_session": 1}))
    spec = resolve(raw, REGISTRY)
    barrier.wait(PATIENCE)
    Trial.create(raw, spec, Record(root))


@pytest.mark.slow
def test_fifty_trials_begun_at_once_are_fifty(record: Record) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(LABS)
    labs = [context.Process(target=begin, args=(record.root, barrier)) for _ in range(LABS)]
    for lab in labs:
        lab.start()
    for lab in labs:
        lab.join()
    assert [lab.exitcode for lab in labs] == [0] * LABS
    runs = record.runs(limit=None)
    assert len({run.run_id for run in runs}) == 2 * LABS
    trials = [run for run in runs if run.kind == "trial"]
    assert all(len(record.children(trial.run_id)) == 1 for trial in trials)
    assert all(Trial.is_whole(trial, record) for trial in trials)
