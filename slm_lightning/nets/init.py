"""Initialisers and activations by the names a spec gives them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from slm_lightning.nets.norms import WeightNormLinear
from slm_lightning.spec.torch_names import ACTIVATIONS, INITIALISERS


def activation(name: str) -> nn.Module:
    """A ``torch.nn`` activation by class name, in any case; softmax and its like are over features."""
    kind = ACTIVATIONS[name.lower()]
    return kind(dim=1) if "dim" in inspect.signature(kind).parameters else kind()


def gain_of(name: str) -> float:
    """Gain that keeps the variance through activation ``name``; 1 where PyTorch knows none."""
    known = name.lower().replace("leakyrelu", "leaky_relu")
    try:
        return nn.init.calculate_gain(known)  # type: ignore[arg-type]
    except ValueError:
        return 1.0


def initialise(
    modules: Iterable[nn.Module], init_fn: str, activation: str, gain: float | None = None
) -> None:
    """Weights of all linear, convolutional and recurrent layers by ``torch.nn.init.<init_fn>``; biases
    become 0.

    Orthogonal and Xavier take ``gain`` (default: of the activation), Kaiming the activation's name;
    recurrent cells, which the activation does not follow, 1 and ``linear``.
    Where a layer keeps its weights in another form (weight norm), that form is what the initialiser's
    weights come from.
    """
    fn = INITIALISERS[init_fn]
    options: dict[str, float | str] = {}
    if init_fn.startswith(("orthogonal", "xavier")):
        options["gain"] = gain_of(activation) if gain is None else gain
    elif init_fn.startswith("kaiming"):
        known = activation.lower().replace("leakyrelu", "leaky_relu")
        options["nonlinearity"] = known if known in ("relu", "leaky_relu", "tanh", "selu") else "linear"
    for module in modules:
        if isinstance(module, nn.Linear | _ConvNd | WeightNormLinear):
            _set_weight(module, lambda weight: fn(weight, **options))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.RNNCellBase):
            neutral = {key: {"gain": 1.0, "nonlinearity": "linear"}[key] for key in options}
            for parameter in module.parameters():
                fn(parameter, **neutral) if parameter.dim() > 1 else nn.init.zeros_(parameter)


def _set_weight(module: nn.Module, fill: Callable[[Tensor], object]) -> None:
    """In place, or by assignment where ``weight`` is computed from parameters of another form."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    if not isinstance(module, WeightNormLinear):
        fill(weight)
        return
    with torch.no_grad():
        fill(weight := torch.empty_like(weight))
        module.weight = weight
