"""Searches for the tests of studies and experiments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from slm_lightning.api import prepare
from slm_lightning.lab.search.study import Ended, Study
from slm_lightning.spec.model import Spec
from slm_lightning.spec.space import Space
from tests.support import tiny

LR, LAM, WIDTHS = "agent.net.optim_spec.lr", "agent.algorithm.lam", "agent.net.hid_layers"
SPACE: dict[str, Any] = {
    f"{LR}__loguniform": [1e-4, 1e-1],
    f"{LAM}__uniform": [0.5, 1.0],
    f"{WIDTHS}__choice": [[8], [16], [8, 8]],
}


def search_spec(
    space: Mapping[str, Any] = SPACE, trials: int = 6, sessions: int = 1, **search: Any
) -> dict[str, Any]:
    """``tests.support.TINY`` with a search; ``search`` are keys of ``meta.search``."""
    spec = tiny(meta={"max_trial": trials, "max_session": sessions, "search": search})
    spec["tiny"]["search"] = dict(space)
    return spec


def planned(*arguments: Any, **options: Any) -> Spec:
    """The same as it is run."""
    return prepare(search_spec(*arguments, **options), mode="search").spec


def new_study(spec: Spec, storage: Any, is_new: bool = True) -> Study:
    return Study(spec, Space.of(spec.search), storage, "a study", is_new)


def finish(study: Study, value: Callable[[Mapping[str, Any]], float | None]) -> list[dict[str, Any]]:
    """Runs the study to its end, each trial worth ``value`` of its setting; returns the settings."""
    over: dict[int, Ended] = {}
    while study.has_room() or study.running():
        if study.has_room():
            number = study.ask()
            found = value(study.drawn(number))
            over[number] = Ended(None if found is None else [found])
        else:
            number = study.next_to_tell(over)
            study.tell(number, over[number])
    return [study.drawn(number) for number in range(study.limit)]
