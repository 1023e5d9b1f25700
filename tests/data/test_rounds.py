"""How much a round collects, against SLM Lab's rule told transition by transition."""

from __future__ import annotations

import pytest

from slm_lightning.data.rounds import least_steps, rounds
from tests.conftest import REPLAY, make_spec
from tests.spec.conftest import problems_of, set_at


def marks(num_envs: int, frequency: int, start: int, frames: int) -> list[int]:
    """Frames at which a vector step is followed by learning: one of the transitions it wrote is a
    multiple of ``frequency``, and more than ``start`` have been seen."""
    found = []
    for frame in range(num_envs, frames + 1, num_envs):
        written = range(frame - num_envs + 1, frame + 1)
        if any(seen > start and seen % frequency == 0 for seen in written):
            found.append(frame)
    return found


@pytest.mark.parametrize("num_envs", [1, 3, 4])
@pytest.mark.parametrize("frequency", [1, 3, 4, 10])
@pytest.mark.parametrize("start", [0, 7, 8, 50])
def test_learning_falls_on_the_same_vector_steps(num_envs, frequency, start):
    keys = {"name": "DQN", "training_frequency": frequency, "training_start_step": start}
    spec = make_spec(keys, {"name": "x", "num_envs": num_envs, "max_frame": 1000})
    frame, found = 0, []
    while frame < 300:
        frame += least_steps(spec, frame) * num_envs
        found.append(frame)
    assert found == marks(num_envs, frequency, start, frame)


@pytest.mark.parametrize("num_envs", [1, 3, 4])
@pytest.mark.parametrize("length", [1, 3, 4, 10])
@pytest.mark.parametrize("start", [None, 0, 7, 50], ids=["PPO", "at once", "later", "last"])
def test_rounds_are_counted_as_they_come(num_envs, length, start):
    keys = {"name": "DQN", "training_frequency": length, "training_start_step": start}
    keys = {"name": "PPO", "time_horizon": length} if start is None else keys
    for budget in range(120):
        spec = make_spec(keys, {"name": "x", "num_envs": num_envs, "max_frame": budget + 1})
        ends = [0]
        while (end := ends[-1] + least_steps(spec, ends[-1]) * num_envs) <= spec.env.max_frame:
            ends.append(end)
        assert rounds(spec) == (len(ends) - 1, ends[-1])
        assert rounds(spec, most=2) == (len(ends[:3]) - 1, ends[:3][-1])


def test_a_budget_that_nobody_counts():
    spec = make_spec({"name": "PPO", "time_horizon": 32}, {"name": "x", "max_frame": 10**15})
    assert rounds(spec) == (10**15 // 64, 10**15 // 64 * 64)


def test_the_first_round_waits_for_a_minibatch():
    spec = make_spec(
        "DQN", {"name": "x", "num_envs": 2, "max_frame": 1000}, memory=REPLAY | {"batch_size": 31}
    )
    assert least_steps(spec, 0) == 16


def test_on_policy_rounds_are_the_horizon():
    spec = make_spec(
        {"name": "PPO", "time_horizon": 32}, {"name": "x", "num_envs": 2, "max_frame": 200}
    )
    assert least_steps(spec, 0) == least_steps(spec, 64) == 32
    assert rounds(spec) == (3, 192)
    assert rounds(spec, most=2) == (2, 128)


def test_the_rounds_of_a_budget():
    keys = {"name": "DQN", "training_frequency": 4, "training_start_step": 20}
    assert rounds(make_spec(keys, {"name": "x", "num_envs": 2, "max_frame": 41})) == (5, 40)


def test_minibatches_that_no_machine_holds_are_refused():
    data = set_at(make_spec("DQN").to_dict(), "agent.algorithm.training_iter", 10**8)
    problem = problems_of(data)["agent.algorithm.training_iter"]
    assert "1e8 minibatches, which are drawn at once, would need about" in problem
