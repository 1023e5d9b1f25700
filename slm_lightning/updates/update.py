"""The update: loss, gradients, clipping, step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from slm_lightning.algorithms.agent import Info, Step
from slm_lightning.data.workers import Workers
from slm_lightning.nets.net import Learner
from slm_lightning.updates.compiling import as_graph, refusal, troubles, uncollected
from slm_lightning.updates.graph import Graph
from slm_lightning.updates.heap import keep_freed
from slm_lightning.updates.stepper import Stepper

Loss = Callable[..., tuple[Tensor, Info]]


class Updates:
    """``updates(names, loss_fn, *tensors, then=steps)``: one step of the named optimizers on
    ``loss_fn(*tensors) -> (loss, info)``, and those that follow it; returns the info, detached, with
    the norms of gradients that are clipped.

    With ``compiled`` such steps become one graph, when they are first asked for by their names and
    losses. What changes from one update to the next then has to be a tensor of theirs, or of a module.

    The gradients are those of the mean of the workers' losses. They are averaged here, all in one
    message, and not by hooks of ``DistributedDataParallel``: its reducer expects one forward and
    one backward of the whole module, and an update is often a loss of some of the nets.
    """

    def __init__(
        self,
        learners: Mapping[str, Learner],
        workers: Workers,
        compiled: bool = False,
        precision: str = "32-true",
    ):
        keep_freed()
        self.steppers = {name: Stepper(learner, compiled) for name, learner in learners.items()}
        self.workers, self.compiled = workers, compiled
        self.mixed = precision == "bf16-mixed"
        devices = (stepper.vectors[0].device.type for stepper in self.steppers.values())
        self.device_type = next(devices, "cpu")
        self.graphs: dict[tuple[Step, ...], Graph] = {}

    def __call__(
        self, names: tuple[str, ...], loss_fn: Loss, *tensors: Any, then: Sequence[Step] = ()
    ) -> Info:
        """Raises MissingError where the update cannot be compiled on this machine, StorageError where
        its disk is full."""
        steps = ((names, loss_fn), *(step[:2] for step in then))
        operands = (tensors, *(step[2:] for step in then))
        if not self.compiled:
            return self.in_turn(steps, operands)
        graph = self.graphs.get(steps)
        try:
            return graph(*operands) if graph else self._first(steps, operands)
        except troubles() as error:
            raise refusal("the update", error) from error

    def _first(self, steps: tuple[Step, ...], operands: tuple[Any, ...]) -> Info:
        device = self.steppers[steps[0][0][0]].vectors[0].device
        with uncollected():
            graph = Graph(as_graph(lambda *operands: self.in_turn(steps, operands), device))  # type: ignore[arg-type]
            info = graph(*operands)
        self.graphs[steps] = graph
        return info

    def look_again(self) -> None:
        """To be called where more may have changed than the contents of tensors."""
        for graph in self.graphs.values():
            graph.look_again()

    def autocast(self) -> AbstractContextManager[Any]:
        """In which nets compute as ``meta.precision`` says. No cast of a weight is kept: where one such
        context lies within another it would outlive the step that changes the weight."""
        if not self.mixed:
            return nullcontext()
        return torch.autocast(self.device_type, torch.bfloat16, cache_enabled=False)

    def in_turn(self, steps: Sequence[Step], operands: Sequence[tuple[Any, ...]]) -> Info:
        """One step after the other."""
        info: Info = {}
        for (names, loss_fn), tensors in zip(steps, operands):
            if names:
                info |= self.update(names, loss_fn, *tensors)
            else:
                with torch.no_grad():
                    loss_fn(*tensors)
        return info

    def update(self, names: tuple[str, ...], loss_fn: Loss, *tensors: Any) -> Info:
        """A step itself. A parameter that the loss does not depend on has gradient 0."""
        steppers = {name: self.steppers[name] for name in names}
        parameters = [p for stepper in steppers.values() for p in stepper.parameters]
        with self.autocast():
            loss, info = loss_fn(*tensors)
        gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
        self.workers.average(gradients)
        info = {key: value.detach() for key, value in info.items()}
        done = 0
        for name, stepper in steppers.items():
            start, done = done, done + len(stepper.parameters)
            norm = stepper(gradients[start:done])
            if norm is not None:
                info[f"grad_norm/{name}"] = norm
        return info
