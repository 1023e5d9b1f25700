"""Target nets: slower copies that learning aims at."""

from __future__ import annotations

import copy

import torch
from torch import nn

from slm_lightning.spec.model import NetParams


class TargetNet(nn.Module):
    """A copy of a net that follows it, by ``agent.net.update_type``.

    ``polyak``: ``θ' ← θ' + τ (θ - θ')`` every vector step. ``replace``: ``θ' ← θ`` every
    ``update_frequency`` frames. Calling it calls the copy, which carries no gradient.
    """

    def __init__(self, online: nn.Module, params: NetParams, num_envs: int):
        super().__init__()
        self.net = copy.deepcopy(online).requires_grad_(False)
        self.params, self.num_envs = params, num_envs

    def forward(self, *inputs):
        return self.net(*inputs)

    def follow(self, online: nn.Module, start: int, end: int, workers: int = 1) -> None:
        """What is due for the frames ``[start, end)`` of all workers, in which the online net has not
        changed."""
        if self.params.update_type == "polyak":
            vector_steps = (end - start) // (self.num_envs * workers)
            self.blend(online, 1 - (1 - self.params.tau) ** vector_steps)
        elif (end - 1) // self.params.update_frequency > (start - 1) // self.params.update_frequency:
            self.blend(online, 1.0)

    def after_update(self, online: nn.Module, start: int, end: int) -> None:
        """What is due after an update in a round of the frames ``[start, end)``, where ``polyak`` goes
        by updates instead of vector steps."""
        if self.params.update_type == "polyak":
            self.blend(online, self.params.tau)
        else:
            self.follow(online, start, end)

    @torch.no_grad()
    def blend(self, online: nn.Module, tau: float) -> None:
        """``θ' ← θ' + τ (θ - θ')``; buffers are copied."""
        torch._foreach_lerp_(list(self.net.parameters()), list(online.parameters()), tau)
        for mine, theirs in zip(self.net.buffers(), online.buffers()):
            mine.copy_(theirs)
