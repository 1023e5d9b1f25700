"""TorchArcNet: a net as a graph of ``torch.nn`` modules, in the format of the library TorchArc."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError
from torch import Tensor, nn

from slm_lightning.errors import Problem, SpecError
from slm_lightning.nets.arc_graph import Arc, Block, Layer, Reference, layers_of, read_arc
from slm_lightning.nets.conv import pixels
from slm_lightning.spec.model import NetParams
from slm_lightning.spec.parse import SUFFIXES, parse, read_text
from slm_lightning.spec.torch_names import refusal
from slm_lightning.spec.wording import shown

ARCS = ("arc", "actor_arc", "critic_arc")
MISSING = "missing; expected the modules and graph of the net"
NORM = re.compile("Batch(Norm|Renorm)")


class TorchArcNet(nn.Module):
    """``obs [B, *obs_shape] -> features [B, out_features]`` through the modules of an ``arc``.

    Its output, the first where there are several, is flattened to two dimensions. Lazy layers get their
    sizes from a forward pass over a made-up batch. Raises SpecError where the arc is wrong or cannot
    read such observations.
    """

    class Params(NetParams):
        unread: ClassVar[dict[str, str]] = {
            "hid_layers": "the arc has its layers",
            "batch_norm": "the arc has its layers",
        }

        arc: dict[str, Any] | None = None
        """``modules`` by name and the ``graph`` that connects them."""
        arc_file: str | None = None
        """JSON or YAML file with the arc, found from the working directory; read into ``arc``."""
        actor_arc: dict[str, Any] | None = None
        critic_arc: dict[str, Any] | None = None

        @model_validator(mode="before")
        @classmethod
        def _read_file(cls, data: Any) -> Any:
            """So that the resolved spec holds all there is to know of the net."""
            file = data.get("arc_file") if isinstance(data, dict) else None
            if not isinstance(file, str) or data.get("arc") is not None:
                return data
            try:
                return {**data, "arc_file": None, "arc": _load(file)}
            except SpecError as error:
                kind = PydanticCustomError("value_error", "", {"error": str(error)})
                details = InitErrorDetails(type=kind, loc=("arc_file",), input=file)
                raise ValidationError.from_exception_data(cls.__name__, [details]) from None

        @property
        def own_arc(self) -> str:
            """The key that ``arc`` came from, which in a :meth:`part` may be another than ``arc``."""
            return next(key for key in reversed(ARCS) if getattr(self, key) is self.arc)

        @property
        def batch_statistics(self) -> str:
            return next((layer.path for layer in self._layers() if NORM.search(layer.name)), "")

        @property
        def dropout(self) -> str:
            return next((layer.path for layer in self._layers() if "Dropout" in layer.name), "")

        def _layers(self) -> Iterator[Layer]:
            """Every layer of the arcs, with its path within this section; none of a wrong arc."""
            for key in ARCS:
                try:
                    arc = read_arc(getattr(self, key), key)
                except SpecError:
                    continue
                yield from chain.from_iterable(map(layers_of, arc.modules.values()))

        def problems(self, path: str) -> Iterator[Problem]:
            if self.arc is None and (self.actor_arc is None or self.critic_arc is None):
                yield Problem(f"{path}.arc", MISSING)
            if self.arc is not None and self.arc_file is not None:
                yield Problem(f"{path}.arc_file", "excludes arc; give one of them")
            for key in ARCS:
                if getattr(self, key) is not None:
                    try:
                        read_arc(getattr(self, key), f"{path}.{key}")
                    except SpecError as error:
                        yield from error.problems

    def __init__(self, params: Params, obs_shape: tuple[int, ...]):
        super().__init__()
        if params.arc is None:
            raise SpecError.at("agent.net.arc", MISSING)
        path = f"agent.net.{params.own_arc}"
        self.normalize = params.normalize
        self.arc: Arc = read_arc(params.arc, path)
        self.nodes = nn.ModuleDict({name: _build(block) for name, block in self.arc.modules.items()})
        self.out_features = self._features(obs_shape, path)

    def forward(self, obs: Tensor) -> Tensor:
        return self._output(obs).flatten(1)

    def _output(self, obs: Tensor) -> Tensor:
        results: dict[str, Any] = {self.arc.input: pixels(obs, self.normalize)}
        for call in self.arc.calls:
            positional, keywords = _filled(call.arguments, results)
            results[call.node] = self.nodes[call.module](*positional, **keywords)
        features = results[self.arc.output]
        while isinstance(features, tuple | list):
            features = features[0]
        return features

    def _features(self, obs_shape: tuple[int, ...], path: str) -> int:
        """The width of the features of a made-up batch, which also gives lazy layers their sizes."""
        entered = [f"{path}.graph"]
        hooks = [
            module.register_forward_pre_hook(lambda *_, at=at: entered.append(at), prepend=True)
            for name, block in self.arc.modules.items()
            for module, at in _places(self.nodes[name], block, f"{path}.graph.modules.{name}")
        ]
        outputs: list[Any] = []
        self.eval()
        with torch.no_grad():
            message = refusal(lambda: outputs.append(self._output(torch.ones(2, *obs_shape))))
        self.train()
        for hook in hooks:
            hook.remove()
        if message:
            raise SpecError.at(entered[-1], f"fails on a batch of 2 observations: {message}")
        (features,) = outputs
        shape = list(features.shape) if isinstance(features, Tensor) else []
        if len(shape) < 2 or shape[0] != 2 or not features.is_floating_point():
            raise SpecError.at(
                f"{path}.graph.output", f"expected numbers for each of a batch of 2, not shape {shape}"
            )
        return math.prod(shape[1:])


def _load(file: str) -> dict[str, Any]:
    """The arc in a JSON or YAML file. Raises SpecError."""
    path = Path(file)
    data = parse(read_text(path), file, SUFFIXES[path.suffix.lower()])
    if not isinstance(data, dict):
        raise SpecError.at(file, f"holds {shown(data)}, not an arc")
    return data


def _build(block: Block) -> nn.Module:
    return block.build() if isinstance(block, Layer) else nn.Sequential(*map(_build, block))


def _places(module: nn.Module, block: Block, path: str) -> Iterator[tuple[nn.Module, str]]:
    """Every module of a block and where the spec says it; a sequence stands where it is called."""
    if isinstance(block, Layer):
        yield module, block.path
    else:
        yield module, path
        for inner, part in zip(module.children(), block):
            yield from _places(inner, part, path)


def _filled(
    arguments: list[Reference] | dict[str, Reference], results: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """The positional and the keyword arguments of a call, its references replaced by results."""

    def fill(reference: Reference) -> Any:
        return results[reference] if isinstance(reference, str) else list(map(fill, reference))

    if isinstance(arguments, list):
        return list(map(fill, arguments)), {}
    return [], {key: fill(reference) for key, reference in arguments.items()}
