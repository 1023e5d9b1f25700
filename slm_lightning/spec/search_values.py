"""Whether what a search may draw can run, found out before it starts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, product
from typing import Any

from slm_lightning.errors import Problem, SpecError
from slm_lightning.spec.dimension import Dimension
from slm_lightning.spec.load import RawSpec
from slm_lightning.spec.model import Spec
from slm_lightning.spec.registry import Registry
from slm_lightning.spec.resolve import resolve
from slm_lightning.spec.search import is_read
from slm_lightning.spec.space import Space, base_of, one_line, substituted
from slm_lightning.spec.wording import shown

Drawn = dict[str, Any]

MOST_CONTEXTS = 10
"""Values of what a dimension depends on at which its own are looked at."""
MOST_SETTINGS = 100
"""Values of others that are tried with one that cannot run by itself."""
MOST_FAULTS = 5
"""Values of one dimension whose problems are told."""


def check_values(raw: RawSpec, spec: Spec, registry: Registry) -> list[Problem]:
    """Values that a search may draw and that cannot run, each by the key of ``search``.

    Both ends of every range, a value between them and every option are put into the spec, with what
    they depend on; a problem counts that no other value takes away.
    """
    values = _Values(raw, spec, registry)
    return [found for dimension in values.dimensions for found in values.problems(dimension)]


class _Values:
    """Puts values of a space into a spec and sees what it says to them."""

    def __init__(self, raw: RawSpec, spec: Spec, registry: Registry):
        self.name, self.base, self.registry = raw.name, base_of(raw, spec), registry
        self.dimensions = Space.of(spec.search).dimensions
        self.by_path = {dimension.path: dimension for dimension in self.dimensions}

    def problems(self, dimension: Dimension) -> Iterator[Problem]:
        """What is wrong with values of a dimension."""
        tried = [
            {**context, dimension.path: value}
            for value in dimension.probes
            for context in islice(self._contexts(dimension), MOST_CONTEXTS)
        ]
        found: dict[Problem, list[str]] = {}
        for drawn in tried:
            for problem in self._certain(drawn, dimension.path):
                found.setdefault(problem, []).append(shown(drawn[dimension.path]))
            if len(found) >= MOST_FAULTS:
                break
        told = MOST_FAULTS if dimension.kind == "choice" else 1
        for (path, message), values in islice(found.items(), told):
            at = "" if len(values) == len(tried) else f"at {', '.join(dict.fromkeys(values))}: "
            where = "" if path == dimension.path else f"{path}: "
            yield Problem(f"search.{one_line(dimension.key)}", f"{at}{where}{message}")

    def _contexts(self, dimension: Dimension) -> Iterator[Drawn]:
        """What has to be drawn of others so that the dimension is drawn."""
        conditions = []
        while dimension.condition:
            conditions.append(dimension.condition)
            dimension = self.by_path[dimension.condition.path]
        for values in product(*(condition.values for condition in conditions)):
            yield {condition.path: value for condition, value in zip(conditions, values)}

    def _certain(self, drawn: Drawn, path: str) -> list[Problem]:
        """What is wrong with ``drawn`` where no other value makes it run: what is said of ``path``, and
        of other keys what no other value takes away."""
        elsewhere = self._problems(drawn, path)
        own: dict[str, Problem] = {}
        for whole in ({}, *islice(self._settings(drawn), MOST_SETTINGS)) if elsewhere else ():
            found = self._problems({**whole, **drawn}, path)
            if not found:
                return []
            for problem in found:
                if problem.path == path or problem.path.startswith(f"{path}."):
                    own.setdefault(problem.path, problem)
            remaining = {problem.path for problem in found} - own.keys()
            elsewhere = [problem for problem in elsewhere if problem.path in remaining]
        return [*own.values(), *elsewhere]

    def _settings(self, drawn: Drawn) -> Iterator[Drawn]:
        """``drawn`` together with each value of each other dimension, and with the first of all, the
        second of all, and so on."""
        others = [d for d in self.dimensions if d.path not in drawn]
        for other in others:
            if other.active(drawn):
                yield from ({**drawn, other.path: value} for value in other.probes)
        for i in range(max((len(other.probes) for other in others), default=0)):
            whole = dict(drawn)
            for other in others:
                if other.active(whole):
                    whole[other.path] = other.probes[: i + 1][-1]
            yield whole

    def _problems(self, drawn: Drawn, path: str) -> list[Problem]:
        """What is wrong with the spec at ``drawn``, where ``path`` is to be read."""
        try:
            data = substituted(self.base, drawn)
            spec = resolve(RawSpec(self.name, data, native=True), self.registry)
        except SpecError as error:
            return error.problems
        read = is_read(spec, path)
        return [] if read else [Problem(path, "nothing reads it, so it makes no difference")]
