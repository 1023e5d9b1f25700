"""How a search goes about it: the typed sections ``meta.search``, ``meta.search_resources`` and
``meta.search_scheduler``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from slm_lightning.spec.base import KeywordSpec, SpecModel
from slm_lightning.spec.numeric import Count, Float, Frame, Int, NonNegative, Positive
from slm_lightning.spec.wording import shown

Direction = Literal["maximize", "minimize"]
Factor = Annotated[Float, Field(gt=1, le=1000)]

WILCOXON_SESSIONS = 6
"""Sessions from which on a trial is given up early unless ``meta.search`` says otherwise: with fewer,
Wilcoxon's test hardly ever tells before the last of them."""


class TPE(SpecModel):
    """Tree-structured Parzen estimator (Bergstra et al., 2011; multivariate: Falkner et al., 2018)."""

    name: str = "tpe"
    n_startup_trials: Frame = 10
    """Trials drawn at random before the first estimate."""
    n_ei_candidates: Count = 24
    """Candidates of which the most promising is taken."""
    multivariate: bool = True
    """Parameters are drawn together; false draws each for itself."""


class AtRandom(SpecModel):
    """Each parameter for itself, at random."""

    name: str = "random"


class Grid(SpecModel):
    """Every setting once, in a shuffled order; every range needs a step."""

    name: str = "grid"


class CMAES(SpecModel):
    """Covariance matrix adaptation (Hansen, 2016) of the numbers; choices are drawn at random."""

    name: str = "cmaes"
    n_startup_trials: Frame = 1
    """Trials drawn at random before the first generation."""
    sigma0: Positive | None = None
    """First step size; null takes a sixth of the narrowest range."""
    popsize: Annotated[Int, Field(ge=2, le=10_000)] | None = None
    """Trials of a generation; null takes 4 + ⌊3 ln d⌋ for d numbers."""
    with_margin: bool = False
    """Keeps whole numbers and steps from settling too early (Hamano et al., 2022)."""


class GP(SpecModel):
    """A Gaussian process and its expected improvement."""

    name: str = "gp"
    n_startup_trials: Frame = 10
    """Trials drawn at random before the first estimate."""
    deterministic_objective: bool = False
    """Takes the values for exact; a score of few seeds is not."""


class QMC(SpecModel):
    """A scrambled Sobol sequence (Owen, 1998), which fills the space evenly."""

    name: str = "qmc"


class NoPruner(SpecModel):
    """No trial is given up early."""

    name: str = "none"


class Halving(SpecModel):
    """Asynchronous successive halving (Li et al., 2020) over the frames of single sessions."""

    name: str = "halving"
    grace_period: Count | None = None
    """Frames before a session may be stopped; null takes a tenth of ``env.max_frame``."""
    reduction_factor: Factor = 3.0
    """At each rung one session in so many goes on; rungs lie this factor apart."""


class Hyperband(Halving):
    """Successive halving in brackets that begin later and later (Li et al., 2018)."""

    name: str = "hyperband"
    brackets: Annotated[Int, Field(ge=1, le=10)] = 3
    """Brackets that the trials are dealt to in turn."""


class Median(SpecModel):
    """Stops what is worse than the median of the trials before it (Golovin et al., 2017)."""

    name: str = "median"
    grace_period: Count | None = None
    """Frames before a session may be stopped, and between two looks; null takes a tenth of
    ``env.max_frame``."""
    n_startup_trials: Count = 5
    """Trials that run to their end before one is stopped."""


class Wilcoxon(SpecModel):
    """Gives a trial up once its sessions are worse than those of the best trial, pair by pair
    (Wilcoxon, 1945)."""

    name: str = "wilcoxon"
    p_threshold: Annotated[Float, Field(gt=0, lt=1)] = 0.1
    """p-value below which it is given up."""
    n_startup_steps: Count = 2
    """Sessions that end before the first look."""


SAMPLERS: dict[str, type[SpecModel]] = {
    "tpe": TPE,
    "random": AtRandom,
    "grid": Grid,
    "cmaes": CMAES,
    "gp": GP,
    "qmc": QMC,
}
"""The samplers by name, each with its keywords."""
PRUNERS: dict[str, type[SpecModel]] = {
    "none": NoPruner,
    "halving": Halving,
    "hyperband": Hyperband,
    "median": Median,
    "wilcoxon": Wilcoxon,
}
"""The pruners by name, each with its keywords."""


OF_SESSIONS = frozenset(
    (
        *("strength", "max_strength", "final_strength", "stability"),
        *("sample_efficiency", "training_efficiency"),
    )
)
"""Metrics of the lab that a session has only at its end."""
OF_TRIALS = frozenset(
    (
        *("consistency", "score_ci_low", "score_ci_high", "score_std", "score_iqm", "score_min"),
        *("eval_score_ci_low", "eval_score_ci_high"),
    )
)
"""Metrics that only several sessions have together."""


