"""A spec as a search of it runs, and what keeps one from starting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slm_lightning.errors import SpecError
from slm_lightning.registry import REGISTRY
from slm_lightning.spec.dimension import SEARCHABLE
from slm_lightning.spec.load import RawSpec, load_spec
from slm_lightning.spec.model import Spec
from slm_lightning.spec.notes import notes
from slm_lightning.spec.resolve import resolve, resolve_dict
from slm_lightning.spec.schema import json_schema
from slm_lightning.spec.search import check_search, searched
from slm_lightning.spec.search_params import PRUNERS, SAMPLERS, SearchParams
from slm_lightning.spec.search_values import check_values
from slm_lightning.spec.space import Space, base_of
from tests.spec.conftest import PPO, set_at
from tests.spec.test_schema import accepts

GAMMA = {"agent.algorithm.gamma__uniform": [0.9, 0.999]}
SESSIONS = {"meta.max_session__choice": [2, 4]}
STALE = {"agent": {"algorithm": {"clip_eps__uniform": [0.1, 0.4]}, "net": {"lr_decay__choice": [1, 2]}}}


def read(search: dict[str, Any], /, native: bool = True, **meta: Any) -> tuple[RawSpec, Spec]:
    data = set_at(PPO, "search", search)
    data["meta"] |= {"max_trial": 8, **meta} | ({"seed": 0} if native else {})
    raw = load_spec(
        {"test": {**data, "meta": {k: v for k, v in data["meta"].items() if v is not None}}}
    )
    return raw, resolve(raw, REGISTRY)


def problems(search: dict[str, Any], /, **meta: Any) -> dict[str, str]:
    """What keeps a search from starting."""
    try:
        check_search(searched(*read(search, **meta))[0])
    except SpecError as error:
        return dict(error.problems)
    return {}


def test_a_search_runs_as_it_is_written():
    raw, spec = read(GAMMA | SESSIONS, search={"pruner": "none"})
    assert searched(raw, spec) == (spec, [])
    assert not problems(GAMMA)


@pytest.mark.parametrize("native", [True, False])
def test_a_scheduler_compares_single_sessions(native):
    raw, spec = read(GAMMA | SESSIONS, native, search_scheduler={"grace_period": 10})
    assert spec.meta.max_session == 4
    found, (said,) = searched(raw, spec)
    assert said.startswith("meta.max_session: 1 in a search")
    assert found.meta.max_session == 1 and found.search == GAMMA
    assert base_of(raw, found)["meta"]["max_session"] == 1
    assert found.pruner and found.pruner.name == "halving"
    check_search(found)
    assert searched(*read(GAMMA, native, search_scheduler={}, max_session=1))[1] == []


def test_workers_of_one_model_stay():
    spec, said = searched(*read(GAMMA, search_scheduler={}, max_session=2, distributed="synced"))
    assert spec.meta.workers == 2 and not said and spec.pruner


def test_a_pruner_wins_over_a_scheduler():
    spec, said = searched(*read(GAMMA, search_scheduler={}, search={"pruner": "wilcoxon"}))
    assert spec.meta.max_session == 4 and spec.pruner and spec.pruner.name == "wilcoxon"
    assert said == ["meta.search_scheduler is not read: meta.search.pruner says what is given up"]


def test_trials_of_different_sizes_are_not_compared():
    raw, spec = read(GAMMA | SESSIONS, max_session=8)
    assert spec.pruner and searched(raw, spec)[0].pruner is None
    message = problems(GAMMA | SESSIONS, search={"pruner": "wilcoxon"})[
        "search.meta.max_session__choice"
    ]
    assert "cannot be compared by wilcoxon" in message


def test_a_search_stays_the_same_when_it_is_stored():
    raw, spec = read(GAMMA | STALE | SESSIONS, native=False, search_scheduler={})
    found, _ = searched(raw, spec)
    again = resolve_dict(found.to_dict(), REGISTRY)
    assert again == found
    assert searched(RawSpec("test", raw.data, native=False), again) == (found, [])


def test_the_example_of_the_documentation_runs():
    text = (Path(__file__).parents[2] / "docs" / "search.md").read_text()
    raw = load_spec(json.loads(text.partition("```json")[2].partition("```")[0]))
    spec, said = searched(raw, resolve(raw, REGISTRY))
    check_search(spec)
    assert not said and not notes(raw, spec) and not check_values(raw, spec, REGISTRY)
    assert accepts(json_schema(REGISTRY), {raw.name: raw.data})
    names = [*SAMPLERS, *PRUNERS, *SEARCHABLE, *SearchParams.model_fields]
    names += [key for kind in (*SAMPLERS.values(), *PRUNERS.values()) for key in kind.model_fields]
    assert not [
        name for name in names if name != "name" and f"`{name}`" not in text.replace("search.", "")
    ]


class TestUnread:
    def test_of_slm_lab_it_is_not_drawn_as_a_note_tells(self):
        raw, spec = read(GAMMA | STALE, native=False)
        assert [note.partition(":")[0] for note in notes(raw, spec)] == [
            "search.agent.algorithm.clip_eps__uniform",
            "search.agent.net.lr_decay__choice",
        ]
        found, _ = searched(raw, spec)
        assert [d.path for d in Space.of(found.search).dimensions] == ["agent.algorithm.gamma"]

    def test_what_is_read_at_times_is_drawn(self):
        net = {
            "agent.net.type__choice": ["MLPNet", "RecurrentNet"],
            "agent.net.cell_type__choice": ["GRU", "LSTM"],
            "agent.net.rnn_hidden_size__randint__if__agent.net.type=RecurrentNet": [8, 64],
            "env.continuous__choice": [True, False],
        }
        raw, spec = read(net, native=False)
        assert not notes(raw, spec)
        assert searched(raw, spec)[0].search == net

    def test_what_depends_on_another_alone_is_not_dropped(self):
        search = GAMMA | {"agent.net.cell_type__choice__if__env.num_envs=4": ["GRU"]}
        search |= {"env.num_envs__choice": [4, 8]}
        assert searched(*read(search, native=False))[0].search == search


class TestCheck:
    @pytest.mark.parametrize("search", [{}, {"agent": {"net": {}}}])
    def test_nothing_to_draw(self, search):
        assert "names nothing to draw" in problems(search)["search"]

    def test_the_number_of_trials(self):
        assert problems(GAMMA, max_trial=None) == {
            "meta.max_trial": "missing; a search needs the number of settings to try"
        }

    def test_all_at_once(self):
        found = problems({}, max_trial=None, search={"pruner": "median"})
        assert set(found) == {"search", "meta.max_trial", "meta.search.pruner"}

    @pytest.mark.parametrize("max_trial, tried", [(None, 12), (5, 5), (100, 12)])
    def test_a_grid_is_tried_whole(self, max_trial, tried):
        search = {
            "env.num_envs__choice": [1, 2, 4],
            "agent.algorithm.time_horizon__qrandint": [32, 128, 32],
        }
        raw, spec = read(search, max_trial=max_trial, search={"sampler": "grid"})
        found, _ = searched(raw, spec)
        check_search(found)
        assert found.meta.max_trial == tried

    def test_a_grid_has_an_end(self):
        huge = {f"env.key{i}__randint": [0, 10] for i in range(6)}
        found = problems(GAMMA | huge, search={"sampler": "grid"}, max_trial=None)
        assert list(found) == ["search.agent.algorithm.gamma__uniform"]
        assert "finitely many values" in found["search.agent.algorithm.gamma__uniform"]
        found = problems(huge, search={"sampler": "grid"})
        assert found == {"search": "the grid has 1e6 settings; the limit is 100000"}

    @pytest.mark.parametrize("name", ["halving", "hyperband", "median"])
    def test_learning_curves_of_single_sessions(self, name):
        message = problems(GAMMA, search={"pruner": name})["meta.search.pruner"]
        assert message.startswith(f"{name} compares single sessions: expected 1")
        assert not problems(GAMMA, search={"pruner": name}, max_session=1)
        assert not problems(GAMMA, search={"pruner": name}, max_session=2, distributed="synced")

    def test_sessions_of_one_trial_cannot_be_compared(self):
        message = problems(GAMMA, search={"pruner": "wilcoxon"}, max_session=1)["meta.search.pruner"]
        assert "expected at least 2 for meta.max_session, not 1" in message
        assert not problems(GAMMA, search={"pruner": "wilcoxon"}, max_session=2)

    def test_a_grace_period_ends_before_the_session(self):
        search = {"pruner": {"name": "median", "grace_period": 200_000}}
        found = problems(GAMMA, search=search, max_session=1)
        assert "expected less than env.max_frame, 200000" in found["meta.search.pruner.grace_period"]

    def test_several_objectives(self):
        two = {"objective": {"score": "maximize", "consistency": "minimize"}}
        assert not problems(GAMMA, search=two, max_session=8)
        found = problems(GAMMA, search=two | {"target": 1, "sampler": "cmaes", "pruner": "wilcoxon"})
        assert set(found) == {f"meta.search.{key}" for key in ("target", "sampler", "pruner")}
        assert all("consistency, score" in message for message in found.values())
        assert set(problems(GAMMA, search=two, search_scheduler={})) == {"meta.search_scheduler"}
