"""What is made of an update that Dynamo has traced. This is for the compiler, which takes a second to
import; so is this file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, fx
from torch._inductor.compile_fx import compile_fx
from torch.nn import Parameter


def compiled(traced: fx.GraphModule, inputs: list[Any], options: dict[str, Any]) -> Callable[..., Any]:
    """``traced`` by TorchInductor with ``options``. Parameters that are parts of a vector which the
    graph has too are inputs no more: of inputs that share memory AOTAutograd would copy what is written
    to them, and make the views anew, in every call."""
    nodes = traced.graph.find_nodes(op="placeholder")
    given = dict(zip(nodes, inputs, strict=True))
    vectors = whole(given | held(traced))
    kept = []
    for node, value in given.items():
        vector = vectors.get(start(value)) if isinstance(value, Parameter) else None
        if vector is None or vector is node or not value.is_contiguous():
            kept.append(value)
        else:
            with traced.graph.inserting_before(body(traced.graph)):
                node.replace_all_uses_with(part(traced.graph, vector, value))
            traced.graph.erase_node(node)  # with it goes the input: Dynamo hands over what there are
    traced.recompile()
    graph: Any = compile_fx(traced, kept, config_patches=options)
    return graph


def held(traced: fx.GraphModule) -> dict[fx.Node, Any]:
    """What the graph holds itself, as all that an optimizer has once it has made a step."""
    nodes = traced.graph.find_nodes(op="get_attr")
    return {node: getattr(traced, str(node.target)) for node in nodes}


def whole(values: dict[fx.Node, Any]) -> dict[int, fx.Node]:
    """The vectors of parameters that are all there is in their memory, by where it begins."""
    return {
        start(value): node
        for node, value in values.items()
        if isinstance(value, Parameter)
        and value.dim() == 1
        and value.nbytes == value.untyped_storage().nbytes()
    }


def start(value: Tensor) -> int:
    """Where the memory begins in which ``value`` lies."""
    return value.untyped_storage().data_ptr()


def body(graph: fx.Graph) -> fx.Node:
    """The first node that is no input."""
    return next(node for node in graph.nodes if node.op != "placeholder")


def part(graph: fx.Graph, vector: fx.Node, value: Parameter) -> fx.Node:
    """The parameter ``value`` as a leaf that is part of ``vector``."""
    whole = vector if vector.op == "placeholder" else graph.node_copy(vector)
    flat = call(graph, call(graph, whole, "detach"), "narrow", 0, value.storage_offset(), value.numel())
    return call(graph, call(graph, flat, "view", value.shape), "requires_grad_", value.requires_grad)


def call(graph: fx.Graph, node: fx.Node, method: str, *args: Any) -> fx.Node:
    """A call of a method of ``node``, which knows what it gives."""
    made = graph.call_method(method, (node, *args))
    made.meta["example_value"] = getattr(node.meta["example_value"], method)(*args)
    return made
