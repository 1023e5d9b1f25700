"""Action masks. Which actions are allowed stands at the end of an observation (``EnvInfo.mask_size``);
nets do not see it, and what they make of actions that are not becomes FORBIDDEN."""

from __future__ import annotations

from dataclasses import replace
from typing import overload

from torch import Tensor

from slm_lightning.core import Recalled, Seen, Sequences
from slm_lightning.rl.distributions import FORBIDDEN


@overload
def without_mask(obs: Tensor, size: int) -> Tensor: ...
@overload
def without_mask(obs: Seen, size: int) -> Seen: ...
def without_mask(obs: Seen, size: int) -> Seen:
    """The observations as a net sees them."""
    if size == 0 or isinstance(obs, Recalled):  # of which a net reads what it remembers
        return obs
    if isinstance(obs, Sequences):
        next_obs = None if obs.next_obs is None else obs.next_obs[..., :-size]
        return replace(obs, obs=obs.obs[..., :-size], next_obs=next_obs)
    return obs[..., :-size]


def masked(values: Tensor, obs: Seen, size: int) -> Tensor:
    """Logits or values ``[B, size]`` of actions, FORBIDDEN where the mask in ``obs`` is 0."""
    if size == 0:
        return values
    rows = obs if isinstance(obs, Tensor) else obs.rows
    return values.masked_fill(rows[..., -size:] == 0, FORBIDDEN)