class Chosen(KeywordSpec):
    """One of ``kinds`` by name, or a section with its ``name`` and keywords; those left out have their
    defaults. What the keywords may be is checked with the rest of the spec, against ``kinds``."""

    kinds: ClassVar[Mapping[str, type[SpecModel]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Any) -> Any:
        given = {"name": data} if isinstance(data, str) else data
        if not isinstance(given, dict):
            raise ValueError(f"expected a name, or a section with a name, not {shown(data)}")
        name = given.get("name")
        kind = cls.kinds.get(name) if isinstance(name, str) else None
        fields = kind.model_fields.items() if kind else ()
        return {**{key: field.default for key, field in fields}, **given}

    @property
    def keywords(self) -> dict[str, Any]:
        kind = self.kinds[self.name]
        return kind.model_validate(super().keywords).model_dump(exclude={"name"})


class Sampler(Chosen):
    """How settings are drawn."""

    kinds = SAMPLERS


class Pruner(Chosen):
    """How hopeless settings are given up."""

    kinds = PRUNERS

    @property
    def by_frame(self) -> bool:
        """Whether it compares learning curves; else it compares sessions, or nothing."""
        return "grace_period" in self.keywords


def _objectives(value: Any) -> Any:
    given = {value: "maximize"} if isinstance(value, str) else value
    sound = isinstance(given, dict) and given and all(given)
    if not sound or not all(how in ("maximize", "minimize") for how in given.values()):
        raise ValueError(
            'expected a metric, or metrics with "maximize" or "minimize" as in'
            f' {{"strength": "maximize"}}, not {shown(value)}'
        )
    return given


class SearchParams(SpecModel):
    """How settings are drawn, judged and given up."""

    sampler: Sampler = Sampler(name="tpe")
    """How settings are drawn: tpe, random, grid, cmaes, gp or qmc; a section adds keywords."""
    pruner: Pruner | None = None
    """How hopeless settings are given up: halving, hyperband or median by the frames of single
    sessions, wilcoxon by sessions, or none; a section adds keywords. Null takes what
    ``search_scheduler`` says, else wilcoxon from 6 sessions on."""
    objective: Annotated[
        dict[str, Direction],
        BeforeValidator(_objectives, json_schema_input_type=str | dict[str, Direction]),
    ] = Field(default={"score": "maximize"})
    """The metric to maximise, or metrics with ``maximize`` or ``minimize``, several of which give a
    Pareto front."""
    target: Float | None = None
    """Value of the objective that the search is to reach."""
    order: Literal["batch", "async"] = "batch"
    """``batch``: a setting depends on those a batch before it, whichever ends first; ``async``: on all
    that have ended, which is quicker and cannot be repeated."""
    batch: Annotated[Int, Field(ge=1, le=10_000)] = 4
    """Settings drawn at once, without knowing each other's results."""

    @property
    def objectives(self) -> dict[str, Direction]:
        """Whether more or less is better, by metric."""
        return dict(self.objective)


class SearchResources(SpecModel):
    """What one session takes of a machine."""

    cpu: Positive = 1.0
    """Cores; half a core and the like are allowed."""
    gpu: NonNegative = 0.0
    """GPUs, or a share of one; 0 where as many sessions as there are cores may share it."""
    memory: Positive | None = None
    """Memory in GiB; null estimates it."""


class SearchScheduler(SpecModel):
    """Successive halving as SLM Lab's specs ask for it; each trial is then one session."""

    unread: ClassVar[dict[str, str]] = {
        "time_attr": "times are frames",
        "max_t": "a session ends at env.max_frame",
        "metric": "meta.search.objective says what is compared",
        "mode": "meta.search.objective says what is compared",
    }

    grace_period: Count | None = None
    """Frames before a session may be stopped; null takes a tenth of ``env.max_frame``."""
    reduction_factor: Factor = 4.0
    """At each rung one session in so many goes on; rungs lie this factor apart."""
    brackets: Annotated[Int, Field(ge=1, le=10)] = 1
    """More than one make it Hyperband."""

    @model_validator(mode="before")
    @classmethod
    def _read(cls, data: Any) -> Any:
        known = isinstance(data, dict)
        return {k: v for k, v in data.items() if k not in cls.unread} if known else data


def is_compared(metric: str, pruner: Pruner) -> bool:
    """Whether ``pruner`` can go by ``metric``: one that looks at frames by the scores and by columns of
    a session's record, one that looks at sessions by all that a session has."""
    return metric not in (OF_TRIALS | OF_SESSIONS if pruner.by_frame else OF_TRIALS)


def pruner_in_force(
    search: SearchParams, scheduler: SearchScheduler | None, sessions: int, max_frame: int
) -> Pruner | None:
    """What gives hopeless settings up: the pruner of ``meta.search``, else what
    ``meta.search_scheduler`` asks for, else Wilcoxon's test where trials have enough sessions and there
    is one objective. ``grace_period`` is filled in."""
    if search.pruner is not None:
        found = search.pruner.model_dump()
    elif scheduler is not None:
        found = {"name": "hyperband" if scheduler.brackets > 1 else "halving", **dict(scheduler)}
        if scheduler.brackets == 1:
            found.pop("brackets")
    elif sessions >= WILCOXON_SESSIONS and len(search.objectives) == 1:
        found = {"name": "wilcoxon" if OF_TRIALS.isdisjoint(search.objectives) else "none"}
    else:
        found = {"name": "none"}
    if "grace_period" in found and found["grace_period"] is None:
        found["grace_period"] = max(1, max_frame // 10)
    return None if found["name"] == "none" else Pruner(**found)
