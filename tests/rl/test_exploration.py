"""How often exploring policies explore, and that what they do is a valid action."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from slm_lightning.core import ActionSpec
from slm_lightning.rl.distributions import distribution_for
from slm_lightning.rl.exploration import epsilon_greedy, random_action

ROWS = 20_000
SPACES = [
    ActionSpec("discrete", (4,)),
    ActionSpec("continuous", (3,)),
    ActionSpec("multi_discrete", (2, 4)),
    ActionSpec("multi_binary", (3,)),
]


@pytest.mark.parametrize("action", SPACES, ids=lambda action: action.kind)
def test_random_actions_are_uniform(action):
    torch.manual_seed(0)
    draws = random_action(action, ROWS, "cpu")
    assert draws.shape == (ROWS, *action.shape)
    assert draws.dtype == action.dtype
    if action.kind == "continuous":
        assert draws.abs().max() <= 1
        frequencies = [((draws[:, 0] * 2 + 2).long(), 4)]
    elif action.kind == "multi_binary":
        frequencies = [(draws[:, i], 2) for i in range(3)]
    else:
        columns = draws.reshape(ROWS, -1).unbind(-1)
        frequencies = list(zip(columns, action.sizes))
    for column, size in frequencies:
        share = column.bincount(minlength=size) / ROWS
        assert len(share) == size
        assert ((share - 1 / size).abs() < 5 * (1 / size / ROWS) ** 0.5).all()


@pytest.mark.parametrize("action", SPACES, ids=lambda action: action.kind)
def test_epsilon_greedy_explores_with_probability_epsilon(action, rng):
    kind = distribution_for(action)
    pi = kind([torch.randn(1, size, generator=rng).expand(ROWS, size) for size in kind.heads(action)])
    torch.manual_seed(0)
    np.random.seed(0)
    greedy = pi.mode()

    def same(epsilon: float) -> float:
        chosen = epsilon_greedy(lambda: greedy, action, epsilon, ROWS, "cpu")
        assert chosen.shape == greedy.shape
        assert chosen.dtype == greedy.dtype
        return (chosen == greedy).reshape(ROWS, -1).all(-1).float().mean().item()

    assert same(0.0) == 1.0
    by_chance = {"discrete": 1 / 4, "continuous": 0.0, "multi_discrete": 1 / 8, "multi_binary": 1 / 8}
    expected = 0.7 + 0.3 * by_chance[action.kind]
    assert abs(same(0.3) - expected) < 5 * (0.25 / ROWS) ** 0.5


def test_each_sub_environment_draws_its_own_epsilon():
    np.random.seed(0)
    greedy = torch.zeros(64, dtype=torch.int64)
    explored = epsilon_greedy(lambda: greedy, SPACES[0], 0.5, 64, "cpu") != 0
    assert 0 < explored.sum() < 64


def test_where_all_explore_nobody_asks_what_is_greedy():
    """And the draws are those of any other step."""
    asked = []

    def greedy() -> torch.Tensor:
        asked.append(True)
        return torch.full((2,), 7)

    np.random.seed(0)
    chosen = [epsilon_greedy(greedy, SPACES[0], 0.5, 2, "cpu") for _ in range(200)]
    explored = [(action != 7).all().item() for action in chosen]
    assert len(asked) == explored.count(False)
    assert abs(sum(explored) - 200 / 4) < 5 * (200 * 3 / 16) ** 0.5
    np.random.seed(0)
    for action in chosen:
        u = torch.from_numpy(np.random.random(2))
        assert torch.equal(action, torch.where(u < 0.5, (8 * u).long(), 7))


def test_where_none_explores_what_is_greedy_is_the_answer():
    greedy = torch.full((2,), 7)
    np.random.seed(0)
    answers = [epsilon_greedy(lambda: greedy, SPACES[0], 0.01, 2, "cpu") for _ in range(50)]
    assert sum(answer is greedy for answer in answers) >= 40


@pytest.mark.parametrize("epsilon", [1.0, 0.5, 1e-3])
def test_what_is_drawn_evenly_is_an_action_at_any_epsilon(epsilon):
    """Even the largest number that is still below ε."""
    largest = np.nextafter([epsilon], 0.0)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(np.random, "random", lambda *_: largest)
        for size in (2, 3, 4, 7, 1000):
            action = ActionSpec("discrete", (size,))
            assert epsilon_greedy(pytest.fail, action, epsilon, 1, "cpu") == size - 1
