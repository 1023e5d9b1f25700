"""Returns and advantages against arithmetic done by hand, closed forms, and a naive loop."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from slm_lightning.core import Batch
from slm_lightning.rl.returns import (
    discounted_returns,
    discounted_sum,
    explained_variance,
    gae,
    next_values,
    standardize,
    symlog,
)

REWARD = [1.0, 2.0, 3.0, 4.0]
VALUE = [10.0, 20.0, 30.0, 40.0]
NEXT_VALUE = [100.0, 200.0, 300.0, 400.0]
RUNNING, TERMINATED, TRUNCATED = "running", "terminated", "truncated"


def column(values: list[float]) -> Tensor:
    """One sub-environment: ``[T]`` numbers as ``[T, 1]``."""
    return torch.tensor(values)[:, None]


def ends(second: str) -> tuple[Tensor, Tensor]:
    """Four steps whose second one goes on, terminates or is truncated."""
    at_second = torch.tensor([False, True, False, False])[:, None]
    never = torch.zeros(4, 1, dtype=torch.bool)
    return at_second if second == TERMINATED else never, at_second if second == TRUNCATED else never


def test_discounted_sum_by_hand():
    # y_2 = 3,  y_1 = 2 + 0.1 * 3 = 2.3,  y_0 = 1 + 0.5 * 2.3 = 2.15
    y = discounted_sum(column([1.0, 2.0, 3.0]), column([0.5, 0.1, 0.9]))
    assert_close(y, column([2.15, 2.3, 3.0]))


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 31, 32, 33, 300])
def test_discounted_sum_is_that_of_one_step_after_the_other(steps, rng):
    x, decay = (torch.rand(steps, 3, generator=rng, dtype=torch.float64) for _ in range(2))
    decay[torch.rand(steps, 3, generator=rng) < 0.1] = 0.0
    given, expected, y = (x.clone(), decay.clone()), [], torch.zeros(3, dtype=torch.float64)
    for t in reversed(range(steps)):
        expected.insert(0, y := x[t] + decay[t] * y)
    assert_close(discounted_sum(x, decay), torch.stack(expected))
    assert torch.equal(x, given[0]) and torch.equal(decay, given[1])


# γ = 0.5. The last step always bootstraps: R_3 = 4 + 0.5 * 400 = 204, R_2 = 3 + 0.5 * 204 = 105.
@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (RUNNING, [28.25, 54.5, 105.0, 204.0]),  # R_1 = 2 + 0.5 * 105 = 54.5,  R_0 = 1 + 27.25
        (TERMINATED, [2.0, 2.0, 105.0, 204.0]),  # R_1 = 2,                     R_0 = 1 + 1
        (TRUNCATED, [52.0, 102.0, 105.0, 204.0]),  # R_1 = 2 + 0.5 * 200 = 102, R_0 = 1 + 51
    ],
)
def test_discounted_returns_by_hand(second, expected):
    returns = discounted_returns(column(REWARD), column(NEXT_VALUE), *ends(second), gamma=0.5)
    assert_close(returns, column(expected))


def test_discounted_returns_without_a_critic_are_monte_carlo():
    # γ = 0.5: R_3 = 4, R_2 = 3 + 2 = 5, R_1 = 2 + 2.5 = 4.5, R_0 = 1 + 2.25 = 3.25
    zero = torch.zeros(4, 1)
    returns = discounted_returns(column(REWARD), zero, *ends(RUNNING), gamma=0.5)
    assert_close(returns, column([3.25, 4.5, 5.0, 4.0]))


def test_the_last_step_does_not_bootstrap_where_it_terminates():
    # R_1 = 2, R_0 = 1 + 0.5 * 2
    last = torch.tensor([[False], [True]])
    returns = discounted_returns(
        column([1.0, 2.0]), column([100.0, 200.0]), last, torch.zeros_like(last), gamma=0.5
    )
    assert_close(returns, column([2.0, 2.0]))


# γ = 0.5, λ = 0.1, so γλ = 0.05.
# δ_3 = 4 + 0.5 * 400 - 40 = 164                                          A_3 = 164
# δ_2 = 3 + 0.5 * 300 - 30 = 123                                          A_2 = 123 + 0.05 * 164 = 131.2
# δ_1 = 2 + 0.5 * 200 - 20 =  82, or 2 - 20 = -18 after a termination
# δ_0 = 1 + 0.5 * 100 - 10 =  41
@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (RUNNING, [45.428, 88.56, 131.2, 164.0]),  # A_1 = 82 + 6.56,  A_0 = 41 + 0.05 * 88.56
        (TERMINATED, [40.1, -18.0, 131.2, 164.0]),  # A_1 = δ_1 = -18, A_0 = 41 - 0.9
        (TRUNCATED, [45.1, 82.0, 131.2, 164.0]),  # A_1 = δ_1 = 82,    A_0 = 41 + 4.1
    ],
)
def test_gae_by_hand(second, expected):
    inputs = column(REWARD), column(VALUE), column(NEXT_VALUE), *ends(second)
    assert_close(gae(*inputs, gamma=0.5, lam=0.1), column(expected))


def naive_returns(reward, next_value, terminated, truncated, gamma) -> list[float]:
    """One sub-environment, forwards from every step, as the definition reads."""
    returns = []
    for start in range(len(reward)):
        total, discount = 0.0, 1.0
        for t in range(start, len(reward)):
            total += discount * reward[t]
            discount *= gamma
            if terminated[t]:
                break
            if truncated[t] or t == len(reward) - 1:
                total += discount * next_value[t]
                break
        returns.append(total)
    return returns


def naive_gae(reward, value, next_value, terminated, truncated, gamma, lam) -> list[float]:
    """One sub-environment: ``Σ (γλ)^k δ_{t+k}`` to the end of the episode or of the rollout."""
    advantages = []
    for start in range(len(reward)):
        total, weight = 0.0, 1.0
        for t in range(start, len(reward)):
            bootstrap = 0.0 if terminated[t] else gamma * next_value[t]
            total += weight * (reward[t] + bootstrap - value[t])
            weight *= gamma * lam
            if terminated[t] or truncated[t]:
                break
        advantages.append(total)
    return advantages


@st.composite
def rollouts(draw) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Reward, value, next value, terminated and truncated ``[T, N]``, in float64."""
    steps, envs = draw(st.integers(1, 9)), draw(st.integers(1, 3))
    number, flag = st.floats(-10, 10), st.integers(0, 5).map(lambda k: k == 0)

    def grid(cell):
        row = st.lists(cell, min_size=envs, max_size=envs)
        return draw(st.lists(row, min_size=steps, max_size=steps))

    numbers = [torch.tensor(grid(number), dtype=torch.float64) for _ in range(3)]
    return *numbers, torch.tensor(grid(flag)), torch.tensor(grid(flag))


