"""What a search found is what its record says, and only finished trials are among the best."""

from __future__ import annotations

import math
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slm_lightning.errors import UsageError
from slm_lightning.lab.report.findings import Findings, dominates, findings, place, short_names
from slm_lightning.lab.report.known_scores import best_known
from slm_lightning.spec.space import Space
from slm_lightning.tracking import Record
from tests.conftest import isolate
from tests.lab.made_findings import found, trial
from tests.lab.search_record import (
    GAMMA,
    LAYERS,
    LR,
    MAX_FRAME,
    SEARCH,
    RecordedSearch,
    draw,
    recorded,
    skill,
)

UNFINISHED = [
    trial(1, 999.0, status="pruned"),
    trial(2, status="failed", score=999.0),
    trial(3, status="diverged"),
    trial(4, 999.0, status="stopped"),
    trial(5, 999.0, status="running"),
    trial(6, math.nan),
    trial(7, math.inf),
]


@pytest.fixture(scope="module")
def searched(empty_record, tmp_path_factory) -> tuple[Record, Findings]:
    """A search of 16 trials whose best is confirmed, with what was found."""
    root = tmp_path_factory.mktemp("searched") / "mlruns"
    shutil.copytree(empty_record, root)
    with pytest.MonkeyPatch.context() as monkeypatch:
        isolate(monkeypatch, root)
        record = Record()
        search = recorded(record, confirm=4)
        search.add(16, confirms=search.best, sessions=4)
        return record, findings(record, search.finish())


def test_trials_are_as_recorded(searched):
    _, seen = searched
    assert [t.number for t in seen.trials] == list(range(16))
    assert seen.counts == {"done": 12, "pruned": 2, "failed": 1, "diverged": 1}
    assert all(t.drawn == draw(t.number) for t in seen.trials)
    done = [t for t in seen.trials if t.status == "done"]
    assert all(t.values == (t.metric("score"),) for t in done)
    assert all((t.sessions, t.frames) == (2, 2 * MAX_FRAME) for t in done)
    assert seen.trials[3].reason == "ValueError: the environment broke"
    assert (seen.trials[3].values, seen.trials[3].sessions) == ((), 0)
    assert seen.trials[6].frames == 2 * 3000


def test_the_best_are_those_with_the_highest_score(searched):
    _, seen = searched
    ranked = sorted((t for t in seen.trials if t.status == "done"), key=lambda t: -t.values[0])
    assert list(seen.best) == ranked
    assert list(seen.top) == ranked[:3]
    assert seen.best[0].number == max((t.number for t in ranked), key=lambda n: skill(draw(n)))


def test_the_confirmation_is_no_trial_of_the_search(searched):
    _, seen = searched
    assert seen.confirmation is not None
    assert seen.confirmation.confirms == seen.best[0].number
    assert seen.confirmation.drawn == seen.best[0].drawn
    assert seen.confirmation.sessions == seen.confirm == 4
    low, high = seen.confirmation.interval("score")
    assert low < seen.confirmation.values[0] < high
    assert seen.confirmation not in seen.trials


def test_what_was_searched_and_for_what(searched):
    record, seen = searched
    assert seen.dimensions == Space.of(SEARCH).dimensions
    assert seen.labels == {LR: "lr", GAMMA: "gamma", LAYERS: "hid_layers"}
    assert seen.objectives == {"score": "maximize"}
    assert (seen.environment, seen.algorithm, seen.status) == ("CartPole-v1", "ActorCritic", "done")
    assert (seen.planned, seen.max_frame) == (16, MAX_FRAME)
    run = record.get(seen.run_id)
    assert 0 < seen.seconds <= (run.end - run.start).total_seconds()


def test_without_a_target_the_threshold_of_the_environment_counts(searched):
    _, seen = searched
    target, known = seen.goals
    assert (target.name, target.value, target.metric) == ("target", 475.0, "score")
    assert (known.name, known.value) == ("best known score", best_known("CartPole-v1").score)
    assert "PPO" in known.source and "200" in known.source


def test_the_target_of_the_spec_comes_first(record):
    asked = {"objective": {"strength": "maximize"}, "target": 12.5}
    search = RecordedSearch(record, **asked)
    target, known = findings(record, search.run_id).goals
    assert (target.value, target.metric) == (12.5, "strength")
    assert known.metric == "score"


def test_an_environment_that_nobody_knows_has_no_goals(record):
    search = RecordedSearch(record, env="tests/Nowhere-v0")
    assert findings(record, search.run_id).goals == ()


