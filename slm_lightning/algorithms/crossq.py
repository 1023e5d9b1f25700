"""CrossQ: soft actor-critic without target nets, by batch normalisation.

A. Bhatt et al., *CrossQ: batch normalization in deep reinforcement learning for greater sample
efficiency and simplicity*, 2024.

    as SAC, but for each minibatch the critics see both (s, a) and (s', ã') in one batch:
        [Q_θi(s, a); Q_θi(s', ã')] = Q_θi([s, a; s', ã']),  ã' ~ π_φ(·|s')
        y = r + γ (min_i Q_θi(s', ã') - α log π_φ(ã'|s')), without gradient
        θ_i ← θ_i - λ ∇ mean w · loss(Q_θi(s, a), y)

so that layers which normalise by the batch (``batch_renorm`` or ``batch_norm`` of ``critic_net``) do so
by the statistics of the mixture of both. Their running statistics serve where the policy is improved on
the critics. As in SLM Lab they stand between a layer and its activation; the paper's own code has them
behind activations and before the first layer, and in the policy too. For discrete actions, see
:mod:`slm_lightning.algorithms.sac`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from slm_lightning.algorithms.agent import Info
from slm_lightning.algorithms.sac import MaximumEntropy
from slm_lightning.core import Sample
from slm_lightning.nets.norms import batch_statistics


class CrossQ(MaximumEntropy):
    """The critics themselves value the next state, in the same pass as the present one."""

    actions = frozenset({"discrete", "continuous"})

    def loss(self, batch: Sample, alpha: Tensor) -> tuple[Tensor, Info]:
        with torch.no_grad():
            next_inputs, log_prob = self.draw(batch.next_obs)
        inputs = self.asked(batch.obs, batch.action)
        joint = (torch.cat(pair) for pair in zip(inputs, next_inputs))
        with batch_statistics(self.critics):
            q, next_q = self.critics(*joint).chunk(2, dim=1)
        y = self.target_value(batch, next_q.detach(), log_prob, alpha)
        return self.critic_loss(self.taken(q, batch.action), y, batch.weight)
