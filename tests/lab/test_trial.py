"""A trial from its spec to its record: what is in it, and that it can be had again to the bit."""

from __future__ import annotations

import json
import math
import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from slm_lightning import run
from slm_lightning.api import Where, prepare
from slm_lightning.lab.graphs import write_png
from slm_lightning.lab.result import Result
from slm_lightning.lab.trial import Trial, read_metrics
from slm_lightning.tracking import Record, flatten
from tests.support import (
    FRAMES,
    REPOSITORY,
    assert_same_numbers,
    checkpoint,
    equal,
    numbers,
    tiny,
)

pytestmark = pytest.mark.usefixtures("no_pictures")

LEARNED = {"loss", "policy_loss", "value_loss", "entropy", "lr", "fps", "opt_step", "epi", "wall_t"}
SCORES = {"score", "eval_score", "strength", "max_strength", "final_strength"}
SESSION_SCORES = SCORES | {"sample_efficiency", "training_efficiency", "stability"}


def again(record: Record, spec: object, **options) -> Result:
    return run(spec, say=lambda text: None, **options)


def defined(scalars: dict[str, float]) -> dict[str, float]:
    """Those that are not n/a, which MLflow does not keep."""
    return {name: value for name, value in scalars.items() if not math.isnan(value)}


class TestRecord:
    """What others rely on: names, tags, parameters, metrics by frame, artifacts."""

    def test_a_trial_is_a_run_with_a_run_below_it_for_each_session(
        self, finished: Result, finished_record: Record
    ) -> None:
        trial, sessions = (
            finished_record.get(finished.run_id),
            finished_record.children(finished.run_id),
        )
        assert (trial.name, trial.kind, trial.experiment, trial.parent) == (
            "tiny_t0",
            "trial",
            "tiny",
            None,
        )
        assert [s.name for s in sessions] == ["tiny_t0_s0", "tiny_t0_s1"]
        assert {(s.kind, s.experiment, s.parent) for s in sessions} == {
            ("session", "tiny", trial.run_id)
        }
        assert [s.run_id for s in sessions] == [s.run_id for s in finished.sessions]
        assert {run.status for run in [trial, *sessions]} == {"FINISHED"}
        assert all(run.start <= run.end for run in [trial, *sessions] if run.end)
        assert len(finished_record.runs()) == 3

    def test_tags(self, finished: Result, finished_record: Record) -> None:
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=REPOSITORY, text=True, capture_output=True, check=False
        )
        common = {
            "slm.trial": "0",
            "slm.seed": "3",
            "slm.mode": "train",
            "slm.env": "CartPole-v1",
            "slm.algorithm": "ActorCritic",
            "slm.status": "done",
            "mlflow.source.git.commit": head.stdout.strip() or "none",
        }
        runs = [finished_record.get(finished.run_id), *finished_record.children(finished.run_id)]
        for tags in (info.tags for info in runs):
            assert common.items() <= tags.items()
            assert tags["slm.git.dirty"] in ("true", "false")
        assert [info.tags.get("slm.session") for info in runs] == [None, "0", "1"]

    def test_parameters_are_the_resolved_spec(self, finished: Result, finished_record: Record) -> None:
        resolved = json.loads(
            finished_record.download(finished.run_id, "spec_resolved.json").read_text()
        )
        expected = {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in flatten(resolved).items()
            if not key.startswith(("search", "meta.search", "meta.max_trial"))
        }
        assert expected["agent.algorithm.gamma"] == "0.99"
        assert expected["env.name"] == "CartPole-v1"
        for run_id in [finished.run_id, *(s.run_id for s in finished.sessions)]:
            assert finished_record.get(run_id).params == expected

    def test_metrics_by_frame(self, finished: Result, finished_record: Record) -> None:
        for session in finished.sessions:
            table = session.metrics
            assert table["frame"].tolist() == FRAMES
            assert set(table) >= LEARNED | {"total_reward", "total_reward_ma", "entropy_coef"}
            for key in ("total_reward", "total_reward_ma"):
                history = finished_record.client.get_metric_history(session.run_id, key)
                points = sorted((point.step, point.value) for point in history)
                assert points == list(zip(table["frame"], table[key]))
            latest = finished_record.get(session.run_id).metrics
            last = table.iloc[-1]
            assert {key: latest[key] for key in LEARNED} == {key: last[key] for key in LEARNED}
            assert latest["eval/return"] == last["eval/return"]
            assert latest["eval/episodes"] == 30

    def test_the_metrics_of_the_lab(self, finished: Result, finished_record: Record) -> None:
        for session in finished.sessions:
            logged = finished_record.get(session.run_id).metrics
            assert set(session.scalars) == SESSION_SCORES
            assert session.scalars["score"] == pytest.approx(
                session.metrics["total_reward_ma"].iloc[-1]
            )
            assert session.scalars["eval_score"] == session.metrics["eval/return"].iloc[-1]
            assert defined(session.scalars).items() <= logged.items()
        logged = finished_record.get(finished.run_id).metrics
        assert defined(finished.scalars).items() <= logged.items()
        mean = sum(s.scalars["score"] for s in finished.sessions) / 2
        assert logged["score"] == pytest.approx(mean)
        assert (logged["sessions"], logged["sessions_planned"]) == (2, 2)

    def test_the_trial_has_the_mean_curves(self, finished: Result, finished_record: Record) -> None:
        for key in ("total_reward", "total_reward_ma"):
            history = finished_record.client.get_metric_history(finished.run_id, key)
            curve = {point.step: point.value for point in history}
            columns = [s.metrics.set_index("frame")[key] for s in finished.sessions]
            assert curve == pytest.approx(((columns[0] + columns[1]) / 2).to_dict())

    def test_artifacts(self, finished: Result, finished_record: Record) -> None:
        session = {
            "checkpoints/ckpt-best.ckpt",
            "checkpoints/ckpt-last.ckpt",
            "graphs/session.html",
            "metrics.jsonl",
            "spec_resolved.json",
            "tables/metrics.csv",
        }
        trial = {
            "graphs/trial.html",
            "provenance/command.txt",
            "provenance/machine.json",
            "provenance/requirements.txt",
            "spec.json",
            "spec_resolved.json",
            "tables/metrics.csv",
            "tables/trial.csv",
        }
        optional = {"graphs/session.png", "graphs/trial.png", "provenance/git.diff"}
        for s in finished.sessions:
            assert set(finished_record.artifacts(s.run_id)) - optional == session
        assert set(finished_record.artifacts(finished.run_id)) - optional == trial
        given = json.loads(finished_record.download(finished.run_id, "spec.json").read_text())
        assert given == tiny()

    def test_graphs(self, finished: Result, finished_record: Record, tmp_path: Path) -> None:
        page = finished_record.download(finished.run_id, "graphs/trial.html").read_text()
        assert "tiny_t0" in page and "Plotly.newPlot" in page
        assert not re.search(r'<script[^>]* src="http', page), "the page must not need a network"
        assert sorted(finished.figures) == ["session_0", "session_1", "trial"]
        if write_png({tmp_path / "trial.png": finished.figures["trial"]}):
            for run_id, name in [(finished.run_id, "trial"), (finished.sessions[1].run_id, "session")]:
                picture = finished_record.download(run_id, f"graphs/{name}.png").read_bytes()
                assert picture.startswith(b"\x89PNG") and len(picture) > 10_000

    def test_tables(self, finished: Result, finished_record: Record) -> None:
        for session in finished.sessions:
            stored = pd.read_csv(finished_record.download(session.run_id, "tables/metrics.csv"))
            pd.testing.assert_frame_equal(stored, session.metrics, check_dtype=False)
        stored = pd.read_csv(finished_record.download(finished.run_id, "tables/metrics.csv"))
        pd.testing.assert_frame_equal(stored, finished.metrics, check_dtype=False)
        assert stored.groupby("session")["frame"].apply(list).tolist() == [FRAMES, FRAMES]

    def test_nothing_else_is_left(self, finished: Result, finished_record: Record) -> None:
        assert list((finished_record.root / "runs").iterdir()) == []


