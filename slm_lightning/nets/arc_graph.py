"""From an ``arc`` as a spec holds it to modules and the order in which they are called, with everything
that is wrong in it said at once.

    {"modules": {"body": {"Sequential": [{"LazyLinear": {"out_features": 64}}, {"Tanh": null}]}},
     "graph": {"input": "x", "modules": {"body": ["x"]}, "output": "body"}}
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import nn

from slm_lightning.errors import Problem, SpecError
from slm_lightning.nets.arc_modules import MODULES
from slm_lightning.spec.model import keyword
from slm_lightning.spec.torch_names import refusal
from slm_lightning.spec.wording import did_you_mean, dotted, listed, shown, unknown

PLACED = ("device", "dtype")
"""Keyword arguments of layers that are the lab's to give."""


class Layer(NamedTuple):
    """One class with its keyword arguments, and where in the spec it stands."""

    path: str
    name: str
    keywords: dict[str, Any]

    def build(self) -> nn.Module:
        return MODULES[self.name](**self.keywords)


Block = Layer | list["Block"]
"""A layer, or blocks one after the other."""
Reference = str | list["Reference"]
"""The name of a node, or several as one argument."""


class Call(NamedTuple):
    """A node of the graph: ``module`` called with positional or with keyword arguments."""

    path: str
    node: str
    module: str
    arguments: list[Reference] | dict[str, Reference]


@dataclass(frozen=True)
class Arc:
    """Modules by name; the graph's calls, each after those whose results it takes."""

    modules: dict[str, Block]
    input: str
    calls: list[Call]
    output: str


def read_arc(data: Any, path: str) -> Arc:
    """The arc ``data`` that stands at ``path``. Raises SpecError with all its problems."""
    reader = _Reader()
    arc = reader.arc(data, path)
    if reader.problems:
        raise SpecError(reader.problems)
    return arc


def layers_of(block: Block) -> Iterator[Layer]:
    """The layers of a block, first to last."""
    if isinstance(block, Layer):
        yield block
    else:
        yield from chain.from_iterable(map(layers_of, block))


def names_in(argument: Any) -> Iterator[str]:
    """The nodes that an argument of a call names."""
    if isinstance(argument, list | dict):
        values = argument.values() if isinstance(argument, dict) else argument
        yield from chain.from_iterable(map(names_in, values))
    else:
        yield argument


