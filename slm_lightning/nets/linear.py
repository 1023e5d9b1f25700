"""A linear layer whose large matrix products oneDNN computes.

PyTorch multiplies matrices of float32 by MKL, which leaves half of the vector unit idle on a processor
that is not Intel's: with AVX-512, 256 rows times 3136 × 512 weights take 9 ms by MKL and 4 by oneDNN.
The results differ by rounding. Small products stay with MKL, which starts sooner.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

LARGE = 2**20
"""Multiplications of numbers from which on, exclusive, a product is oneDNN's."""


class Linear(nn.Linear):
    """``x [B, in_features] -> [B, out_features]``, as ``nn.Linear``. A graph that is compiled has the
    layer of PyTorch, and its products are the compiler's to choose."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight  # once: a norm of the weight may compute it anew
        if torch.compiler.is_compiling() or not self._pays(x):
            return F.linear(x, weight, self.bias)
        return ByOneDNN.apply(x, weight, self.bias)

    def _pays(self, x: Tensor) -> bool:
        plain = x.is_cpu and x.dtype == torch.float32 and x.dim() == 2
        large = len(x) * self.in_features * self.out_features > LARGE
        return plain and large and ahead() and not torch.is_autocast_enabled("cpu")


class ByOneDNN(torch.autograd.Function):
    """``x [B, K], weight [N, K], bias [N] -> x @ weight.T + bias [B, N]``, and its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        to_x, to_weight, to_bias = ctx.needs_input_grad
        gradient = gradient.contiguous()
        return (
            product(gradient, weight.t()) if to_x else None,
            product(gradient.t(), x.t()) if to_weight else None,
            gradient.sum(0) if to_bias else None,
        )


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias`` by oneDNN."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


@functools.cache
def ahead() -> bool:
    """Whether oneDNN is ahead of MKL on this machine, or not behind it."""
    return torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512"