class TestReproduction:
    """The same spec and seed come to the same numbers, whatever happens around them."""

    def test_sessions_differ(self, finished: Result, finished_record: Record) -> None:
        one, other = finished.sessions
        assert one.metrics["total_reward"].tolist() != other.metrics["total_reward"].tolist()
        states = [checkpoint(finished_record, s.run_id, "last")["state_dict"] for s in (one, other)]
        assert not equal(*states)

    def test_the_recorded_spec_as_given(self, finished: Result, finished_record: Record) -> None:
        spec = finished_record.download(finished.run_id, "spec.json")
        result = again(finished_record, spec)
        assert_same_numbers(result, finished, finished_record)
        finished_record.discard(result.run_id)

    def test_the_recorded_spec_as_resolved_one_session_at_a_time(
        self, finished: Result, finished_record: Record
    ) -> None:
        plan = prepare(finished_record.download(finished.run_id, "spec_resolved.json"))
        assert plan.notes == []
        trial = Trial.create(plan.raw, plan.spec, finished_record)
        engine = Where(parallel=1).engine()
        result = trial.run(engine, lambda job, reached: None, "cpu")
        assert_same_numbers(result, finished, finished_record)
        finished_record.discard(result.run_id)

    def test_another_seed(self, finished: Result, record: Record) -> None:
        other = again(record, tiny(), seed=4, sessions=1)
        assert numbers(other.metrics).iloc[0].to_dict() != numbers(finished.metrics).iloc[0].to_dict()
        assert (
            other.metrics["total_reward"].tolist()
            != finished.sessions[0].metrics["total_reward"].tolist()
        )

    def test_the_first_session_of_fewer(self, finished: Result, record: Record) -> None:
        alone = again(record, tiny(), sessions=1)
        pd.testing.assert_frame_equal(
            numbers(alone.sessions[0].metrics), numbers(finished.sessions[0].metrics), check_exact=True
        )

    def test_evaluation_on_the_way_changes_nothing(self, finished: Result, record: Record) -> None:
        watched = again(
            record, tiny(meta={"rigorous_eval": 2, "eval_frequency": 400, "max_session": 1})
        ).sessions[0]
        trained = [
            name for name in numbers(finished.metrics) if not name.startswith(("eval/", "session"))
        ]
        pd.testing.assert_frame_equal(
            watched.metrics[trained], finished.sessions[0].metrics[trained], check_exact=True
        )
        evaluated = watched.metrics.dropna(subset="eval/return")
        assert evaluated["frame"].tolist() == [400, 800, 1200, 1600, 1984]
        assert evaluated["eval/episodes"].tolist() == [2, 2, 2, 2, 30]
        assert evaluated["eval/return"].iloc[-1] == finished.sessions[0].metrics["eval/return"].iloc[-1]


def test_a_torn_last_row_is_left_out(tmp_path: Path) -> None:
    assert read_metrics(tmp_path).empty
    (tmp_path / "metrics.jsonl").write_text('{"frame": 1, "loss": 0.5}\n{"frame": 2, "lo')
    assert read_metrics(tmp_path).to_dict("list") == {"frame": [1], "loss": [0.5]}


def test_a_spec_of_one_round_has_a_record(record: Record) -> None:
    """Its only session sees no episode end: there is no score, and nothing fails."""
    spec = tiny(
        env={"name": "Pendulum-v1", "max_frame": 64}, meta={"max_session": 1, "log_frequency": 10**6}
    )
    result = again(record, spec)
    assert result.status == "done"
    assert result.metrics["frame"].tolist() == [64]
    assert "total_reward" not in result.metrics or result.metrics["total_reward"].isna().all()
    assert result.metrics["eval/return"].notna().all()
    assert "score" not in record.get(result.run_id).metrics
    assert record.get(result.run_id).status == "FINISHED"