class _Reader:
    """Reads the parts of an arc and gathers every problem on the way; what it returns means something
    only where there is none."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def arc(self, data: Any, path: str) -> Arc:
        top = self.section(data, path, ("modules", "graph"))
        blocks = self.section(top.get("modules", {}), dotted(path, "modules"))
        where = dotted(path, "graph")
        graph = self.section(top.get("graph", {}), where, ("input", "modules", "output"))
        for name in blocks:
            if not name or set(name) & set(".~") or hasattr(nn.ModuleDict(), name):
                self.report(dotted(path, "modules", name), f"{shown(name)} cannot name a module")
        modules = {name: self.block(blocks[name], dotted(path, "modules", name)) for name in blocks}
        calls = self.calls(graph.get("modules", {}), dotted(where, "modules"))
        source = self.input(graph.get("input"), dotted(where, "input"))
        output = self.output(graph.get("output"), dotted(where, "output"))
        if not self.problems:
            calls = self.wire(modules, source, calls, output, path)
        return Arc(modules, source, calls, output)

    def report(self, path: str, message: str) -> None:
        self.problems.append(Problem(path, message))

    def section(self, data: Any, path: str, keys: tuple[str, ...] = ()) -> dict[str, Any]:
        """``data`` where it is a section with all of ``keys`` and, if there are any, no others."""
        if not isinstance(data, dict):
            self.report(path, f"expected a section, not {shown(data)}")
            return {}
        for key in keys:
            if key not in data:
                self.report(dotted(path, key), "missing")
        for key in data if keys else ():
            if key not in keys:
                hint = did_you_mean(key, keys) or f"; there are {listed(keys)}"
                self.report(dotted(path, key), f"unknown key{hint}")
        return data

    def block(self, data: Any, path: str) -> Block:
        if not isinstance(data, dict) or len(data) != 1:
            self.report(path, f"expected one class with its arguments, not {shown(data)}")
            return []
        ((name, value),) = data.items()
        where = dotted(path, name)
        if name == "Sequential":
            return self.blocks(value, where)
        if name == "compact":
            return self.compact(value, where)
        return self.layer(name, {} if value is None else value, where)

    def blocks(self, data: Any, path: str) -> list[Block]:
        if not isinstance(data, list):
            self.report(path, f"expected a list of layers, not {shown(data)}")
            return []
        return [self.block(item, dotted(path, i)) for i, item in enumerate(data)]

    def compact(self, data: Any, path: str) -> list[Block]:
        """For each entry of ``layer.args``: ``prelayer``, ``layer.type`` with the entry's values for
        ``layer.keys``, ``postlayer``."""
        given = {"prelayer": [], "postlayer": []} | data if isinstance(data, dict) else data
        section = self.section(given, path, ("prelayer", "layer", "postlayer"))
        where = dotted(path, "layer")
        layer = self.section(section.get("layer", {}), where, ("type", "keys", "args"))
        keys, rows = layer.get("keys", []), layer.get("args", [])
        for key, value in (("keys", keys), ("args", rows)):
            if not isinstance(value, list):
                self.report(dotted(where, key), f"expected a list, not {shown(value)}")
                return []
        blocks: list[Block] = []
        for i, row in enumerate(rows):
            values = row if isinstance(row, list) else [row]
            at = dotted(where, "args", i)
            if len(values) != len(keys):
                self.report(at, f"expected {len(keys)} values, one for each of keys, not {shown(row)}")
                continue
            blocks += self.blocks(section.get("prelayer") or [], dotted(path, "prelayer"))
            blocks.append(self.layer(layer.get("type"), dict(zip(map(str, keys), values)), at))
            blocks += self.blocks(section.get("postlayer") or [], dotted(path, "postlayer"))
        return blocks

    def layer(self, name: Any, keywords: Any, path: str) -> Layer:
        if not isinstance(keywords, dict):
            self.report(path, f"expected a section of keyword arguments, not {shown(keywords)}")
        elif name not in MODULES:
            hint = did_you_mean(str(name), MODULES)
            hint = hint or "; it may be a layer of torch.nn or a module of TorchArc"
            self.report(path, f"unknown class {shown(name)}{hint}")
        else:
            layer = Layer(path, name, {key: _plain(value) for key, value in keywords.items()})
            self.constructible(layer)
            return layer
        return Layer(path, str(name), {})

    def constructible(self, layer: Layer) -> None:
        """Unknown keyword arguments first; only where all are known is PyTorch asked about them."""
        parameters = inspect.signature(MODULES[layer.name]).parameters
        known = [key for key in parameters if key not in PLACED]
        anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        strange = [k for k in layer.keywords if k in PLACED or not (anything or k in known)]
        for key in strange:
            hint = did_you_mean(key, known) or f"; {layer.name} takes {listed(known) or 'none'}"
            self.report(dotted(layer.path, key), f"unknown key{hint}")
        if not strange:
            with torch.device("meta"):
                message = refusal(layer.build)
            if message:
                self.report(layer.path, f"{layer.name} cannot be made so: {message}")

    def input(self, data: Any, path: str) -> str:
        name = data[0] if isinstance(data, list) and len(data) == 1 else data
        if not isinstance(name, str):
            self.report(path, f"expected one name, that of the observation, not {shown(data)}")
            return ""
        return name

    def output(self, data: Any, path: str) -> str:
        """Of several outputs the first, which the heads read."""
        names = list(data.values()) if isinstance(data, dict) else data
        name = names[0] if isinstance(names, list) and names else names
        if not isinstance(name, str):
            self.report(path, f"expected the name of a node, not {shown(data)}")
            return ""
        return name

    def calls(self, data: Any, path: str) -> list[Call]:
        calls = []
        for node, arguments in self.section(data, path).items():
            where = dotted(path, node)
            names = list(names_in(arguments))
            if not isinstance(arguments, list | dict) or not names:
                self.report(where, f"expected a list or section of inputs, not {shown(arguments)}")
            elif not all(isinstance(name, str) for name in names):
                self.report(where, f"expected names of nodes, not {shown(arguments)}")
            else:
                calls.append(Call(where, node, node.partition("~")[0], arguments))
        return calls

    def wire(
        self, modules: dict[str, Block], source: str, calls: list[Call], output: str, path: str
    ) -> list[Call]:
        """The calls in an order in which each comes after those it takes the results of."""
        nodes = {call.node: call for call in calls}
        if source in nodes:
            self.report(nodes[source].path, "is the name of the input")
        for call in calls:
            if call.module not in modules:
                self.report(call.path, unknown("module", call.module, modules))
            for name in names_in(call.arguments):
                if name not in nodes and name != source:
                    self.report(call.path, unknown("node", name, [source, *nodes]))
        if output not in nodes:
            self.report(dotted(path, "graph.output"), unknown("node", output, nodes))
        called = {call.module for call in calls}
        for name in (name for name in modules if name not in called):
            self.report(dotted(path, "modules", name), "is not called in graph.modules")
        if self.problems:
            return []
        before = {call.node: list(names_in(call.arguments)) for call in calls}
        try:
            order = list(TopologicalSorter(before).static_order())
        except CycleError as error:
            circle = " → ".join(error.args[1])
            self.report(dotted(path, "graph.modules"), f"goes round in a circle: {circle}")
            return []
        return [nodes[name] for name in order if name in nodes]


def _plain(value: Any) -> Any:
    """A keyword argument as ``torch.nn`` takes it: numeric strings as numbers, lists as tuples."""
    return tuple(map(_plain, value)) if isinstance(value, list) else keyword(value)
