"""Every algorithm still computes what it computed: a short training from a frozen seed, to the number.

After a change that is meant to alter them, ``python -m tests.contracts.test_golden`` writes them anew.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from slm_lightning.algorithms import algorithms
from slm_lightning.core import Keys
from tests.conftest import make_spec, train

FILE = Path(__file__).with_name("golden.json")
NAMES = sorted(algorithms())


def fingerprint(name: str) -> dict[str, float]:
    """The metrics of the last round, the size of the weights and the returns after 256 frames."""
    env = "CartPole-v1" if "discrete" in algorithms()[name].actions else "Pendulum-v1"
    run = train(make_spec(name, env), Keys(7))
    weights = [p.detach().double().square().sum() for p in run.session.agent.parameters()]
    found = run.metrics[-1] | {"episodes": len(run.episodes)}
    found["returns"] = sum(episode.ret for episode in run.episodes)
    found["weights"] = float(torch.stack(weights).sum().sqrt()) if weights else 0.0
    return {key: round(value, 6) for key, value in sorted(found.items())}


@pytest.mark.parametrize("name", NAMES)
def test_the_numbers_are_as_they_were(name):
    golden = json.loads(FILE.read_text())
    assert fingerprint(name) == pytest.approx(golden[name], rel=1e-3, abs=1e-5)


if __name__ == "__main__":
    FILE.write_text(json.dumps({name: fingerprint(name) for name in NAMES}, indent=1) + "\n")