@given(rollouts(), st.floats(0, 1))
def test_returns_equal_the_naive_loop(rollout, gamma):
    reward, _, next_value, terminated, truncated = rollout
    columns = (x.T.tolist() for x in (reward, next_value, terminated, truncated))
    expected = [naive_returns(*env, gamma) for env in zip(*columns)]
    returns = discounted_returns(reward, next_value, terminated, truncated, gamma)
    assert_close(returns.T, torch.tensor(expected, dtype=torch.float64))


@given(rollouts(), st.floats(0, 1), st.floats(0, 1))
def test_gae_equals_the_naive_loop(rollout, gamma, lam):
    expected = [naive_gae(*env, gamma, lam) for env in zip(*(x.T.tolist() for x in rollout))]
    assert_close(gae(*rollout, gamma, lam).T, torch.tensor(expected, dtype=torch.float64))


@given(rollouts(), st.floats(0, 1))
def test_gae_with_lambda_0_is_the_td_error(rollout, gamma):
    reward, value, next_value, terminated, _ = rollout
    td_error = reward + gamma * next_value * ~terminated - value
    assert_close(gae(*rollout, gamma, 0.0), td_error)


@given(rollouts(), st.floats(0, 1))
def test_gae_with_lambda_1_is_returns_minus_values(rollout, gamma):
    """Where the critic is consistent, ``next_value[t] = value[t + 1]`` inside an episode, the sum of
    TD errors telescopes to the bootstrapped return."""
    reward, value, next_value, terminated, truncated = rollout
    inside = ~(terminated | truncated)[:-1]
    next_value[:-1] = torch.where(inside, value[1:], next_value[:-1])
    returns = discounted_returns(reward, next_value, terminated, truncated, gamma)
    assert_close(gae(reward, value, next_value, terminated, truncated, gamma, 1.0), returns - value)


@pytest.mark.parametrize("estimate", [discounted_returns, gae])
def test_inputs_are_left_as_they_were(estimate):
    terminated, truncated = ends(TRUNCATED)
    inputs = [column(REWARD), column(NEXT_VALUE), terminated, truncated]
    inputs = [*inputs[:1], column(VALUE), *inputs[1:]] if estimate is gae else inputs
    before = [x.clone() for x in inputs]
    estimate(*inputs, 0.9, *([0.9] if estimate is gae else []))
    assert all(torch.equal(x, y) for x, y in zip(inputs, before))


