"""How every agent takes an action from its distribution."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from slm_lightning.algorithms.agent import mean_info
from tests.algorithms.support import OBS, make_agent

ROWS = 2000
OBSERVATIONS = torch.ones(ROWS, OBS)
FALLING = {"name": "linear_decay", "start_val": 1.0, "end_val": 0.0, "end_step": 100}


def greedy_share(agent) -> float:
    torch.manual_seed(0)
    with torch.no_grad():
        greedy = agent.act(OBSERVATIONS, explore=False)
        return (agent.act(OBSERVATIONS) == greedy).float().mean().item()


def test_by_default_actions_are_drawn_from_the_distribution():
    agent = make_agent("PPO")
    probabilities = agent.net.policy(OBSERVATIONS[:1]).log_probs.exp()
    assert greedy_share(agent) == pytest.approx(probabilities.max().item(), abs=0.06)


def test_random_actions_are_uniform():
    assert greedy_share(make_agent("PPO", action_policy="random")) == pytest.approx(1 / 3, abs=0.06)


@pytest.mark.parametrize(("frame", "share"), [(0, 1 / 3), (50, 2 / 3), (100, 1.0)])
def test_epsilon_follows_the_frame(frame, share):
    agent = make_agent("PPO", action_policy="epsilon_greedy", explore_var_spec=FALLING)
    agent.frame = frame
    assert greedy_share(agent) == pytest.approx(share, abs=0.06)
    assert agent.schedules()["explore_var"] == pytest.approx(1 - frame / 100)


@pytest.mark.parametrize("name", ["PPO", "ActorCritic", "Reinforce"])
def test_a_boltzmann_policy_divides_its_logits_by_the_temperature(name):
    hot = {"start_val": 50.0}
    agent = make_agent(name, action_policy="boltzmann", explore_var_spec=hot)
    assert agent.temperature == 50.0
    assert greedy_share(agent) == pytest.approx(1 / 3, abs=0.06)
    policy = agent.net.actor if hasattr(agent, "net") else agent.policy
    logits = policy.net(OBSERVATIONS[:1])[0]
    assert_close(policy(OBSERVATIONS[:1], 50.0)[0].log_probs, (logits / 50).log_softmax(-1))


def test_other_policies_have_temperature_1():
    assert make_agent("PPO", explore_var_spec={"start_val": 50.0}).temperature == 1.0


def test_mean_info():
    infos = [{"a": torch.tensor(1.0)}, {"a": torch.tensor(4.0)}]
    assert mean_info(infos)["a"].item() == 2.5
