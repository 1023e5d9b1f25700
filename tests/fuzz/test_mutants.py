"""Specs in SLM Lab's form, changed at random: each is refused in sentences, or it runs."""

from __future__ import annotations

import os
import time

import pytest

from slm_lightning.api import prepare
from slm_lightning.api.planning import Plan
from slm_lightning.errors import LabError, MissingError, SpecError
from slm_lightning.lab.preflight import shortened
from slm_lightning.spec.model import Spec
from tests.fuzz.mutants import CHANGES, mutant
from tests.fuzz.test_broken import JARGON, LONGEST
from tests.fuzz.test_valid import learn_once

EACH = 100
COMMIT = range(0, 100, EACH)
SLOW = range(100, 10_000, EACH)
SECONDS = 2.0
"""Processor time that an answer may take."""


@pytest.mark.parametrize(
    "first", [*COMMIT, *(pytest.param(first, marks=pytest.mark.slow) for first in SLOW)]
)
def test_a_mutant_is_told_or_runs(first, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(first, first + EACH):
        changes, name, text = mutant(number)
        file = tmp_path / name
        file.write_text(text, encoding="utf-8")
        before = time.process_time()
        try:
            answer = prepared(file, "search" if "search" in changes else "train")
            assert time.process_time() - before < SECONDS
            assert os.listdir(tmp_path) == [name]
            if isinstance(answer, Plan) and is_cheap(answer.spec):
                learn_once(answer.spec)
        except Exception as error:
            pytest.fail(f"file {number}, {changes}: {error!r}\n{text[:2000]}")
        file.unlink()


def prepared(file, mode) -> Plan | None:
    """The plan of a file, or nothing where it is refused; what is said of it is fit to be read."""
    plan = None
    try:
        plan = prepare(file, mode=mode)
    except LabError as error:
        assert type(error) in (SpecError, MissingError)
        said = str(error).splitlines()
    else:
        said = plan.notes
        assert not any("\n" in note for note in said)
    assert all(line.strip() for line in said) and (said or plan)
    assert sum(map(len, said)) < LONGEST
    assert not any(word in line for line in said for word in JARGON)
    return plan


def is_cheap(spec: Spec) -> bool:
    """Whether a round takes moments, and comes to finite numbers."""
    agent = spec.agent
    if spec.env.library in ("atari", "mujoco") or agent.memory.whole_episodes or spec.search:
        return False
    nets = [net for net in (agent.net, agent.critic_net) if net]
    parts = [net.part(name) for net in nets for name in ("actor", "critic")]
    if any(part.optim_spec.lr > 1 for part in parts):  # which diverges, as it must
        return False
    if agent.algorithm.steps_on(1, spec.env.num_envs) > 100:
        return False
    return shortened(spec, 1).env.max_frame <= 2000 and getattr(agent.memory, "batch_size", 0) <= 256


def test_every_change_is_among_them():
    assert {change for number in range(300) for change in mutant(number).changes} >= set(CHANGES)
