"""A spec as a search of it runs, and what has to be true of it before one starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from slm_lightning.errors import Problem, SpecError
from slm_lightning.spec.base import SpecModel
from slm_lightning.spec.dimension import Dimension
from slm_lightning.spec.load import RawSpec
from slm_lightning.spec.model import Spec
from slm_lightning.spec.search_params import Pruner, is_compared
from slm_lightning.spec.space import Space, one_line, without
from slm_lightning.spec.wording import listed, short, shown

LARGEST_GRID = 100_000
"""Settings of the largest grid that is tried whole."""
SESSIONS = "meta.max_session"
COMPONENTS = (
    ("agent.algorithm", "name"),
    ("agent.memory", "name"),
    ("agent.net", "type"),
    ("agent.critic_net", "type"),
)
"""Sections whose keys depend on what one of them names."""


def searched(raw: RawSpec, spec: Spec) -> tuple[Spec, list[str]]:
    """The spec as a search of it runs, and a sentence about each thing that is not as it was written.

    Where ``meta.search_scheduler`` decides, a trial is one session, as in SLM Lab, so ``max_session``
    is not drawn either; where it is drawn, trials cannot be compared session by session, so none is
    given up. Of a spec of SLM Lab, what nothing reads is not drawn, as its notes tell. A grid is tried
    whole unless ``max_trial`` says less. Raises SpecError.
    """
    meta, said, section = spec.meta, [], spec.search or {}
    if not raw.native:
        section = without(section, {dimension.key for dimension in unread(spec)})
    drawn = {dimension.key for dimension in Space.of(section).dimensions if dimension.path == SESSIONS}
    pruner, scheduler = meta.search.pruner, meta.search_scheduler
    if scheduler is not None and pruner is not None:
        said.append("meta.search_scheduler is not read: meta.search.pruner says what is given up")
    elif scheduler is not None and not meta.distributed:
        section = without(section, drawn)
        if drawn or meta.max_session > 1:
            said.append(f"{SESSIONS}: 1 in a search, as meta.search_scheduler compares single sessions")
        meta = meta.model_copy(update={"max_session": 1})
    elif drawn and pruner is None and not meta.distributed:
        search = meta.search.model_copy(update={"pruner": Pruner(name="none")})
        meta = meta.model_copy(update={"search": search})
    size = Space.of(section).size
    if meta.search.sampler.name == "grid" and size:
        meta = meta.model_copy(update={"max_trial": min(meta.max_trial or size, size)})
    return spec.model_copy(update={"meta": meta, "search": section}), said


def unread(spec: Spec) -> list[Dimension]:
    """The dimensions of a search that make no difference, since nothing reads what they draw; those
    that depend on another, and keys of a component that is itself drawn, may be read at times."""
    dimensions = Space.of(spec.search).dimensions
    drawn = {dimension.path for dimension in dimensions}
    at_times = tuple(f"{section}." for section, key in COMPONENTS if f"{section}.{key}" in drawn)
    return [
        dimension
        for dimension in dimensions
        if dimension.condition is None
        and not dimension.path.startswith(at_times)
        and not is_read(spec, dimension.path)
    ]


def is_read(spec: Spec, path: str) -> bool:
    """Whether a spec has the key at ``path``; where a section is absent or open, it may have any."""
    section: Any = spec
    for key in path.split("."):
        if not isinstance(section, SpecModel) or key in (section.model_extra or {}):
            return True
        if key not in type(section).model_fields:
            return section.model_config.get("extra") == "allow"
        section = getattr(section, key)
    return True


def check_search(spec: Spec) -> None:
    """Raises SpecError with all that keeps a search of ``spec``, as :func:`searched` gave it, from
    starting."""
    space = Space.of(spec.search)
    problems = [problem for rule in RULES for problem in rule(spec, space)]
    if problems:
        raise SpecError(problems)


def _something_to_draw(spec: Spec, space: Space) -> Iterator[Problem]:
    if not space.dimensions:
        message = 'names nothing to draw; write for example "agent.algorithm.gamma__uniform": [0.9, 1]'
        yield Problem("search", message)


def _trials(spec: Spec, space: Space) -> Iterator[Problem]:
    if spec.meta.search.sampler.name != "grid":
        if spec.meta.max_trial is None:
            yield Problem("meta.max_trial", "missing; a search needs the number of settings to try")
        return
    for dimension in space.dimensions:
        if dimension.size is None:
            message = "a grid needs finitely many values: write __choice, __quniform or __randint"
            yield Problem(f"search.{one_line(dimension.key)}", message)
    if space.size is not None and space.size > LARGEST_GRID:
        message = f"the grid has {short(space.size)} settings; the limit is {LARGEST_GRID}"
        yield Problem("search", message)


def _objectives(spec: Spec, space: Space) -> Iterator[Problem]:
    search = spec.meta.search
    if len(search.objectives) == 1:
        return
    several = f"with several objectives, {listed(search.objectives)},"
    if search.target is not None:
        yield Problem("meta.search.target", f"{several} there is no single one to reach it")
    if search.sampler.name == "cmaes":
        yield Problem("meta.search.sampler", f"{several} cmaes cannot draw; tpe can")
    if spec.pruner:
        where = "meta.search.pruner" if search.pruner else "meta.search_scheduler"
        yield Problem(where, f"{several} none tells which settings are hopeless; leave it out")


def _pruner(spec: Spec, space: Space) -> Iterator[Problem]:
    pruner, sessions = spec.pruner, spec.meta.sessions
    if not pruner or len(spec.meta.search.objectives) > 1:
        return
    where = "meta.search.pruner" if spec.meta.search.pruner else "meta.search_scheduler"
    for objective in spec.meta.search.objectives:
        if not is_compared(objective, pruner):
            yield Problem(
                where, f"{pruner.name} cannot go by {shown(objective)} (meta.search.objective)"
            )
        if pruner.by_frame and objective == "eval_score" and not spec.meta.rigorous_eval:
            message = f"{pruner.name} needs evaluations on the way to go by eval_score"
            yield Problem(where, f"{message}: meta.rigorous_eval says of how many episodes")
    if not spec.meta.search.pruner:
        return
    if pruner.by_frame and sessions > 1:
        message = f"{pruner.name} compares single sessions: expected 1 for {SESSIONS}, not {sessions}"
        yield Problem(where, f"{message}; wilcoxon compares several")
    if pruner.name == "wilcoxon" and sessions < 2:
        message = f"wilcoxon compares sessions: expected at least 2 for {SESSIONS}, not {sessions}"
        yield Problem(where, f"{message}; halving compares single ones")
    if pruner.by_frame and pruner.keywords["grace_period"] >= spec.env.max_frame:
        message = f"expected less than env.max_frame, {spec.env.max_frame}, when all is over"
        yield Problem(f"{where}.grace_period", message)
    for dimension in space.dimensions:
        if dimension.path == SESSIONS:
            message = f"trials of different numbers of sessions cannot be compared by {pruner.name}"
            yield Problem(f"search.{one_line(dimension.key)}", f"{message}, meta.search.pruner")


RULES = (_something_to_draw, _trials, _objectives, _pruner)
