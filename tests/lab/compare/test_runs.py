"""Runs as samples of seeds, read from real records."""

from __future__ import annotations

import math

import pytest

from slm_lightning.errors import UsageError
from slm_lightning.lab.baselines import SHIPPED, read_table
from slm_lightning.lab.compare.comparison import compare
from slm_lightning.lab.compare.runs import Contender, contenders
from slm_lightning.lab.result import Result
from slm_lightning.tracking import Record
from tests.lab.compared import FRAMES, record_trial
from tests.lab.search_record import RANDOM, RecordedSearch

LOW, HIGH = [100.0, 110, 95, 105, 90], [200.0, 210, 195, 205, 190]


def read(record: Record, *runs: str, metric: str = "score") -> list[Contender]:
    return contenders(runs, record, metric)


def test_a_real_trial_is_a_sample_of_its_sessions(finished: Result, finished_record: Record):
    (trial,) = read(finished_record, finished.run_id)
    assert trial.values.tolist() == [s.scalars["score"] for s in finished.sessions]
    assert [seed.status for seed in trial.seeds] == ["done", "done"]
    assert (trial.environment, trial.max_frame, trial.log_frequency) == ("CartPole-v1", 1984, 200)
    assert (trial.label, trial.method, trial.kind) == (finished.name, "ActorCritic", "trial")
    assert trial.random == pytest.approx(read_table(SHIPPED)["CartPole-v1"].mean)
    for seed, session in zip(trial.seeds, finished.sessions):
        assert seed.history["frame"].tolist() == session.metrics["frame"].tolist()


def test_real_sessions_are_compared_and_nothing_is_claimed(finished: Result, finished_record: Record):
    names = [session.run_id for session in finished.sessions]
    comparison = compare(names, finished_record)
    (found,) = comparison.differences
    first, second = (session.scalars["score"] for session in finished.sessions)
    assert found.difference == pytest.approx(second - first)
    assert found.verdict == "not shown"
    assert not comparison.refusals


@pytest.mark.parametrize("metric", ["eval_score", "strength", "entropy", "total_reward_ma"])
def test_any_metric_or_column_of_a_real_session(finished: Result, finished_record: Record, metric):
    (trial,) = read(finished_record, finished.run_id, metric=metric)
    for seed, session in zip(trial.seeds, finished.sessions):
        known = session.scalars.get(metric)
        last = session.metrics[metric].iloc[-1] if metric in session.metrics else None
        assert seed.value == pytest.approx(known if known is not None else last)


def test_a_metric_that_nobody_has_is_refused(finished: Result, finished_record: Record):
    with pytest.raises(UsageError, match='no session has a metric "scroe"') as error:
        read(finished_record, finished.run_id, metric="scroe")
    assert "eval_score" in error.value.hint and "entropy" in error.value.hint


def test_what_is_no_number_is_no_metric(record: Record):
    run = record_trial(record, "low", LOW)
    with pytest.raises(UsageError, match='no session has a metric "state"') as error:
        read(record, run, metric="state")
    assert "total_reward_ma" in error.value.hint and "state" not in error.value.hint


def test_a_run_and_its_own_session_are_the_same_seeds(finished: Result, finished_record: Record):
    with pytest.raises(UsageError, match="are the same seeds"):
        compare([finished.run_id, finished.sessions[0].run_id], finished_record)


def test_one_run_alone_is_refused(finished: Result, finished_record: Record):
    with pytest.raises(UsageError, match="nothing to be compared with"):
        compare([finished.run_id], finished_record)


def test_trials_by_name_and_under_a_name_of_ones_own(record: Record):
    record_trial(record, "low", LOW)
    high = record_trial(record, "high", HIGH)
    comparison = compare(["low_t0", f"ours={high[:8]}"], record)
    first, second = comparison.contenders
    assert (first.label, first.method) == ("low_t0", "ActorCritic")
    assert (second.label, second.method) == ("ours", "ours")
    assert comparison.differences[0].sentence.startswith(
        "ours is better than low_t0 in CartPole-v1: +100 "
    )


def test_runs_of_one_name_are_told_apart(record: Record):
    ids = [record_trial(record, "same", LOW), record_trial(record, "same", HIGH)]
    assert [c.label for c in read(record, *ids)] == [f"same_t0 {run_id[:8]}" for run_id in ids]


@pytest.mark.parametrize(
    ("end", "reason"), [("failed", "failed: why"), ("stopped", "stopped: why"), ("running", "running")]
)
def test_a_session_that_is_not_done_is_missing(record: Record, end, reason):
    run_id = record_trial(record, "one", LOW, {1: end})
    (found,) = read(record, run_id)
    assert found.values == pytest.approx([100, 95, 105, 90])
    (missing,) = found.missing
    assert (missing.session, missing.status, missing.reason) == (1, end, reason)


def test_a_session_without_a_finished_episode_is_missing(record: Record):
    (found,) = read(record, record_trial(record, "one", [*LOW, math.nan]))
    assert [seed.reason for seed in found.missing] == ["has no score"]


