"""Target nets: slower copies that learning aims at."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from slm_lightning.spec.model import NetParams


class TargetNet(nn.Module):
    """A copy of the net ``online`` that follows it, by ``agent.net.update_type``.

    ``polyak``: ``θ' ← θ' + τ (θ - θ')`` every vector step or, with ``after_update``, every update.
    ``replace``: ``θ' ← θ`` every ``update_frequency`` frames. Calling it calls the copy, which carries
    no gradient.
    """

    def __init__(self, online: nn.Module, params: NetParams, num_envs: int):
        super().__init__()
        self.net = copy.deepcopy(online).requires_grad_(False)
        self.params, self.num_envs = params, num_envs
        self.mine: list[Tensor] = list(self.net.parameters())
        self.theirs: list[Tensor] = list(online.parameters())
        pairs = zip(self.net.modules(), online.modules())
        self.with_buffers: list[tuple[Any, Any]] = [
            (mine, theirs) for mine, theirs in pairs if mine._buffers
        ]
        """Modules whose buffers are copied; another tensor may become one."""

    def forward(self, *inputs):
        return self.net(*inputs)

    def follow(self, start: int, end: int, workers: int = 1) -> None:
        """What is due for the frames ``[start, end)`` of all workers, in which the online net has not
        changed."""
        if self.polyak:
            vector_steps = (end - start) // (self.num_envs * workers)
            self.blend(1 - (1 - self.params.tau) ** vector_steps)
        elif (end - 1) // self.params.update_frequency > (start - 1) // self.params.update_frequency:
            self.blend(1.0)

    @property
    def polyak(self) -> bool:
        return self.params.update_type == "polyak"

    def after_update(self) -> None:
        """``polyak`` by updates instead of vector steps: one step."""
        if self.polyak:
            self.blend(self.params.tau)

    @torch.no_grad()
    def blend(self, tau: float) -> None:
        """``θ' ← θ' + τ (θ - θ')``; buffers are copied."""
        torch._foreach_lerp_(self.mine, self.theirs, tau)
        for mine, theirs in self.with_buffers:
            for name, buffer in mine._buffers.items():
                if buffer is not None:
                    buffer.copy_(theirs._buffers[name])
