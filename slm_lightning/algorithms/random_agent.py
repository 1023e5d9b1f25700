"""Random: the player that every algorithm has to beat.

The zero of human-normalised scores since V. Mnih et al., *Human-level control through deep
reinforcement learning*, Nature 518, 2015.

    a ~ U(A)
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from slm_lightning.algorithms.agent import Agent, Info, Optimize
from slm_lightning.nets.net import Learner
from slm_lightning.rl.exploration import random_action
from slm_lightning.spec.model import Count, Fraction, ReplayAlgorithmParams


class Random(Agent):
    """Uniform actions, greedy or not; it learns nothing and has no net."""

    class Params(ReplayAlgorithmParams):
        learns: ClassVar[bool] = False

        gamma: Fraction = 0.99
        """Discount factor γ, which matters to ``env.normalize_reward`` only."""
        training_frequency: Count = 8
        """Vector steps (OnPolicyBatchReplay), episodes (OnPolicyReplay) or frames (Replay) a round."""
        training_iter: Count = 1
        """Minibatches that a replay memory draws for a round, in vain."""

        @property
        def horizon(self) -> int:
            return self.training_frequency

    masks = True
    memories = Agent.memories | {"Replay", "PrioritizedReplay"}

    def act(self, obs: Tensor, explore: bool = True) -> Tensor:
        allowed = obs[:, -self.mask_size :] > 0 if self.mask_size else None
        return random_action(self.action_spec, len(obs), obs.device, allowed)

    def learn(self, batch: Any, optimize: Optimize) -> Info:
        return {}

    def learners(self) -> dict[str, Learner]:
        return {}
