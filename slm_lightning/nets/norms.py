"""Layers that normalise: batch renormalisation and weight normalisation, each also as a lazy layer that
learns the width of its input from the first one it sees."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from slm_lightning.nets.layers import Whole, modal


@contextmanager
def batch_statistics(net: nn.Module) -> Iterator[None]:
    """``net`` in train mode, then in eval mode again: what it computes within is normalised by the
    statistics of the batch, which it takes in, and dropout drops. A part that was put in since ``net``
    was told a mode is not told of this one."""
    known = net.modal if isinstance(net, Whole) else None
    told = modal(net) if known is None else known
    for module in told:
        module.training = True
    try:
        yield
    finally:
        for module in told:
            module.training = False


class BatchRenorm1d(nn.Module):
    """Batch renormalisation. S. Ioffe, *Batch renormalization: towards reducing minibatch dependence in
    batch-normalized models*, 2017, Algorithm 1.

        x̂ = (x - μ_B) / σ_B · r + d,   y = γ x̂ + β
        r = clip(σ_B / σ, 1 / r_max, r_max),   d = clip((μ_B - μ) / σ, -d_max, d_max)

    on batches ``[B, C]`` or ``[B, C, …]``, with μ_B, σ_B of the batch and the running μ, σ. No gradient
    flows through r and d. Over the first ``warmup_steps`` batches their limits open linearly from 1 and
    0, which is plain batch normalisation. In eval mode ``x̂ = (x - μ) / σ``.

    Args: ``momentum``: weight of the new batch in μ and σ². ``eps``: added to variances under the root.
    """

    weight: nn.Parameter  # γ [C]
    bias: nn.Parameter  # β [C]
    running_mean: Tensor  # [C]
    running_var: Tensor  # [C]
    num_batches_tracked: Tensor  # [] int64

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.01,
        r_max: float = 3.0,
        d_max: float = 5.0,
        warmup_steps: int = 10_000,
    ):
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.r_max, self.d_max, self.warmup_steps = r_max, d_max, warmup_steps
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.running_mean.dtype)  # also where layers before it computed in bfloat16
        shape = (1, -1, *(1,) * (x.dim() - 2))
        std = (self.running_var + self.eps).sqrt()
        if self.training:
            rest = [dim for dim in range(x.dim()) if dim != 1]
            mean_b = x.mean(rest)
            centred = x - mean_b.view(shape)
            var_b = centred.square().mean(rest)  # on a CPU far cheaper than torch.var_mean
            std_b = (var_b + self.eps).sqrt()
            r, d = self._corrections(mean_b.detach(), std_b.detach(), std)
            x_hat = centred * (r / std_b).view(shape) + d.view(shape)
            self._track(mean_b.detach(), var_b.detach())
        else:
            x_hat = (x - self.running_mean.view(shape)) / std.view(shape)
        return self.weight.view(shape) * x_hat + self.bias.view(shape)

    def _corrections(self, mean_b: Tensor, std_b: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        """r and d ``[C]`` at this point of the warm-up."""
        steps, warmup = self.num_batches_tracked, self.warmup_steps
        opened = (steps / warmup).clamp(max=1) if warmup else torch.ones_like(steps)
        r_max, d_max = 1 + opened * (self.r_max - 1), opened * self.d_max
        r = (std_b / std).clamp(1 / r_max, r_max)
        d = ((mean_b - self.running_mean) / std).clamp(-d_max, d_max)
        return r, d

    @torch.no_grad()
    def _track(self, mean_b: Tensor, var_b: Tensor) -> None:
        self.running_mean.lerp_(mean_b, self.momentum)
        self.running_var.lerp_(var_b, self.momentum)
        self.num_batches_tracked.add_(1)

    def extra_repr(self) -> str:
        keys = ("eps", "momentum", "r_max", "d_max", "warmup_steps")
        return ", ".join([str(self.num_features), *(f"{key}={getattr(self, key)}" for key in keys)])


class LazyBatchRenorm1d(LazyModuleMixin, BatchRenorm1d):
    """A :class:`BatchRenorm1d` whose width is that of dimension 1 of its first input."""

    cls_to_become = BatchRenorm1d

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float = 0.01,
        r_max: float = 3.0,
        d_max: float = 5.0,
        warmup_steps: int = 10_000,
    ):
        super().__init__(0, eps, momentum, r_max, d_max, warmup_steps)
        self.weight = UninitializedParameter()  # type: ignore[assignment]
        self.bias = UninitializedParameter()  # type: ignore[assignment]
        self.running_mean, self.running_var = UninitializedBuffer(), UninitializedBuffer()

    def initialize_parameters(self, x: Tensor) -> None:
        if self.has_uninitialized_params():
            self.num_features = x.shape[1]
            start = {self.weight: 1, self.bias: 0, self.running_mean: 0, self.running_var: 1}
            with torch.no_grad():
                for tensor, value in start.items():
                    tensor.materialize((self.num_features,))  # type: ignore[attr-defined]
                    tensor.fill_(value)


class WeightNormLinear(nn.Module):
    """A linear layer ``[…, in_features] -> […, out_features]`` with weights ``g v / ‖v‖``, row by row.
    T. Salimans and D. P. Kingma, *Weight normalization*, 2016, eq. 2.

    It begins as ``nn.Linear`` does: g is the norm of v. Setting ``weight`` sets both.
    """

    weight_v: nn.Parameter  # [out_features, in_features]
    weight_g: nn.Parameter  # [out_features, 1]
    bias: nn.Parameter | None  # [out_features]

    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight_v = nn.Parameter(torch.empty(out_features, in_features))
        self.weight_g = nn.Parameter(torch.empty(out_features, 1))
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights and bias uniform in ± 1 / √in_features."""
        bound = self.in_features**-0.5 if self.in_features else 0.0
        self.weight = torch.empty_like(self.weight_v).uniform_(-bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    @property
    def weight(self) -> Tensor:
        """``[out_features, in_features]``"""
        return self.weight_g * nn.functional.normalize(self.weight_v, dim=1)

    @weight.setter
    def weight(self, value: Tensor) -> None:
        with torch.no_grad():
            self.weight_v.copy_(value)
            self.weight_g.copy_(value.norm(dim=1, keepdim=True))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class LazyWeightNormLinear(LazyModuleMixin, WeightNormLinear):
    """A :class:`WeightNormLinear` whose ``in_features`` are the last dimension of its first input."""

    cls_to_become = WeightNormLinear

    def __init__(self, out_features: int, bias: bool = True):
        super().__init__(0, out_features, bias)
        self.weight_v = UninitializedParameter()  # type: ignore[assignment]

    def reset_parameters(self) -> None:
        if not self.has_uninitialized_params() and self.in_features:
            super().reset_parameters()

    def initialize_parameters(self, x: Tensor) -> None:
        if self.has_uninitialized_params():
            self.in_features = x.shape[-1]
            shape = (self.out_features, self.in_features)
            self.weight_v.materialize(shape)  # type: ignore[attr-defined]
            self.reset_parameters()
