"""What an ``arc`` may name: the layers of ``torch.nn``, the normalisations of this lab, and small
modules that call a function of PyTorch, split, pick from and join tensors.

Names are looked up here and nowhere else, so an arc cannot reach anything that is not in a list.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from slm_lightning.nets.norms import (
    BatchRenorm1d,
    LazyBatchRenorm1d,
    LazyWeightNormLinear,
    WeightNormLinear,
)
from slm_lightning.spec.wording import unknown

Sizes = int | tuple[int, ...]

REDUCTIONS = (
    *("all", "amax", "amin", "any", "argmax", "argmin", "logsumexp", "max", "mean", "median", "min"),
    *("nanmean", "nansum", "norm", "prod", "std", "std_mean", "sum", "var", "var_mean"),
)
"""Functions of ``torch`` that take ``dim`` and ``keepdim``."""

FUNCTIONS = (
    *REDUCTIONS,
    *("abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "broadcast_to", "ceil", "celu"),
    *("chunk", "clamp", "clip", "cos", "cosh", "cummax", "cummin", "cumprod", "cumsum"),
    *("diagonal", "diff", "erf", "exp", "expm1", "flatten", "flip", "floor", "frac", "log"),
    *("log1p", "log_softmax", "logit", "movedim", "nan_to_num", "narrow", "neg", "permute"),
    *("pow", "ravel", "reciprocal", "relu", "repeat_interleave", "reshape", "roll", "round"),
    *("rsqrt", "selu", "sigmoid", "sign", "sin", "sinc", "sinh", "softmax", "sort", "split"),
    *("sqrt", "square", "squeeze", "swapaxes", "tan", "tanh", "tensor_split", "tile", "topk"),
    *("transpose", "tril", "triu", "unbind", "unflatten", "unsqueeze"),
)
"""Functions of ``torch`` from one tensor and plain arguments."""


class Reduce(nn.Module):
    """``torch.<name>(x, dim, keepdim)``, one of :data:`REDUCTIONS`."""

    def __init__(self, name: str, dim: Sizes | None, keepdim: bool = False):
        super().__init__()
        self.function = _function(name, REDUCTIONS)
        self.keywords = {"dim": dim, "keepdim": keepdim}

    def forward(self, x: Tensor) -> Any:
        return self.function(x, **self.keywords)


class TorchFn(nn.Module):
    """``torch.<name>(x, **keywords)``, one of :data:`FUNCTIONS`."""

    def __init__(self, name: str, **keywords: Any):
        super().__init__()
        self.function = _function(name, FUNCTIONS)
        self.keywords = keywords

    def forward(self, x: Tensor) -> Any:
        return self.function(x, **self.keywords)


def _function(name: str, names: tuple[str, ...]) -> Any:
    if name not in names:
        raise ValueError(unknown("function", name, names))
    return getattr(torch, name)


class ForkChunk(nn.Module):
    """A tensor as ``chunks`` tensors of equal size."""

    def __init__(self, chunks: int = 2, dim: int = 1):
        super().__init__()
        self.chunks, self.dim = chunks, dim

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return x.chunk(self.chunks, self.dim)


class ForkSplit(nn.Module):
    """A tensor as tensors of one size, or of the sizes given."""

    def __init__(self, split_size_or_sections: Sizes, dim: int = 1):
        super().__init__()
        self.sections, self.dim = split_size_or_sections, dim

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return torch.split(x, self.sections, self.dim)  # type: ignore[arg-type]


class Get(nn.Module):
    """One of several tensors, by place or name."""

    def __init__(self, key: int | str = 0):
        super().__init__()
        self.key = key

    def forward(self, x: Any) -> Any:
        return x[self.key]


class Narrow(nn.Module):
    """``length`` entries of a dimension from ``start`` on."""

    def __init__(self, dim: int, start: int, length: int):
        super().__init__()
        self.dim, self.start, self.length = dim, start, length

    def forward(self, x: Tensor) -> Tensor:
        return x.narrow(self.dim, self.start, self.length)


class IndexSelect(nn.Module):
    """The entries of a dimension at the places ``index``."""

    index: Tensor

    def __init__(self, dim: int, index: tuple[int, ...]):
        super().__init__()
        self.dim = dim
        self.register_buffer("index", torch.tensor(index, dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(self.dim, self.index)


class _Merge(nn.Module):
    """Tensors joined along ``dim``."""

    def __init__(self, dim: int = 1):
        super().__init__()
        self.dim = dim


class MergeConcat(_Merge):
    """Tensors one after the other along ``dim``."""

    def forward(self, tensors: list[Tensor]) -> Tensor:
        return torch.cat(tensors, self.dim)


class MergeStack(_Merge):
    """Tensors of one shape, stacked along a new dimension ``dim``."""

    def forward(self, tensors: list[Tensor]) -> Tensor:
        return torch.stack(tensors, self.dim)


class MergeSum(_Merge):
    """The sum of tensors of one shape."""

    def forward(self, tensors: list[Tensor]) -> Tensor:
        return torch.stack(tensors, self.dim).sum(self.dim)


class MergeProd(_Merge):
    """The product of tensors of one shape, entry by entry."""

    def forward(self, tensors: list[Tensor]) -> Tensor:
        return torch.stack(tensors, self.dim).prod(self.dim)


class MergeMean(_Merge):
    """The mean of tensors of one shape."""

    def forward(self, tensors: list[Tensor]) -> Tensor:
        return torch.stack(tensors, self.dim).mean(self.dim)


class MergeDot(nn.Module):
    """The dot product of two tensors over their last dimension."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.linalg.vecdot(x, y)


