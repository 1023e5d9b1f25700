"""The scores that the shipped specs promise: four sessions each, exactly as a user runs them.

Hours on two cores; ``scripts/test --slow tests/slow`` runs them alone.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import slm_lightning

SPECS = Path(__file__).parents[2] / "specs"


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec, mean, worst",
    [
        ("ppo/cartpole", 495, 480),
        ("ppo/acrobot", -85, -100),
        ("ppo/pendulum", -200, -250),
        ("ppo/lunar", 200, 100),
        ("a2c/cartpole", 495, 480),
        ("a2c/acrobot", -90, -100),
        ("reinforce/cartpole", 480, 460),
        ("sarsa/cartpole", 400, 300),
        ("dqn/cartpole", 400, 300),
        ("dqn/acrobot", -100, -120),
        ("ddqn_per/cartpole", 400, 300),
        ("ddqn_per/acrobot", -100, -120),
        ("sil/cartpole", 400, 300),
        ("sac/cartpole", 400, 300),
        ("sac/acrobot", -100, -120),
        ("sac/pendulum", -200, -250),
        ("crossq/cartpole", 400, 300),
        ("crossq/pendulum", -200, -250),
        ("td3/pendulum", -200, -250),
    ],
)
def test_a_spec_learns(spec, mean, worst):
    result = slm_lightning.run(SPECS / f"{spec}.json", say=lambda text: None)
    assert result.status == "done"
    assert result.scalars["score"] >= mean
    assert result.scalars["score_min"] >= worst
