"""Initialisers and activations by the names a spec gives them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from slm_lightning.errors import SpecError

_ACTIVATIONS = {
    name.lower(): getattr(nn.modules.activation, name) for name in nn.modules.activation.__all__
}


def activation(name: str) -> nn.Module:
    """A ``torch.nn`` activation by class name in any case. Raises SpecError if there is none."""
    try:
        return _ACTIVATIONS[name.lower()]()
    except (KeyError, TypeError):
        usual = "relu, tanh, selu, leakyrelu, sigmoid, elu, gelu, silu"
        raise SpecError.at(
            "agent.net", f'"{name}" is no torch.nn activation; the usual ones are {usual}'
        ) from None


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
    Raises SpecError for an unknown initialiser.
    """
    fn = getattr(nn.init, init_fn, None)
    if fn is None or not init_fn.endswith("_") or init_fn.startswith("_"):
        raise SpecError.at(
            "agent.net.init_fn",
            f'"{init_fn}" is not in torch.nn.init; try orthogonal_, xavier_uniform_ or kaiming_normal_',
        )
    options: dict[str, float | str] = {}
    if init_fn.startswith(("orthogonal", "xavier")):
        options["gain"] = gain_of(activation) if gain is None else gain
    elif init_fn.startswith("kaiming"):
        options["nonlinearity"] = activation.lower().replace("leakyrelu", "leaky_relu")
    for module in modules:
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            try:
                fn(module.weight, **options)
            except (TypeError, ValueError) as error:
                raise SpecError.at("agent.net.init_fn", f"{init_fn}: {error}") from None
            if module.bias is not None:
                with torch.no_grad():
                    module.bias.zero_()
