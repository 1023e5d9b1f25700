"""The optimizer of one learner, and how it is given gradients."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from slm_lightning.nets.net import Learner
from slm_lightning.nets.optim import BY_SHAPE, make_optimizer


class Stepper:
    """Clips and steps the parameters of a learner as one vector, which costs the same for a hundred of
    them as for one: each becomes a view of its part of ``vectors[0]``. An optimizer whose step depends
    on shapes keeps them apart.

    With ``compiled`` the step can be traced: the learning rate is a tensor, and nothing is a kernel of
    its own.
    """

    def __init__(self, learner: Learner, compiled: bool = False):
        self.parameters, self.limit = learner.parameters, learner.net.clip_grad_val
        spec = learner.net.optim_spec
        self.apart = spec.name in BY_SHAPE
        self.vectors = self.parameters if self.apart else [flattened(self.parameters)]
        self.optimizer = make_optimizer(self.vectors, spec, fused=not compiled)
        self._step: Callable[[Any], None] = inspect.unwrap(type(self.optimizer).step)
        self.compiled = compiled
        if compiled:
            self.vectors[0].grad = torch.zeros_like(self.vectors[0])
            for group in self.optimizer.param_groups:
                group["lr"] = torch.tensor(group["lr"])  # on the CPU, where a checkpoint has it

    @torch.no_grad()
    def __call__(self, gradients: Sequence[Tensor]) -> Tensor | None:
        """One step by ``gradients``, one for each parameter. Where there is a limit, their global norm
        is cut down to it, and what it was is returned."""
        if not self.apart:
            gradients = [torch.cat([gradient.flatten() for gradient in gradients])]
        norm = None
        if self.limit is not None:
            norm = torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients]).norm()
            shrink = (self.limit / (norm + 1e-6)).clamp(max=1.0)
            gradients = [gradient * shrink for gradient in gradients]
        for vector, gradient in zip(self.vectors, gradients):
            if self.compiled and vector.grad is not None:  # a graph writes where it was told to
                vector.grad.copy_(gradient)
            else:
                vector.grad = gradient
        self._step(self.optimizer)
        return norm


@torch.no_grad()
def flattened(parameters: Sequence[Parameter]) -> Parameter:
    """All ``parameters`` in one vector, of which they are views from now on."""
    vector = torch.cat([parameter.flatten() for parameter in parameters])
    sizes = [parameter.numel() for parameter in parameters]
    for parameter, part in zip(parameters, vector.split(sizes)):
        parameter.data = part.view_as(parameter)
    return Parameter(vector)