def test_a_trial_at_work_and_one_whose_process_is_gone(record):
    search = RecordedSearch(record)
    search.add(0, "running")
    gone = search.add(1, "running")
    record.finish(gone, "KILLED")
    seen = findings(record, search.run_id)
    assert [t.status for t in seen.trials] == ["running", "stopped"]
    assert (seen.status, seen.best, seen.confirmation) == ("running", (), None)


def test_the_status_of_a_search_is_what_its_last_process_said(record):
    search = RecordedSearch(record)
    search.add(0)
    assert findings(record, search.run_id).status == "running"
    record.set_tags(search.run_id, {"slm.status": "stopped"})
    assert findings(record, search.run_id).status == "stopped"


def test_a_trial_is_no_search(record):
    search = RecordedSearch(record)
    with pytest.raises(UsageError, match="is a trial, not a search"):
        findings(record, search.add(0))


def test_what_is_not_finished_is_never_best():
    good = trial(8, -5.0)
    assert found(*UNFINISHED).best == ()
    assert found(*UNFINISHED, good).best == (good,)


def test_less_is_better_where_the_spec_says_so_and_the_first_of_equals_is():
    trials = trial(0, 3.0), trial(1, 1.0), trial(2, 2.0), trial(3, 1.0)
    seen = found(*trials, objectives={"score": "minimize"})
    assert [t.number for t in seen.best] == [1, 3, 2, 0]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=20))
def test_the_pareto_front_is_what_nothing_beats(points):
    trials = [trial(i, float(a), float(b)) for i, (a, b) in enumerate(points)]
    seen = found(*trials, objectives={"score": "maximize", "frames": "minimize"})
    better = {
        t.number: any(
            o.values[0] >= t.values[0] and o.values[1] <= t.values[1] and o.values != t.values
            for o in trials
        )
        for t in trials
    }
    assert {t.number for t in seen.best} == {number for number, beaten in better.items() if not beaten}
    assert [t.values[0] for t in seen.best] == sorted((t.values[0] for t in seen.best), reverse=True)


def test_of_a_long_front_both_ends_and_the_middle_are_shown():
    trials = [trial(i, float(i), float(-i)) for i in range(5)]
    seen = found(*trials, objectives={"score": "maximize", "loss": "maximize"})
    assert [t.number for t in seen.top] == [4, 2, 0]


def test_a_point_dominates_another_where_it_is_nowhere_worse():
    assert dominates((1, 2), (1, 3))
    assert not dominates((1, 2), (1, 2))
    assert not dominates((1, 3), (2, 2))


def test_the_confirmation_is_the_latest_of_a_setting_that_is_shown():
    trials = [trial(i, float(10 - i)) for i in range(5)]
    old, new = trial(5, 9.0, confirms=1), trial(6, 8.0, confirms=0)
    other = trial(7, 5.0, confirms=4)
    assert found(*trials, confirmations=[old, new, other]).confirmation is new
    assert found(*trials, confirmations=[other]).confirmation is None


def test_the_three_most_frequent_reasons():
    reasons = ["a"] * 2 + ["b"] * 3 + ["c"] + [""] * 4
    trials = [trial(i, status="failed", reason=reason) for i, reason in enumerate(reasons)]
    pruned = [trial(20 + i, status="pruned", reason="hopeless") for i in range(9)]
    assert found(*trials, *pruned).reasons == [("no reason recorded", 4), ("b", 3), ("a", 2)]


def test_metrics_are_the_objectives_and_what_there_is():
    seen = found(trial(0, 1.0, 2.0, stability=0.5), objectives={"score": "maximize", "kl": "minimize"})
    assert seen.metrics == ("kl", "score", "stability")
    assert seen.value(seen.trials[0], "kl") == 2.0
    assert math.isnan(seen.value(trial(1, status="failed"), "kl"))


def test_options_that_look_alike_are_told_apart():
    (dimension,) = Space.of({"a__choice": [1, True, "1", [1], None]}).dimensions
    assert [place(option, dimension) for option in dimension.choices] == [0, 1, 2, 3, 4]
    assert place(1.0, dimension) == 0


def test_short_names():
    paths = ["agent.net.optim_spec.lr", "agent.critic_net.optim_spec.lr", "env.lr", "gamma"]
    assert list(short_names(paths).values()) == [
        "net.optim_spec.lr",
        "critic_net.optim_spec.lr",
        "env.lr",
        "gamma",
    ]
    assert short_names(["a.b", "b"]) == {"a.b": "a.b", "b": "b"}


@given(st.sets(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(".".join), max_size=8))
def test_short_names_are_tails_and_differ(paths):
    names = short_names(sorted(paths))
    assert len(set(names.values())) == len(paths)
    assert all(path == name or path.endswith("." + name) for path, name in names.items())
