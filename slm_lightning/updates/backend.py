"""What is made of an update that Dynamo has traced. This is for the compiler, which takes a second to
import; so is this file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, fx
from torch._inductor.compile_fx import compile_fx
from torch.nn import Parameter


def compiled(traced: fx.GraphModule, inputs: list[Any], options: dict[str, Any]) -> Callable[..., Any]:
    """``traced`` by TorchInductor with ``options``. Parameters that are parts of a vector among the
    ``inputs`` are none of their own any more: AOTAutograd would copy what a graph writes to inputs that
    share memory, and make the views anew, in every call."""
    nodes = traced.graph.find_nodes(op="placeholder")
    vectors = {
        start(value): node
        for node, value in zip(nodes, inputs, strict=True)
        if isinstance(value, Parameter) and is_whole(value)
    }
    kept = []
    for node, value in zip(nodes, inputs, strict=True):
        vector = vectors.get(start(value)) if isinstance(value, Parameter) else None
        if vector is None or vector is node:
            kept.append(value)
        else:
            with traced.graph.inserting_before(body(traced.graph)):
                node.replace_all_uses_with(part(traced.graph, vector, node, value))
            traced.graph.erase_node(node)  # with it goes the input: Dynamo hands over what there are
    traced.recompile()
    graph: Any = compile_fx(traced, kept, config_patches=options)
    return graph


def start(value: Tensor) -> int:
    """Where the memory begins in which ``value`` lies."""
    return value.untyped_storage().data_ptr()


def is_whole(value: Tensor) -> bool:
    """Whether ``value`` is a vector, and all that there is in its memory."""
    return value.dim() == 1 and value.nbytes == value.untyped_storage().nbytes()


def body(graph: fx.Graph) -> fx.Node:
    """The first node that is no input."""
    return next(node for node in graph.nodes if node.op != "placeholder")


def part(graph: fx.Graph, vector: fx.Node, node: fx.Node, value: Parameter) -> fx.Node:
    """The parameter ``value``, an input so far, as a leaf that is part of ``vector``."""
    layout = tuple(value.shape), value.stride(), value.storage_offset()
    apart = graph.call_method("detach", (vector,))
    apart.meta["example_value"] = vector.meta["example_value"]
    view = graph.call_method("as_strided", (apart, *layout))
    leaf = graph.call_method("requires_grad_", (view, value.requires_grad))
    view.meta["example_value"] = leaf.meta["example_value"] = node.meta["example_value"]
    return leaf
