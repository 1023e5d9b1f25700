"""Returns and advantages of a rollout ``[T, N]``.

Two facts about the end of an episode are kept apart throughout: *termination* is a property of the
environment, so nothing follows it and the bootstrap is cut; *truncation* only stops the recording, so
the value of the true successor stands in for what would have followed. Either one ends the recursion:
no return flows from one episode into the one before it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from slm_lightning.core import Batch


def discounted_sum(x: Tensor, decay: Tensor) -> Tensor:
    """Backward linear recursion ``y_t = x_t + decay_t * y_{t+1}`` with ``y_T = 0``; all ``[T, N]``.

    By doubling: once ``y_t`` is the sum over 2^k steps, it is that over 2^(k+1) with what stands 2^k
    steps later, so that few large operations do what T small ones would.
    """
    y, decay = x.clone(), decay.clone()
    reach = 1
    while reach < len(y):
        y[:-reach] = torch.addcmul(y[:-reach], decay[:-reach], y[reach:])
        decay[:-reach] = decay[:-reach] * decay[reach:]
        reach *= 2
    return y


def discounted_returns(
    reward: Tensor, next_value: Tensor, terminated: Tensor, truncated: Tensor, gamma: float
) -> Tensor:
    """Returns bootstrapped wherever the recording stops before the episode does.

    ``R_t = r_t + γ R_{t+1}`` inside an episode, ``R_t = r_t`` where it terminates, and
    ``R_t = r_t + γ V(s_{t+1})`` where it is truncated or the rollout ends. With ``next_value = 0``
    these are Monte-Carlo returns; with the critic's values they are the n-step returns of A3C
    (Mnih et al. 2016, Algorithm S3), with horizons T, …, 1.

    Args: ``reward, next_value, terminated, truncated [T, N]``; ``next_value`` is V of the true
    successor. Returns ``[T, N]``.
    """
    cut = terminated | truncated
    cut[-1] = True  # the rollout stops here, whether or not the episode does
    bootstrap = torch.where(cut & ~terminated, next_value, 0.0)
    return discounted_sum(reward + gamma * bootstrap, gamma * (~cut).to(reward.dtype))


def gae(
    reward: Tensor,
    value: Tensor,
    next_value: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
    lam: float,
) -> Tensor:
    """Generalised advantage estimation (Schulman et al. 2016, eq. 11 and 16).

    ``δ_t = r_t + γ V(s_{t+1}) - V(s_t)`` with V = 0 after termination;
    ``A_t = δ_t + γ λ A_{t+1}``, the chain cut where an episode ends in either way.

    Args: everything ``[T, N]``; ``next_value`` is V of the true successor. Returns ``A [T, N]``;
    the target of the critic is ``A + value``.
    """
    delta = reward + gamma * torch.where(terminated, 0.0, next_value) - value
    return discounted_sum(delta, gamma * lam * (~(terminated | truncated)).to(reward.dtype))


def next_values(batch: Batch, value: Tensor, critic: Callable[[Any], Tensor]) -> Tensor:
    """``V(s_{t+1}) [T, N]`` of the rollout ``batch``, of which ``value [T, N]`` is V(s_t).

    Where an episode goes on, its next state is the next row, and its value known. ``critic``, a map of
    observations to ``V [B]``, has to look at no more than the true successors in the last row and where
    an episode was truncated. What stands where one terminated is nobody's to use.

    An agent that remembers looks at every successor, each after all that came before it.
    """
    if batch.hidden is not None:
        return critic(batch.flatten().next_obs).view_as(value)
    apart = batch.ended & ~batch.terminated
    apart[-1] = True
    next_value = value.roll(-1, 0)
    next_value[apart] = critic(batch.next_obs[apart])
    return next_value


def standardize(x: Tensor) -> Tensor:
    """Mean 0, deviation 1 over all elements (unbiased; a single element becomes 0)."""
    centred = x - x.mean()
    return centred / (x.std() + 1e-8) if x.numel() > 1 else centred


def explained_variance(prediction: Tensor, target: Tensor) -> Tensor:
    """``1 - Var[target - prediction] / Var[target]``: 1 is perfect, 0 no better than the mean."""
    return 1 - (target - prediction).var(correction=0) / (target.var(correction=0) + 1e-8)


def symlog(x: Tensor) -> Tensor:
    """``sign(x) ln(1 + |x|)``: compresses large values, is linear near 0 (Hafner et al. 2023)."""
    return x.sign() * x.abs().log1p()
