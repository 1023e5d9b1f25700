"""First states of episodes as a pure function of their keys, drawn where the environments live.

SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014) is a
counter-based generator: number ``k`` of the stream with seed ``s`` is ``mix(s + (k + 1) · φ)``, so no
state is carried and any number can be had at any time. Here every state variable of every
sub-environment has a stream, and an episode takes the number of its index.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from slm_lightning.core import Keys, Stream

GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
"""2⁶⁴/φ made odd, as a signed number; all arithmetic is modulo 2⁶⁴."""
MIX_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
MIX_2 = 0x94D049BB133111EB - (1 << 64)


class Starts:
    """Uniform draws from ``[low, high)``, a pair of bounds for each of ``D`` state variables."""

    def __init__(
        self,
        keys: Keys,
        stream: Stream,
        num_envs: int,
        low: Sequence[float],
        high: Sequence[float],
        device: torch.device,
    ):
        self.low = torch.tensor(low, dtype=torch.float64, device=device)[:, None]
        self.width = torch.tensor(high, dtype=torch.float64, device=device)[:, None] - self.low
        seed = keys.seed_for(stream, 0) << 31 | keys.seed_for(stream, 1)
        size = len(low)
        number = (
            torch.arange(num_envs, device=device) * size + torch.arange(size, device=device)[:, None]
        )
        self.seeds = mix(seed + (number + 1) * GOLDEN)  # [D, N]

    def __call__(self, episode: Tensor) -> Tensor:
        """First states ``[D, N]`` float64 of the episodes with the indices ``episode [N]`` int64."""
        bits = mix(self.seeds + (episode + 1) * GOLDEN)
        return self.low + self.width * (_shift(bits, 11).double() * 2.0**-53)


def mix(z: Tensor) -> Tensor:
    """SplitMix64's bijection of 64-bit numbers that leaves no pattern; int64 of any shape."""
    z = (z ^ _shift(z, 30)) * MIX_1
    z = (z ^ _shift(z, 27)) * MIX_2
    return z ^ _shift(z, 31)


def _shift(z: Tensor, bits: int) -> Tensor:
    """To the right, with zeros coming in: PyTorch's own shift copies the sign."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