def test_a_session_that_was_never_begun_is_missing(record: Record):
    other = record_trial(record, "other", HIGH)
    comparison = compare([record_trial(record, "one", LOW, max_session=7), other], record)
    assert [seed.reason for seed in comparison.contenders[0].missing] == ["was never begun"] * 2
    assert comparison.differences[0].verdict == "no verdict"


@pytest.mark.parametrize(("reached", "counts"), [(300.0, RANDOM.mean), (5.0, 5.0)])
def test_a_diverged_session_counts_as_no_better_than_random(record: Record, reached, counts):
    run_id = record_trial(record, "one", [*LOW, reached], {5: "diverged"})
    (found,) = read(record, run_id)
    assert not found.missing
    assert found.values[5] == pytest.approx(counts)
    notes = compare([run_id, record_trial(record, "two", HIGH)], record).notes
    (note,) = notes
    assert note.startswith("one_t0: session 5 diverged, and counts as no better than random")


def test_what_a_diverged_session_counts_for_is_unknown_for_other_metrics(record: Record):
    run_id = record_trial(record, "one", LOW, {0: "diverged"})
    (found,) = read(record, run_id, metric="stability")
    assert [seed.status for seed in found.missing] == ["diverged"]
    (found,) = read(record, run_id, metric="strength")
    assert found.values[0] == 0


def test_infinity_is_no_score(record: Record):
    run_id = record_trial(record, "one", LOW)
    session = record.children(run_id)[0].run_id
    record.client.log_metric(session, "score", math.inf, step=FRAMES)
    (found,) = read(record, run_id)
    assert [seed.reason for seed in found.missing] == ["has no score"]


def test_an_environment_is_its_name_and_arguments(record: Record):
    ids = [
        record_trial(record, "plain", LOW),
        record_trial(record, "short", LOW, env={"max_t": 100}),
        record_trial(record, "wide", LOW, env={"num_envs": 8, "normalize_obs": True}),
    ]
    names = [c.environment for c in read(record, *ids)]
    assert names == ["CartPole-v1", 'CartPole-v1 {"max_t": 100}', "CartPole-v1"]


def search(record: Record) -> RecordedSearch:
    found = RecordedSearch(record, sessions=5)
    found.add(0, worth=lambda drawn: 100)
    found.add(1, worth=lambda drawn: 300)
    found.add(2, worth=lambda drawn: 200)
    found.add(3, "failed", "it broke")
    return found


def test_an_experiment_is_its_best_trial_and_that_is_optimistic(record: Record):
    found = search(record)
    low = record_trial(record, "low", LOW, env={"max_frame": 10_000})
    comparison = compare([low, found.finish()], record)
    best = comparison.contenders[1]
    assert (best.kind, best.label, best.chosen_among) == ("experiment", "ppo_cartpole_t1", 3)
    assert len(best.values) == 5
    (note,) = comparison.notes
    assert "trial 1, the best of 3 trials by score on these seeds: its score is optimistic" in note
    (difference,) = comparison.differences
    assert difference.ci_low > 0 and difference.p < 0.05
    assert difference.verdict == "not shown"
    assert "was chosen among 3 trials on these very seeds" in difference.reason


def test_a_confirmed_experiment_is_its_confirmation(record: Record):
    found = search(record)
    found.add(4, confirms=1, worth=lambda drawn: 290)
    low = record_trial(record, "low", LOW, env={"max_frame": 10_000})
    comparison = compare([low, found.finish()], record)
    assert comparison.contenders[1].label == "ppo_cartpole_confirm"
    assert comparison.notes == ["ppo_cartpole_confirm: repeats trial 1 of the search with fresh seeds."]
    assert comparison.differences[0].verdict == "better"


def test_a_search_trial_by_its_own_name_is_noted(record: Record):
    search(record)
    (found,) = read(record, "ppo_cartpole_t2")
    assert found.chosen_among == 0
    assert "one setting of a search" in found.notes[0]


def test_an_experiment_without_a_finished_trial_is_refused(record: Record):
    found = RecordedSearch(record)
    found.add(0, "failed", "it broke")
    with pytest.raises(UsageError, match="no trial of ppo_cartpole has finished"):
        read(record, found.finish("failed"))


def test_methods_over_two_environments(record: Record):
    runs = [
        f"{method}={record_trial(record, f'{method}_{i}', scores, env={'name': env})}"
        for i, env in enumerate(["CartPole-v1", "Acrobot-v1"])
        for method, scores in (("base", LOW), ("ours", HIGH))
    ]
    comparison = compare(runs, record)
    assert [d.verdict for d in comparison.differences] == ["better", "better"]
    assert comparison.overall is not None
    base, ours = comparison.overall.methods
    assert (base.name, ours.name) == ("base", "ours")
    assert [c.label for c in comparison.contenders] == ["base", "ours"] * 2
    assert comparison.title == "base · ours in 2 environments"
    assert ours.iqm == pytest.approx(1, abs=0.01)
    assert base.iqm == pytest.approx((100 - RANDOM.mean) / (200 - RANDOM.mean), abs=0.01)
