"""The graphs of a search hold its trials, each at its place."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import plotly.graph_objects as go
import pytest

from slm_lightning.lab.report.axes import positions, x_axis
from slm_lightning.lab.report.experiment_graphs import (
    history_graph,
    importance_graph,
    parallel_graph,
    pareto_graph,
)
from slm_lightning.lab.report.experiment_panels import ACROSS, experiment_graph
from slm_lightning.lab.report.findings import Findings, Goal
from slm_lightning.spec.space import Space
from tests.lab.made_findings import SEARCH, TARGET, found, trial

LAYERS = [[16], [64, 64], "wide"]
PATHS = ["net.lr", "gamma", "net.layers", "epochs"]


def some_trials() -> list:
    """12 trials; 3 failed, 5 was pruned, 7 has no value for γ."""
    trials = []
    for i in range(12):
        drawn = {
            "net.lr": 10 ** (-4 + i / 4),
            "gamma": 0.9 + i / 120,
            "net.layers": LAYERS[i % 3],
            "epochs": 1 + i % 8,
        }
        if i == 7:
            del drawn["gamma"]
        status = {3: "failed", 5: "pruned"}.get(i, "done")
        values = () if i == 3 else (float(i * (12 - i)),)
        trials.append(trial(i, *values, status=status, drawn=drawn, strength=2.0 * i))
    return trials


@pytest.fixture
def searched() -> Findings:
    return found(*some_trials())


def traces(fig: go.Figure, name: str) -> list:
    return [trace for trace in fig.data if trace.name == name]


def test_every_metric_against_every_parameter(searched):
    fig = experiment_graph(searched, PATHS)
    assert searched.metrics == ("score", "strength")
    clouds = traces(fig, "done")
    assert len(clouds) == len(PATHS) * 2
    done = [t for t in searched.trials if t.status == "done"]
    dimensions = {d.path: d for d in searched.dimensions}
    for cloud, (metric, path) in zip(clouds, [(m, p) for m in searched.metrics for p in PATHS]):
        here = [t for t in done if path in t.drawn]
        assert cloud.customdata.tolist() == [t.number for t in here]
        assert cloud.x == pytest.approx(positions(dimensions[path], here, spread=0.4))
        assert cloud.y == pytest.approx([t.metric(metric) for t in here])
        assert cloud.marker.color == pytest.approx([t.metric("strength") for t in here])


def test_pruned_trials_are_apart_and_failed_ones_nowhere(searched):
    fig = experiment_graph(searched, PATHS)
    assert {tuple(cloud.customdata) for cloud in traces(fig, "pruned")} == {(5,)}
    assert not any(3 in trace.customdata for trace in fig.data)


def test_the_best_trial_has_a_ring(searched):
    rings = traces(experiment_graph(searched, PATHS), "best")
    assert {tuple(ring.customdata) for ring in rings} == {(6,)}
    assert {ring.marker.symbol for ring in rings} == {"circle-open"}


def test_axes_are_those_of_the_dimensions(searched):
    fig = experiment_graph(searched, PATHS)
    rate, gamma, layers, epochs = (fig.layout[f"xaxis{i}"] for i in range(5, 9))
    assert (rate.type, gamma.type, epochs.type) == ("log", None, None)
    assert rate.range[0] < -4 < -1 < rate.range[1] < 0
    assert gamma.range[0] < 0.9 < 1.0 < gamma.range[1]
    assert layers.ticktext == ("[16]", "[64, 64]", "wide")
    assert [axis.title.text for axis in (rate, gamma, layers, epochs)] == [
        f"<b>{name}</b>" for name in ("lr", "gamma", "layers", "epochs")
    ]


def test_an_extreme_value_does_not_squeeze_the_others_but_the_best_is_shown():
    trials = [trial(i, 50.0 + i % 7, strength=0.0, stability=0.9 + i / 1000) for i in range(60)]
    trials += [trial(60, 500.0, strength=0.0, stability=-1000.0), trial(61, 1.0, stability=-2000.0)]
    fig = experiment_graph(found(*trials), ["net.lr"])
    score, _, stability = (fig.layout[name].range for name in ("yaxis", "yaxis2", "yaxis3"))
    assert score[0] > 1 and score[1] > 500  # 500 is the best, 1 is far from the others
    assert stability[0] < -1000  # the best one's


@pytest.mark.parametrize("count", [1, 3, 4, 5, 12])
def test_any_number_of_parameters(count):
    search = {f"net.p{i}__uniform": [0, 1] for i in range(count)}
    drawn = {f"net.p{i}": 0.5 for i in range(count)}
    seen = found(*(trial(i, float(i), drawn=drawn) for i in range(3)), search=search)
    paths = [d.path for d in seen.dimensions]
    fig = experiment_graph(seen, paths)
    assert len(traces(fig, "done")) == count
    panels = [axis for axis in fig.select_yaxes() if axis.visible is not False]
    assert len(panels) == count
    domains = sorted({axis.domain for axis in fig.select_yaxes()})
    assert len(domains) == math.ceil(count / ACROSS)
    assert all(low[1] < high[0] for low, high in itertools.pairwise(domains))
    titles = [axis.title.text for axis in fig.select_xaxes() if axis.title.text]
    assert titles == [f"<b>p{i}</b>" for i in range(count)]
    assert len(parallel_graph(seen, paths).data[0].dimensions) == count + 1


def test_trials_with_the_same_option_lie_side_by_side():
    (dimension,) = Space.of({"a__choice": [True, 1, "1"]}).dimensions
    trials = [trial(i, 1.0, drawn={"a": option}) for i, option in enumerate([1] * 50 + ["1"] * 50)]
    places = positions(dimension, trials, spread=0.4)
    assert len(set(places)) == 100
    assert np.abs(np.array(places[:50]) - 1).max() <= 0.2
    assert np.abs(np.array(places[50:]) - 2).max() <= 0.2
    assert positions(dimension, trials[:1]) == [1.0]
    assert positions(dimension, [trial(0, 1.0, drawn={})]) == [None]


def test_a_dimension_of_one_value_has_an_axis():
    for search in ({"a__quniform": [1, 1.5, 1]}, {"a__qloguniform": [1, 1.5, 1]}, {"a__choice": ["x"]}):
        (dimension,) = Space.of(search).dimensions
        low, high = x_axis(dimension)["range"]
        assert low < high
        drawn = {"a": "x" if dimension.kind == "choice" else 1.0}
        axis = (
            parallel_graph(found(trial(0, 1.0, drawn=drawn), search=search), ["a"])
            .data[0]
            .dimensions[0]
        )
        assert axis.range[0] < axis.range[1]


def test_history_marks_the_best_so_far_and_what_failed(searched):
    fig = history_graph(searched, "score")
    (best,), (done,), (pruned,), (failed,) = (
        traces(fig, name) for name in ("best so far", "done", "pruned", "failed")
    )
    assert list(best.x) == list(done.x) == [0, 1, 2, 4, 6, 7, 8, 9, 10, 11]
    assert list(best.y) == [0, 11, 20, 32, 36, 36, 36, 36, 36, 36]
    assert list(done.y) == [0, 11, 20, 32, 36, 35, 32, 27, 20, 11]
    assert (list(pruned.x), list(pruned.y), list(failed.x)) == ([5], [35], [3])
    assert failed.yaxis == "y2" and fig.layout.yaxis2.range == (0, 1)
    low, high = fig.layout.yaxis.range
    assert low < 0 and 36 < high < TARGET.value  # the target is far off


def test_history_of_what_is_to_be_small():
    trials = [trial(i, value) for i, value in enumerate([3.0, 5.0, 1.0, 2.0])]
    fig = history_graph(found(*trials, objectives={"score": "minimize"}), "score")
    assert list(traces(fig, "best so far")[0].y) == [3, 3, 1, 1]


def test_history_shows_the_goals_of_its_metric():
    known = Goal("best known score", 120.0, "score", "maximize", "")
    other = Goal("target", 7.0, "strength", "maximize", "")
    fig = history_graph(found(trial(0, 1.0), goals=[TARGET, known, other]), "score")
    assert sorted(shape.y0 for shape in fig.layout.shapes) == [100, 120]
    assert {note.text for note in fig.layout.annotations} == {"target 100", "best known score 120"}


@pytest.mark.parametrize(("target", "seen"), [(90.0, True), (70.0, True), (1000.0, False)])
def test_history_shows_a_goal_that_is_not_far_off(target, seen):
    goal = dataclasses.replace(TARGET, value=target)
    trials = [trial(i, 10.0 * i) for i in range(7)]
    low, high = history_graph(found(*trials, goals=[goal]), "score").layout.yaxis.range
    assert low < 0 and high > 60
    assert (low < target < high) == seen


def test_history_of_many_trials_shows_the_best_of_them():
    trials = [trial(i, 50.0 + i % 7) for i in range(60)]
    low, high = history_graph(
        found(*trials, trial(60, 500.0), trial(61, 1.0)), "score"
    ).layout.yaxis.range
    assert low > 1 and high > 500


def test_the_pareto_front_is_joined():
    points = [(1, 5), (2, 4), (3, 1), (1, 1), (2, 2)]
    trials = [trial(i, float(a), float(b)) for i, (a, b) in enumerate(points)]
    seen = found(*trials, objectives={"score": "maximize", "speed": "maximize"})
    fig = pareto_graph(seen)
    (front,), (rest,) = traces(fig, "Pareto front"), traces(fig, "done")
    assert list(zip(front.x, front.y)) == [(1, 5), (2, 4), (3, 1)]
    assert list(rest.customdata) == [3, 4]
    assert fig.layout.xaxis.title.text == "score (maximize)"


def test_the_whole_settings_side_by_side(searched):
    fig = parallel_graph(searched, PATHS)
    rate, gamma, layers, _, score = fig.data[0].dimensions
    ranked = [t for t in searched.trials if t.is_ranked]
    assert list(rate.values) == pytest.approx([math.log10(t.drawn["net.lr"]) for t in ranked])
    assert rate.ticktext[0] == "0.0001"
    assert list(layers.values) == [LAYERS.index(t.drawn["net.layers"]) for t in ranked]
    assert list(score.values) == [t.values[0] for t in ranked]
    missing = gamma.values[[t.number for t in ranked].index(7)]
    assert missing < 0.9
    assert gamma.ticktext[list(gamma.tickvals).index(missing)] == "–"
    assert rate.range[0] == pytest.approx(-4)  # all drew it


def test_importances_with_the_largest_on_top():
    fig = importance_graph({"a.lr": 0.7, "b": 0.296, "c": 0.004}, {"a.lr": "lr", "b": "b", "c": "c"})
    assert list(fig.data[0].y) == ["c", "b", "lr"]
    assert list(fig.data[0].text) == ["< 1%", "30%", "70%"]


def test_names_and_options_are_not_read_as_markup(searched):
    hostile = "<a href='x'>y</a>"
    search = {f"{hostile}__choice": [hostile, "b"]}
    drawn = {hostile: hostile}
    metrics = {"score": "maximize", hostile: "maximize"}
    seen = found(trial(0, 1.0, 2.0, drawn=drawn), search=search, objectives=metrics)
    for fig in (
        experiment_graph(seen, [hostile]),
        history_graph(seen, hostile),
        pareto_graph(seen),
        importance_graph({hostile: 1.0}, seen.labels),
    ):
        texts = [note.text for note in fig.layout.annotations]
        texts += [axis.title.text for axis in (*fig.select_xaxes(), *fig.select_yaxes())]
        texts += [text for axis in fig.select_xaxes() for text in axis.ticktext or ()]
        texts += [*(getattr(fig.data[0], "y", None) or ())] if fig.data[0].type == "bar" else []
        assert "<a" not in " ".join(text for text in texts if text)


def test_graphs_leave_the_findings_as_they_are(searched):
    before = [dataclasses.astuple(t) for t in some_trials()]
    experiment_graph(searched, PATHS), history_graph(searched, "score"), parallel_graph(searched, PATHS)
    assert [dataclasses.astuple(t) for t in searched.trials] == before
    assert SEARCH["net.layers__choice"] == LAYERS
