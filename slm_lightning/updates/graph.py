"""A compiled update, called by the shortest way."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._C._dynamo.guards import TensorGuards

from slm_lightning.algorithms.agent import Info


class Graph:
    """``compiled``, which ``torch.compile`` made of an update, as a function of the same tensors.

    Before each call Dynamo asks whether all that it traced is still so, and AOTAutograd makes the
    parameters anew that are views of one vector. For a small net that takes as long as its arithmetic.
    A call like an earlier one therefore goes straight to the code, with the state that it had then and
    the tensors that it is given. What a call does not show, as the modes of modules and which tensors
    are theirs, must not change meanwhile; wherever it may have, ``look_again``.
    """

    def __init__(self, compiled: Callable[..., Info]):
        self.compiled = compiled
        self.code: Callable[..., Any] | None = None
        """What the latest call came to that Dynamo looked at."""
        self.ways: list[Way] = []

    def __call__(self, *tensors: Any) -> Info:
        told: list[Any] = [torch.is_grad_enabled(), torch._C._is_any_autocast_enabled()]
        given: list[Tensor] = []
        flat(tensors, told, given)
        for way in self.ways:
            if way.fits(told, given):
                return way(given)
        with overheard() as calls:
            info = self.compiled(*tensors)
        code = calls[0].code if len(calls) == 1 else None
        if code is not None and code is self.code:  # nothing was traced anew: it has settled
            self.ways += straight(calls[0], told, given, info)
        self.code = code
        return info

    def look_again(self) -> None:
        """Lets Dynamo look at the next call, whatever it is like."""
        self.ways.clear()


class Call(NamedTuple):
    """A call of compiled code."""

    code: Any
    """``torch._inductor.output_code.CompiledFxGraph``"""
    inputs: list[Any]
    outputs: Sequence[Any]


@dataclass(frozen=True)
class Way:
    """How calls of one kind are made. A place is where something lies in a list."""

    run: Callable[[list[Any]], Sequence[Tensor]]
    inputs: list[Any]
    places: list[tuple[int, int]]
    """Of inputs that are handed over: among the inputs, among the tensors that are given."""
    told: list[Any]
    """What else was given."""
    count: int
    """How many tensors were given."""
    once: list[int]
    """Where each of them was given first."""
    twins: list[tuple[int, int]]
    """Places at which the same tensor was given twice, which is one input."""
    alike: TensorGuards
    """Asks whether a graph made for the tensors at ``once`` is one for others."""
    results: dict[str, int]
    """Places of metrics among the outputs."""

    def fits(self, told: list[Any], given: list[Tensor]) -> bool:
        """Whether a call with ``given``, and ``told`` beside them, is one of these."""
        return (
            len(given) == self.count
            and len(told) == len(self.told)
            and all(map(operator.is_, told, self.told))
            and all(given[i] is given[j] for i, j in self.twins)
            and self.alike.check(*[given[i] for i in self.once])
        )

    def __call__(self, given: list[Tensor]) -> Info:
        inputs = self.inputs.copy()  # a call empties the list
        for place, source in self.places:
            inputs[place] = given[source]
        with torch.no_grad(), torch._C._DisableAutocast():  # the code has its casts in it
            outputs = self.run(inputs)
        return {key: outputs[place] for key, place in self.results.items()}


def straight(call: Call, told: list[Any], given: list[Tensor], info: Info) -> list[Way]:
    """The way that ``call`` went from ``given`` to ``info``; none where more happened than its code
    says, or where what is given is written to or shares memory with the state."""
    first: dict[int, int] = {}
    pairs = [(first.setdefault(id(x), i), i) for i, x in enumerate(given)]
    places = [(i, first[id(x)]) for i, x in enumerate(call.inputs) if id(x) in first]
    handed = {place for place, _ in places}
    memory = {x.untyped_storage().data_ptr() for x in given}
    state = [x for i, x in enumerate(call.inputs) if i not in handed]
    outputs = {location(x): i for i, x in enumerate(call.outputs)}
    results = {key: location(x) for key, x in info.items()}
    unread = outputs.keys() - {*results.values(), *map(location, state)}
    if (
        any(not isinstance(x, Tensor) or x.untyped_storage().data_ptr() in memory for x in state)
        or any(isinstance(x, torch.nn.Parameter) for x in given)
        or handed & set(call.code.mutated_input_idxs)
        or unread
        or not outputs.keys() >= {*results.values()}
    ):
        return []
    inputs = [None if i in handed else x for i, x in enumerate(call.inputs)]
    once, twins = [i for i, j in pairs if i == j], [(i, j) for i, j in pairs if i != j]
    found = {key: outputs[at] for key, at in results.items()}
    run, alike = call.code.current_callable, guards([given[i] for i in once])
    return [Way(run, inputs, places, told, len(given), once, twins, alike, found)]


def flat(values: tuple[Any, ...], told: list[Any], given: list[Tensor]) -> None:
    """Adds the tensors among ``values`` to ``given`` and all else to ``told``, in which tuples are told
    by their types and lengths."""
    for value in values:
        if isinstance(value, Tensor):
            told.append(Tensor)
            given.append(value)
        elif isinstance(value, tuple):
            told += (type(value), len(value))
            flat(value, told, given)
        else:
            told.append(value)


def guards(tensors: list[Tensor]) -> TensorGuards:
    """Dynamo's own question whether other tensors, no two of which are one, are alike for a graph (of
    one type, dtype, device, shape, strides and want of gradients), at a thirtieth of what it costs in
    Python."""
    sizes = {"dynamic_dims_sizes": None, "dynamic_dims_strides": None}
    return TensorGuards(*tensors, **sizes)


def location(x: Any) -> tuple[Any, ...]:
    """What two names of one tensor have in common."""
    return (x.data_ptr(), x.shape, x.stride(), x.dtype) if isinstance(x, Tensor) else (id(x),)


@contextlib.contextmanager
def overheard() -> Iterator[list[Call]]:
    """The calls of compiled code that are made meanwhile."""
    from torch._inductor.output_code import CompiledFxGraph

    calls: list[Call] = []
    plain = CompiledFxGraph.__call__

    def listening(self: CompiledFxGraph, inputs: Sequence[Any]) -> Any:
        given = list(inputs)
        outputs = plain(self, inputs)
        calls.append(Call(self, given, outputs))
        return outputs

    CompiledFxGraph.__call__ = listening  # type: ignore[method-assign]
    try:
        yield calls
    finally:
        CompiledFxGraph.__call__ = plain  # type: ignore[method-assign]