def test_standardize(rng):
    x = torch.randn(7, 3, generator=rng) * 5 + 2
    y = standardize(x)
    assert y.shape == x.shape
    assert_close(y.mean(), torch.tensor(0.0), atol=1e-6, rtol=0)
    assert_close(y.std(), torch.tensor(1.0))
    assert_close(y, (x - x.mean()) / x.std())


def test_standardize_where_there_is_no_deviation():
    assert torch.equal(standardize(torch.tensor([3.0])), torch.zeros(1))
    assert torch.equal(standardize(torch.full((4,), 3.0)), torch.zeros(4))


def test_explained_variance_by_hand():
    target = torch.tensor([0.0, 2.0])  # variance 2
    assert_close(explained_variance(target, target), torch.tensor(1.0))
    assert_close(explained_variance(torch.tensor([1.0, 1.0]), target), torch.tensor(0.0))
    # errors (1, -1) - (0, 0): target - prediction = (-1, 1) * 0.5 -> variance 0.5, 1 - 0.5 / 2
    assert_close(explained_variance(torch.tensor([0.5, 1.5]), target), torch.tensor(0.75))


def test_explained_variance_of_a_single_row_is_a_number():
    assert explained_variance(torch.tensor([1.0]), torch.tensor([3.0])).isfinite()


def test_symlog():
    # ln(1 + (e - 1)) = 1
    x = torch.tensor([0.0, torch.e - 1, 1 - torch.e])
    assert_close(symlog(x), torch.tensor([0.0, 1.0, -1.0]))
    small = torch.tensor([1e-4, -1e-4])
    assert_close(symlog(small), small, rtol=1e-3, atol=0)


def of_each(obs: Tensor) -> Tensor:
    """A critic that tells observations apart."""
    return obs.square().sum(-1)


def rollout(*ends_at: tuple[int, int, str]) -> Batch:
    """Four steps of two sub-environments. Observations follow on each other, but where an episode of
    ``(step, sub-environment, how it ends)`` does: there the next one begins elsewhere."""
    obs = torch.arange(1.0, 31.0).view(5, 2, 3)
    next_obs = obs[1:].clone()
    ended = {how: torch.zeros(4, 2, dtype=torch.bool) for how in (TERMINATED, TRUNCATED)}
    for t, env, how in ends_at:
        ended[how][t, env] = True
        next_obs[t, env] *= -10
    flags = ended[TERMINATED], ended[TRUNCATED]
    return Batch(obs[:-1], torch.zeros(4, 2), torch.ones(4, 2), next_obs, *flags, 0)


@pytest.mark.parametrize(
    ("ends_at", "looked_at"),
    [
        ((), 2),
        (((1, 0, TERMINATED), (2, 1, TERMINATED)), 2),
        (((1, 0, TRUNCATED),), 3),
        (((0, 1, TRUNCATED), (1, 0, TERMINATED), (3, 0, TRUNCATED)), 3),
        (((3, 0, TERMINATED), (3, 1, TRUNCATED)), 2),
    ],
)
def test_values_of_successors_are_those_of_a_pass_over_all_of_them(ends_at, looked_at):
    batch, rows = rollout(*ends_at), []

    def critic(obs: Tensor) -> Tensor:
        rows.append(len(obs))
        return of_each(obs)

    value = of_each(batch.obs)
    found, all_of_them = next_values(batch, value, critic), of_each(batch.next_obs)
    assert rows == [looked_at]
    flags = batch.terminated, batch.truncated
    for reckon in (
        lambda next_value: gae(batch.reward, value, next_value, *flags, 0.9, 0.8),
        lambda next_value: discounted_returns(batch.reward, next_value, *flags, 0.9),
    ):
        assert_close(reckon(found), reckon(all_of_them), rtol=0, atol=0)


def test_a_lost_life_is_the_end_of_a_return_but_not_of_the_observations():
    batch = rollout((1, 0, TERMINATED))._replace(over=torch.zeros(4, 2, dtype=torch.bool))
    found = next_values(batch, of_each(batch.obs), of_each)
    assert_close(found[~batch.terminated], of_each(batch.next_obs)[~batch.terminated])


def test_an_agent_that_remembers_looks_at_every_successor():
    batch = rollout((1, 0, TRUNCATED))._replace(hidden=torch.zeros(4, 2, 1))
    found = next_values(batch, torch.zeros(4, 2), lambda seen: of_each(seen.rows))
    assert_close(found, of_each(batch.next_obs))
