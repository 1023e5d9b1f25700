"""The published scores that searches are measured against."""

from __future__ import annotations

import math

from slm_lightning.lab.baselines import SHIPPED, read_table
from slm_lightning.lab.report.known_scores import best_known, known_scores, target_of


def test_the_best_of_an_environment():
    assert best_known("Pendulum-v1") == (-145.66, "CrossQ", 300_000)
    assert best_known("tests/Nowhere-v0") is None


def test_what_was_asked_of_an_environment():
    assert target_of("Pendulum-v1") == -200 and target_of("Hopper-v5") == 2000
    assert target_of("ALE/Pong-v5") is None
    assert known_scores()["CartPole-v1"]["DDQN+PER"] == (451.51, "DDQN+PER", 200_000)


def test_no_score_is_impossible():
    tennis = best_known("ALE/Tennis-v5")
    assert tennis is not None and -24 <= tennis.score <= 24
    for name in known_scores():
        known = best_known(name)
        assert known is not None and math.isfinite(known.score) and known.frames > 0, name


def test_the_best_known_policy_beats_a_random_one():
    random = read_table(SHIPPED)
    both = [name for name in known_scores() if name in random]
    assert len(both) > 10
    for name in both:
        known = best_known(name)
        assert known is not None and known.score > random[name].mean, name
