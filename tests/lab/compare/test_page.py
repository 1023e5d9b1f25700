"""The page of a comparison and its graphs show what was compared, all of it, and open anywhere."""

from __future__ import annotations

import math
import re

import numpy as np
import plotly.graph_objects as go
import pytest

from slm_lightning.lab import graphs
from slm_lightning.lab.analysis import trial_curve
from slm_lightning.lab.compare.comparison import Comparison, side_by_side
from slm_lightning.lab.compare.curves import (
    learning_curves,
    line_styles,
    profile,
    seed_scores,
    write_png,
)
from slm_lightning.lab.compare.page import page, write_page
from tests.lab.compared import contender

LOW, HIGH = [100.0, 110, 95, 105, 90], [200.0, 210, 195, 205, 190]


@pytest.fixture
def two() -> Comparison:
    return side_by_side([contender("low", LOW), contender("high", HIGH)], "score")


@pytest.fixture
def several() -> Comparison:
    runs = [
        contender(f"{method}_{env}", scores, env, method=method)
        for env in ("CartPole-v1", "Acrobot-v1")
        for method, scores in (("base", LOW), ("ours", HIGH))
    ]
    return side_by_side(runs, "score")


def visible(text: str) -> str:
    """What a page says, without its scripts and tags."""
    return re.sub(
        r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"(?s)<(script|style).*?</\1>", "", text))
    )


def traces(fig: go.Figure, name: str, width: float) -> list[go.Scatter]:
    return [trace for trace in fig.data if trace.name == name and trace.line.width == width]


def test_curves_show_every_session_the_mean_and_its_interval(two):
    fig = learning_curves(two)
    for run in two.contenders:
        sessions = traces(fig, run.label, 0.8)
        for trace, history in zip(sessions, run.histories, strict=True):
            assert list(trace.x) == history["frame"].tolist()
            assert list(trace.y) == history["total_reward_ma"].tolist()
        curve = trial_curve(run.histories, "total_reward_ma")
        (mean,) = traces(fig, run.label, 2.5)
        assert list(mean.y) == curve["mean"].tolist()
        (band,) = traces(fig, run.label, 0)
        assert list(band.y) == [*curve["ci_high"], *curve["ci_low"][::-1]]
    assert [trace.name for trace in fig.data if trace.showlegend] == ["low", "high"]


def test_means_lie_above_sessions_above_bands(two):
    widths = [trace.line.width for trace in learning_curves(two).data]
    assert widths == [0] * 2 + [0.8] * 10 + [2.5] * 2


def test_a_mean_ends_where_a_session_does():
    run = contender("a", LOW)
    run.seeds[0].history.drop(index=range(5, 10), inplace=True)
    fig = learning_curves(side_by_side([run, contender("b", HIGH)], "score"))
    (mean,) = traces(fig, "a", 2.5)
    assert list(mean.x) == [200, 400, 600, 800, 1000]


def test_one_session_is_a_thick_line():
    fig = learning_curves(side_by_side([contender("a", [5.0]), contender("b", HIGH)], "score"))
    (line,) = [trace for trace in fig.data if trace.name == "a"]
    assert line.line.width == 2.5 and line.showlegend


def test_each_environment_has_a_panel_and_each_method_a_colour(several):
    fig = learning_curves(several)
    assert [a.text for a in fig.layout.annotations] == ["CartPole-v1", "Acrobot-v1"]
    assert {trace.yaxis for trace in fig.data} == {"y", "y2"}
    assert [trace.name for trace in fig.data if trace.showlegend] == ["base", "ours"]
    colours = {trace.name: {t.line.color for t in traces(fig, trace.name, 2.5)} for trace in fig.data}
    assert all(len(found) == 1 for found in colours.values()) and colours["base"] != colours["ours"]


def test_many_runs_are_told_apart():
    runs = [contender(f"run{i}", LOW) for i in range(20)]
    styles = line_styles(side_by_side(runs, "score"))
    assert len({tuple(style.values()) for style in styles.values()}) == 20


def test_every_seed_is_a_dot_and_every_mean_has_its_interval(two):
    dots, means = seed_scores(two.contenders, two.descriptions, "score").data
    assert list(dots.x) == LOW + HIGH
    assert list(dots.y) == [0] * 5 + [1] * 5
    assert list(means.x) == [100, 200]
    assert means.error_x.array[0] == pytest.approx(two.descriptions[two.contenders[0]].ci_high - 100)


def test_the_axis_holds_all_seeds_but_not_the_wide_interval_of_two():
    found = side_by_side([contender("a", [1.0, 100]), contender("b", [50.0])], "score")
    fig = seed_scores(found.contenders, found.descriptions, "score")
    low, high = fig.layout.xaxis.range
    assert low < 1 < 100 < high < found.descriptions[found.contenders[0]].ci_high
    assert fig.data[1].error_x.array[1] is None or math.isnan(fig.data[1].error_x.array[1])


def test_profile_falls_from_all_seeds_to_none(several):
    assert several.overall is not None
    fig = profile(several.overall, line_styles(several))
    for trace in fig.data:
        assert (np.diff(trace.y) <= 0).all()
        assert trace.y[-1] == 0


def test_page_says_everything_and_needs_nothing_from_elsewhere(two, tmp_path):
    path = tmp_path / "new" / "compare.html"
    write_page(two, path)
    text = path.read_text()
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", text)
    said = visible(text)
    assert two.differences[0].sentence in said.replace("&#39;", "'")
    for number in ("100", "200", "90.18 to 109.8", "88.47 to 111.5", "0.0079"):
        assert number in said
    assert all(seed.run_id in said for run in two.contenders for seed in run.seeds)
    assert "Holm" not in said
    assert page(two) == text


def test_page_of_several_environments_has_one_number_for_each_method(several):
    said = visible(page(several))
    assert "All environments" in said and "Holm" in said
    assert several.overall is not None
    assert f"{several.overall.methods[0].iqm:.3g}" in said


def test_page_says_why_there_is_no_verdict():
    runs = [contender("a", [*LOW, math.nan]), contender("b", HIGH), contender("c", LOW, "Other-v0")]
    said = visible(page(side_by_side(runs, "score")))
    assert "No verdict on b against a in CartPole-v1: a lacks 1 of its 6 seeds" in said
    assert "No verdict on c: no other run is in Other-v0." in said
    assert "5 of 6" in said


def test_names_are_text_and_nothing_else():
    hostile = "<img src=x onerror=alert(1)>"
    text = page(side_by_side([contender(hostile, LOW), contender("b", HIGH)], "score"))
    assert "<img src=x" not in text
    assert "&lt;img src=x onerror" in text


def test_picture_of_the_curves(two, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(graphs, "write_png", lambda figs: drawn.update(figs) or True)
    assert write_png(two, tmp_path / "new" / "curves.png")
    (fig,) = drawn.values()
    assert fig == learning_curves(two)
    assert (tmp_path / "new").is_dir()
