"""Initialisers and activations by the names a spec gives them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from slm_lightning.spec.torch_names import ACTIVATIONS, INITIALISERS


def activation(name: str) -> nn.Module:
    """A ``torch.nn`` activation by class name, in any case."""
    return ACTIVATIONS[name.lower()]()


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
    """Weights of all linear and convolutional layers by ``torch.nn.init.<init_fn>``, biases 0.

    Orthogonal and Xavier take ``gain`` (default: of the activation), Kaiming the activation's name.
    """
    fn = INITIALISERS[init_fn]
    options: dict[str, float | str] = {}
    if init_fn.startswith(("orthogonal", "xavier")):
        options["gain"] = gain_of(activation) if gain is None else gain
    elif init_fn.startswith("kaiming"):
        known = activation.lower().replace("leakyrelu", "leaky_relu")
        options["nonlinearity"] = known if known in ("relu", "leaky_relu", "tanh", "selu") else "linear"
    for module in modules:
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            fn(module.weight, **options)
            if module.bias is not None:
                with torch.no_grad():
                    module.bias.zero_()
