"""Studies: what is drawn depends on nothing but the spec and what is known, and failures never win."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from slm_lightning.lab.search.storage import open_storage
from slm_lightning.lab.search.study import Ended, label
from tests.lab.searching import LAM, LR, SPACE, WIDTHS, finish, new_study, planned

SAMPLERS = ["tpe", "random", "cmaes", "gp", "qmc"]
QUANTISED = {f"{LAM}__quniform": [0.5, 1.0, 0.25], f"{WIDTHS}__choice": [[8], [16]]}


def bowl(drawn: dict[str, Any]) -> float:
    """Highest at lr 0.01 and λ 0.9."""
    return -((math.log10(drawn[LR]) + 2) ** 2) - 10 * (drawn[LAM] - 0.9) ** 2


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_same_spec_draws_the_same_settings(sampler: str) -> None:
    spec = planned(trials=16, sampler={"name": sampler})
    one, other = (finish(new_study(spec, InMemoryStorage()), bowl) for _ in range(2))
    assert one == other
    assert len({label(setting) for setting in one}) == 16
    reseeded = spec.model_copy(update={"meta": spec.meta.model_copy(update={"seed": 4})})
    assert finish(new_study(reseeded, InMemoryStorage()), bowl) != one


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_values_are_of_the_space(sampler: str) -> None:
    for setting in finish(new_study(planned(trials=16, sampler=sampler), InMemoryStorage()), bowl):
        assert 1e-4 <= setting[LR] <= 1e-1
        assert 0.5 <= setting[LAM] <= 1.0
        assert setting[WIDTHS] in ([8], [16], [8, 8])


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "gp", "qmc"])
def test_which_trial_ends_first_changes_nothing(sampler: str) -> None:
    spec = planned(trials=16, sampler=sampler)
    settings = finish(new_study(spec, InMemoryStorage()), bowl)
    for seed in range(3):
        chance = random.Random(seed)
        study, over = new_study(spec, InMemoryStorage()), {}
        while study.has_room() or study.running():
            if study.has_room():
                study.ask()
            elif (number := study.next_to_tell(over)) is not None:
                study.tell(number, over[number])
            else:
                ended = chance.choice([n for n in study.running() if n not in over])
                over[ended] = Ended([bowl(study.drawn(ended))])
        assert [study.drawn(number) for number in range(16)] == settings


def test_a_study_goes_on_where_another_process_left_it(tmp_path: Path) -> None:
    spec = planned(trials=14)
    whole = finish(new_study(spec, InMemoryStorage()), bowl)
    for left_at in (0, 3, 11):
        root = tmp_path / str(left_at)
        study = new_study(spec, open_storage(None, root))
        while study.has_room() and len(study.trials) < left_at:
            study.ask()
        while study.running() and len(study.trials) < left_at:
            study.tell(study.running()[0], Ended([bowl(study.drawn(study.running()[0]))]))
            study.ask()
        again = new_study(spec, open_storage(None, root), is_new=False)
        over = {n: Ended([bowl(again.drawn(n))]) for n in again.running()}
        for number in list(over):
            if again.next_to_tell(over) is not None and not again.has_room():
                again.tell(number, over.pop(number))
        while again.has_room() or again.running():
            if again.has_room():
                number = again.ask()
                over[number] = Ended([bowl(again.drawn(number))])
            else:
                number = again.next_to_tell(over)
                again.tell(number, over[number])
        assert [again.drawn(number) for number in range(14)] == whole


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", pytest.param("gp", marks=pytest.mark.slow)])
def test_the_optimum_is_found(sampler: str) -> None:
    spec = planned(trials=60, sampler=sampler)
    study = new_study(spec, InMemoryStorage())
    finish(study, bowl)
    best = study.drawn(study.best())
    at_random = new_study(planned(trials=60, sampler="random"), InMemoryStorage())
    finish(at_random, bowl)
    assert 0.005 < best[LR] < 0.02
    assert abs(best[LAM] - 0.9) < 0.05
    assert bowl(best) >= bowl(at_random.drawn(at_random.best()))


def test_a_grid_is_tried_whole_and_once() -> None:
    spec = planned(space=QUANTISED, trials=None, sampler="grid")
    assert spec.meta.max_trial == 6
    settings = finish(new_study(spec, InMemoryStorage()), lambda drawn: drawn[LAM])
    found = {(setting[LAM], tuple(setting[WIDTHS])) for setting in settings}
    assert found == {(lam, width) for lam in (0.5, 0.75, 1.0) for width in ((8,), (16,))}


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "grid"])
def test_a_conditional_dimension_is_drawn_where_its_condition_holds(sampler: str) -> None:
    space = {
        f"{WIDTHS}__choice": [[8], [16]],
        f"{LAM}__quniform__if__{WIDTHS}=[16]": [0.5, 1.0, 0.25],
    }
    spec = planned(space=space, trials=None if sampler == "grid" else 16, sampler=sampler)
    settings = finish(new_study(spec, InMemoryStorage()), lambda drawn: drawn.get(LAM, 0.0))
    assert {LAM in setting for setting in settings} == {True, False}
    assert all((setting[WIDTHS] == [16]) == (LAM in setting) for setting in settings)
    if sampler == "grid":
        assert len(settings) == 4


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_has_no_finite_value_has_failed_and_is_never_the_best(value: float | None) -> None:
    study = new_study(planned(trials=4, objective={"score": "minimize"}), InMemoryStorage())
    values = iter([value, 3.0, value, 2.0])
    finish(study, lambda drawn: next(values))
    states = [trial.state for trial in study.trials]
    assert states == [TrialState.FAIL, TrialState.COMPLETE] * 2
    assert study.best() == 3


def test_a_trial_that_was_given_up_is_never_the_best() -> None:
    spec = planned(trials=2, sessions=4, pruner="wilcoxon")
    study = new_study(spec, InMemoryStorage())
    study.ask(), study.ask()
    study.tell(0, Ended([1.0], dict.fromkeys(range(4), 1.0)))
    study.tell(1, Ended([5.0], {0: 5.0, 1: 5.0}, pruned=True))
    assert study.best() == 0


def test_options_of_every_type_come_back_as_they_were() -> None:
    options = [1, True, "1", "true", None, [1, [2.5]], {"name": "Adam"}, 1.5, "relu", "[1]"]
    assert len({label(option) for option in options}) == len(options)
    spec = planned(trials=4)
    study = new_study(spec, InMemoryStorage())
    (choice,) = (d for d in study.space.dimensions if d.kind == "choice")
    object.__setattr__(choice, "choices", tuple(options))
    spec = study.spec
    again = type(study)(spec, study.space, InMemoryStorage(), "mixed")
    again.spec = spec.model_copy(update={"meta": spec.meta.model_copy(update={"max_trial": 60})})
    drawn = [setting[WIDTHS] for setting in finish(again, lambda drawn: 0.0)]
    assert {label(value) for value in drawn} <= set(map(label, options))
    assert {type(value) for value in drawn} >= {int, bool, str, list}


def test_wilcoxon_gives_up_what_is_worse_session_by_session() -> None:
    spec = planned(trials=8, sessions=8)
    assert spec.pruner is not None and spec.pruner.name == "wilcoxon"
    study = new_study(spec, InMemoryStorage())
    for _ in range(4):
        study.ask()
    best = {session: 100.0 + session for session in range(8)}
    study.tell(0, Ended([103.5], best))
    study.ask()
    assert not study.is_hopeless(1, [0.0] * 7)  # it does not know trial 0, which ran beside it
    assert not study.is_hopeless(4, [0.0, 0.0])  # too few to say
    assert study.is_hopeless(4, [0.0] * 5)
    assert not study.is_hopeless(4, [101.0, 99.0, 104.0, 102.0, 107.0])


def test_the_storage_is_one_that_other_tools_of_optuna_read(tmp_path: Path) -> None:
    study = new_study(planned(trials=5, space=SPACE), open_storage(None, tmp_path))
    finish(study, bowl)
    loaded = optuna.load_study(study_name="a study", storage=open_storage(None, tmp_path))
    assert loaded.best_trial.number == study.best()
    assert loaded.best_value == bowl(study.drawn(study.best()))