class MergeBMM(nn.Module):
    """The matrix products of two batches of matrices."""

    def forward(self, input: Tensor, mat2: Tensor) -> Tensor:
        return torch.bmm(input, mat2)


class MergeFiLM(nn.Module):
    """Feature-wise linear modulation (E. Perez et al., 2018): ``γ(z) x + β(z)`` for a feature x
    ``[B, feature_dim, …]`` and a conditioner z ``[B, conditioner_dim]``."""

    def __init__(self, feature_dim: int, conditioner_dim: int):
        super().__init__()
        self.gamma = nn.Linear(conditioner_dim, feature_dim)
        self.beta = nn.Linear(conditioner_dim, feature_dim)

    def forward(self, feature: Tensor, conditioner: Tensor) -> Tensor:
        gamma, beta = self.gamma(conditioner), self.beta(conditioner)
        shape = (*gamma.shape, *(1,) * (feature.dim() - gamma.dim()))
        return gamma.view(shape) * feature + beta.view(shape)


CONTAINERS = (
    *("Container", "DataParallel", "Module", "ModuleDict", "ModuleList", "ParameterDict"),
    *("ParameterList", "RNNBase", "RNNCellBase", "Sequential", "SyncBatchNorm", "TransformerDecoder"),
    "TransformerEncoder",
)
"""Classes of ``torch.nn`` that plain arguments do not make or that are no layer."""

MODULES: dict[str, type[nn.Module]] = {
    name: kind
    for name, kind in vars(nn).items()
    if isinstance(kind, type)
    and issubclass(kind, nn.Module)
    and name not in CONTAINERS
    and not name.endswith(("Loss", "Loss2d"))
} | {
    kind.__name__: kind
    for kind in (
        *(BatchRenorm1d, LazyBatchRenorm1d, WeightNormLinear, LazyWeightNormLinear),
        *(Reduce, TorchFn, ForkChunk, ForkSplit, Get, Narrow, IndexSelect),
        *(MergeConcat, MergeStack, MergeSum, MergeProd, MergeMean, MergeDot, MergeBMM, MergeFiLM),
    )
}
"""Classes that an arc may name."""
