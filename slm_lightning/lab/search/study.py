"""Optuna's side of an experiment: which setting comes next, and what became of those before.

A setting is drawn in a copy of the study in memory and then stored in one step, so that a process
killed at any moment leaves either the whole setting or nothing. What is drawn is a function of the
spec, the number of the trial, and the trials that the study knows.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Container, Mapping, Sequence
from typing import Any, NamedTuple

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import WilcoxonPruner
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from slm_lightning.core import Keys, Stream
from slm_lightning.errors import UsageError
from slm_lightning.lab.search.designs import grid_point, quasi_random_point
from slm_lightning.lab.search.pruning import Known
from slm_lightning.lab.search.storage import guarded
from slm_lightning.spec.model import Spec
from slm_lightning.spec.space import Dimension, Space

SAMPLERS: dict[str, type[BaseSampler]] = {
    "tpe": TPESampler,
    "random": RandomSampler,
    "cmaes": CmaEsSampler,
    "gp": GPSampler,
}
DESIGNS = {"grid": grid_point, "qmc": quasi_random_point}
RUN, DRAWN, PRUNED = "run_id", "drawn", "pruned"
"""Attributes of a stored trial: its run in the record, its setting, and that it was given up."""

optuna.logging.set_verbosity(optuna.logging.ERROR)  # warns of each value that CMA-ES leaves to chance
warnings.filterwarnings("ignore", category=ExperimentalWarning)  # group, Wilcoxon


class Ended(NamedTuple):
    """What became of a trial: ``values`` by objective (None: it failed), and those on the way by
    frame or by session."""

    values: list[float] | None
    on_the_way: Mapping[int, float] = {}
    pruned: bool = False


class Study:
    """The trials of one experiment in the storage.

    Args:
        name: the experiment's run id, so that no two experiments ever share a study.
        is_new: make the study. Else UsageError is raised where the storage does not have it.
    """

    def __init__(self, spec: Spec, space: Space, storage: BaseStorage, name: str, is_new: bool = True):
        self.spec, self.space, self.storage = spec, space, storage
        self.search, self.pruner = spec.meta.search, spec.pruner
        self.directions = list(self.search.objectives.values())
        self.distributions = {d.path: distribution(d) for d in space.dimensions}
        with guarded(storage):
            if is_new:
                optuna.create_study(storage=storage, study_name=name, directions=self.directions)
            try:
                self.study = optuna.load_study(storage=storage, study_name=name)
            except KeyError:
                raise UsageError(
                    "the study of this search is not in the storage", "give the --storage it began with"
                ) from None

    @property
    def trials(self) -> list[FrozenTrial]:
        """Every trial by its number."""
        with guarded(self.storage):
            return self.study.get_trials(deepcopy=False)

    def ask(self) -> int:
        """Draws the next setting; returns its number."""
        trials = self.trials
        number = len(trials)
        params, attributes = self._draw(number, trials)
        trial = create_trial(
            state=TrialState.RUNNING,
            params=params,
            distributions={path: self.distributions[path] for path in params},
            user_attrs={DRAWN: json.dumps(self._read(params))},
            system_attrs=attributes,
        )
        with guarded(self.storage):
            self.study.add_trial(trial)
        return number

    @property
    def limit(self) -> int:
        """Settings to try."""
        assert self.spec.meta.max_trial is not None
        return self.spec.meta.max_trial

    def running(self) -> list[int]:
        """The numbers of the trials that are drawn and not told, ascending."""
        return [trial.number for trial in self.trials if trial.state is TrialState.RUNNING]

    def has_room(self) -> bool:
        """Whether another setting is to be drawn now."""
        running, count = len(self.running()), len(self.trials)
        return count < self.limit and running < self.search.batch

    def next_to_tell(self, over: Container[int]) -> int | None:
        """Which of the trials that are ``over`` is to be told now: in batch order only the first that
        runs, so that it depends on nothing else which trials are known when one is drawn."""
        running = self.running()
        if self.search.order == "batch":
            running = running[:1]
        return next((number for number in running if number in over), None)

    def known(self, number: int) -> list[FrozenTrial]:
        """The trials that count where trial ``number`` is judged: in batch order those that were told
        when it was drawn."""
        told = [trial for trial in self.trials if trial.state.is_finished()]
        if self.search.order == "async":
            return told
        return [trial for trial in told if trial.number <= number - self.search.batch]

    def reached(self, number: int) -> list[Known]:
        """What those trials had reached on their way."""
        judged = [t for t in self.known(number) if t.state is not TrialState.FAIL]
        return [Known(trial.number, trial.intermediate_values) for trial in judged]

    def drawn(self, number: int) -> dict[str, Any]:
        """The setting of a trial: values by their paths in the spec."""
        return json.loads(self.trials[number].user_attrs[DRAWN])

    def run_of(self, number: int) -> str | None:
        """The run of a trial in the record, where it has one yet."""
        return self.trials[number].user_attrs.get(RUN)

    def set_run(self, number: int, run_id: str) -> None:
        """Remembers the run of a trial."""
        trial_id = self.trials[number]._trial_id
        with guarded(self.storage):
            self.storage.set_trial_user_attr(trial_id, RUN, run_id)

    def tell(self, number: int, ended: Ended) -> None:
        """What became of a trial. One without finite values has failed, and is never the best."""
        trial_id = self.trials[number]._trial_id
        with guarded(self.storage):
            self._tell(number, trial_id, ended)

    def _tell(self, number: int, trial_id: int, ended: Ended) -> None:
        if len(self.directions) == 1:
            for step, value in ended.on_the_way.items():
                self.storage.set_trial_intermediate_value(trial_id, step, value)
        if ended.pruned:
            self.storage.set_trial_user_attr(trial_id, PRUNED, True)
        values = ended.values
        if values is None or not all(map(math.isfinite, values)):
            self.study.tell(number, state=TrialState.FAIL)
        elif ended.pruned and self.pruner and self.pruner.by_frame:
            self.study.tell(number, state=TrialState.PRUNED)
        else:
            self.study.tell(number, values)

    def finished(self) -> list[FrozenTrial]:
        """The trials with values that were not given up, by number."""
        complete = (trial for trial in self.trials if trial.state is TrialState.COMPLETE)
        return [trial for trial in complete if not trial.user_attrs.get(PRUNED)]

    def best(self) -> int | None:
        """The number of the best trial; None where all failed. Of several objectives the first decides,
        and the next where that is equal."""
        signs = [-1 if direction == "minimize" else 1 for direction in self.directions]

        def worth(trial: FrozenTrial) -> list[float]:
            return [sign * value for sign, value in zip(signs, trial.values)]

        found = max(self.finished(), key=worth, default=None)
        return None if found is None else found.number

    def is_hopeless(self, number: int, values: Sequence[float]) -> bool:
        """Whether trial ``number``, whose first sessions came to ``values``, is worse than the best of
        those known to it, session by session, as Wilcoxon's test says."""
        assert self.pruner is not None
        pruner = WilcoxonPruner(**self.pruner.keywords)
        view = optuna.create_study(directions=self.directions, pruner=pruner)
        known = {trial.number for trial in self.known(number)}
        complete = [trial for trial in self.finished() if trial.number in known]
        if not complete:
            return False
        sign = -1 if self.directions[0] == "minimize" else 1
        view.add_trial(max(complete, key=lambda trial: sign * trial.values[0]))
        trial = view.ask()
        for session, value in enumerate(values):
            trial.report(value, session)
        return trial.should_prune()

    def _draw(self, number: int, trials: Sequence[FrozenTrial]) -> tuple[dict[str, Any], Any]:
        """The next setting as Optuna's parameters, and what the sampler wants kept of it."""
        sampler = self.search.sampler
        keys = Keys(self.spec.meta.seed)
        if sampler.name in DESIGNS:
            seed = keys.seed_for(Stream.SEARCH)
            drawn = DESIGNS[sampler.name](self.space, seed, number)
            return {path: self._label(path, value) for path, value in drawn.items()}, {}
        options: dict[str, Any] = {"seed": keys.seed_for(Stream.SEARCH, number), **sampler.keywords}
        if sampler.name == "cmaes":
            options["warn_independent_sampling"] = False  # of choices; the documentation says so
        if sampler.name == "tpe":
            conditional = any(d.condition for d in self.space.dimensions)
            options["group"] = conditional and options["multivariate"]
        view = optuna.create_study(
            directions=self.directions, sampler=SAMPLERS[sampler.name](**options)
        )
        view.add_trials(trials)
        trial = view.ask()
        for dimension in self.space.dimensions:
            if dimension.active(self._read(trial.params)):
                suggest(trial, dimension.path, self.distributions[dimension.path])
        return trial.params, view.get_trials(deepcopy=False)[number].system_attrs

    def _read(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Optuna's parameters as values of the spec."""
        by_path = {d.path: d for d in self.space.dimensions}
        return {path: unlabelled(by_path[path], value) for path, value in params.items()}

    def _label(self, path: str, value: Any) -> Any:
        dimension = next(d for d in self.space.dimensions if d.path == path)
        return label(value) if dimension.kind == "choice" else value


def distribution(dimension: Dimension) -> BaseDistribution:
    """A dimension of the space in Optuna's terms. Options are known by their labels, because Optuna
    stores no lists and takes 1 for True."""
    if dimension.kind == "choice":
        return CategoricalDistribution([label(option) for option in dimension.choices])
    step = None if dimension.log else dimension.step
    if dimension.kind == "int":
        low, high = int(dimension.low), int(dimension.high)
        return IntDistribution(low, high, log=dimension.log, step=int(step or 1))
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=step)


def suggest(trial: Trial, path: str, distribution: BaseDistribution) -> None:
    """Draws one parameter."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            trial.suggest_categorical(path, choices)
        case IntDistribution(low=low, high=high, step=step, log=log):
            trial.suggest_int(path, low, high, step=step, log=log)
        case FloatDistribution(low=low, high=high, step=step, log=log):
            trial.suggest_float(path, low, high, step=step, log=log)


def label(option: Any) -> str:
    """How Optuna knows an option: its JSON, text without its quotes where that is no other JSON."""
    if isinstance(option, str):
        try:
            json.loads(option)
        except ValueError:
            return option
    return json.dumps(option)


def unlabelled(dimension: Dimension, value: Any) -> Any:
    """The value of the spec for Optuna's ``value``."""
    if dimension.kind == "choice":
        return next(option for option in dimension.choices if label(option) == value)
    return dimension.finish(value)
