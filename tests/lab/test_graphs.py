"""The graphs hold the data they are made from, and their files open anywhere."""

from __future__ import annotations

import os
import re
import struct
import zlib

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from choreographer.browsers.chromium import Chromium

from slm_lightning.lab.analysis import total_reward_ma, trial_curve
from slm_lightning.lab.graphs import session_graph, table, trial_graph, write_html, write_png

NO_BROWSER = "no Chrome or Chromium on this machine: apt-get install chromium, or kaleido_get_chrome"


def record(seed: int, rows: int = 40) -> pd.DataFrame:
    """A session's record as training leaves it: no return at first, an evaluation now and then."""
    rng = np.random.default_rng(seed)
    total_reward = pd.Series(np.linspace(20, 480, rows) + rng.normal(0, 10, rows))
    total_reward[0] = np.nan
    return pd.DataFrame(
        {
            "frame": np.arange(1, rows + 1) * 500,
            "wall_t": np.arange(rows) * 0.1,
            "fps": rng.normal(5000, 100, rows),
            "epi": np.arange(rows),
            "opt_step": np.arange(rows) * 16,
            "total_reward": total_reward,
            "total_reward_ma": total_reward_ma(total_reward),
            "eval/return": np.where(np.arange(rows) % 10 == 9, total_reward + 5, np.nan),
            "entropy": np.linspace(0.69, 0.3, rows),
            "loss": rng.normal(0, 1, rows),
            "kl": np.nan,
            "entropy_coef": 0.01,
            "alpha": rng.normal(0, 1, rows),
        }
    )


def traces(fig: go.Figure, name: str) -> list[go.Scatter]:
    return [trace for trace in fig.data if trace.name == name]


def assert_shows(trace: go.Scatter, df: pd.DataFrame, column: str) -> None:
    known = df.dropna(subset=column)
    assert list(trace.x) == known["frame"].tolist()
    assert list(trace.y) == known[column].tolist()


@pytest.fixture
def trial() -> list[pd.DataFrame]:
    return [record(seed) for seed in range(4)]


def test_session_graph_shows_every_return_and_metric():
    df = record(0)
    fig = session_graph(df, "ppo_cartpole_t0_s0 · CartPole-v1")
    shown = ["total_reward", "total_reward_ma", "eval/return"]
    shown += ["loss", "entropy", "entropy_coef", "fps", "alpha"]  # known metrics first, then by name
    assert [trace.name for trace in fig.data] == shown
    for trace in fig.data:
        assert_shows(trace, df, trace.name)
    assert "ppo_cartpole_t0_s0 · CartPole-v1" in fig.layout.title.text


def test_session_graph_names_each_small_panel_and_keeps_returns_apart():
    fig = session_graph(record(0), "title")
    panels = [a.text for a in fig.layout.annotations]
    assert panels == ["loss", "entropy", "entropy_coef", "fps", "alpha"]
    axes = [trace.yaxis for trace in fig.data]
    assert axes == ["y", "y", "y", "y2", "y3", "y4", "y5", "y6"]


def test_session_graph_has_no_room_for_counters_or_unknown_metrics():
    names = {trace.name for trace in session_graph(record(0), "title").data}
    assert not names & {"frame", "wall_t", "epi", "opt_step", "kl"}


def test_constant_metric_is_drawn_from_zero():
    fig = session_graph(record(0), "title")
    (trace,) = traces(fig, "entropy_coef")
    assert fig.layout["yaxis" + trace.yaxis[1:]].range == (0.0, 0.02)


def test_trial_graph_shows_every_session_and_the_mean(trial):
    fig = trial_graph(trial, "ppo_cartpole_t0 · CartPole-v1", planned=4)
    sessions = traces(fig, "session")
    assert len(sessions) == 4
    for i, (trace, df) in enumerate(zip(sessions, trial, strict=True)):
        assert_shows(trace, df, "total_reward")
        assert trace.hovertemplate.startswith(f"session {i}:")
    curve = trial_curve(trial, "total_reward")
    (mean,) = traces(fig, "mean")
    assert list(mean.y) == curve["mean"].tolist()
    assert np.array_equal(mean.customdata, curve[["std", "ci_low", "ci_high", "n"]])
    assert "ppo_cartpole_t0 · CartPole-v1 · 4 sessions<" in fig.layout.title.text


def test_trial_graph_draws_deviation_and_interval_around_the_mean(trial):
    fig = trial_graph(trial, "title", planned=4)
    curve = trial_curve(trial, "total_reward")
    mean, std = curve["mean"], curve["std"]
    (deviation,) = traces(fig, "± standard deviation")
    (interval,) = traces(fig, "95 % t-interval")
    assert list(deviation.y) == [*(mean + std), *(mean - std)[::-1]]
    assert list(interval.y) == [*curve["ci_high"], *curve["ci_low"][::-1]]


@pytest.mark.parametrize(("sessions", "below"), [(4, "95 % t-interval"), (9, "± standard deviation")])
def test_the_wider_band_lies_below(sessions, below):
    fig = trial_graph([record(seed) for seed in range(sessions)], "title", planned=sessions)
    assert fig.data[0].name == below


@pytest.mark.parametrize("column", ["total_reward_ma", "eval/return", "entropy"])
def test_trial_graph_of_another_column(trial, column):
    fig = trial_graph(trial, "title", planned=4, column=column)
    for trace, df in zip(traces(fig, "session"), trial, strict=True):
        assert_shows(trace, df, column)
    assert fig.layout.yaxis.title.text == column


@pytest.mark.parametrize("gone", [[], [pd.DataFrame()]])
def test_missing_sessions_stand_in_the_title(trial, gone):
    fig = trial_graph([trial[0], *gone, *trial[2:]], "title", planned=4)
    assert "title · 3/4 sessions<" in fig.layout.title.text
    assert len(traces(fig, "session")) == 3


def test_sessions_keep_their_index_where_one_is_missing(trial):
    fig = trial_graph([pd.DataFrame(), *trial[1:]], "title", planned=4)
    labels = [trace.hovertemplate.partition(":")[0] for trace in traces(fig, "session")]
    assert labels == ["session 1", "session 2", "session 3"]
    assert [trace.showlegend for trace in traces(fig, "session")] == [True, False, False]


def test_session_that_ended_early_is_marked_and_the_mean_without_it_dotted(trial):
    trial[2] = trial[2].iloc[:15]
    fig = trial_graph(trial, "title", planned=4)
    assert "title · 4 sessions, 1 ended early<" in fig.layout.title.text
    (mark,) = traces(fig, "ended early")
    assert (mark.x[0], mark.y[0]) == (15 * 500, trial[2]["total_reward"].iloc[-1])
    (whole,), (rest,) = traces(fig, "mean"), traces(fig, "mean of fewer")
    frames = np.array(whole.x)
    assert frames[~np.isnan(whole.y)].max() == 15 * 500
    assert frames[~np.isnan(rest.y)].min() == 15 * 500  # the dotted line starts where the other ends
    assert rest.line.dash == "dot"


def test_one_session_is_drawn_without_mean_or_bands():
    df = record(0)
    fig = trial_graph([df], "title", planned=1)
    assert [trace.name for trace in fig.data] == ["session"]
    low, high = fig.layout.yaxis.range
    assert low < df["total_reward"].min() < df["total_reward"].max() < high
    assert "title · 1 session<" in fig.layout.title.text


def test_axis_of_a_trial_holds_all_sessions_but_not_the_wide_interval_of_two():
    trial = [record(0), record(1)]
    trial[1]["total_reward"] += 100
    low, high = trial_graph(trial, "title", planned=2).layout.yaxis.range
    values = pd.concat([df["total_reward"] for df in trial])
    assert low < values.min() < values.max() < high
    assert high < trial_curve(trial, "total_reward")["ci_high"].max()


@pytest.mark.parametrize("dfs", [[], [pd.DataFrame()] * 4])
def test_trial_without_any_record_has_an_empty_graph(dfs):
    fig = trial_graph(dfs, "title", planned=4)
    assert not fig.data
    assert "title · 0/4 sessions<" in fig.layout.title.text


def test_session_without_any_record_has_an_empty_graph():
    assert not session_graph(pd.DataFrame(), "title").data


def test_table_holds_every_row_of_every_session(trial):
    trial[1] = pd.DataFrame()
    rows = table(trial)
    assert rows.columns[0] == "session"
    assert rows["session"].unique().tolist() == [0, 2, 3]
    for i in (0, 2, 3):
        own = rows[rows["session"] == i].drop(columns="session").reset_index(drop=True)
        pd.testing.assert_frame_equal(own, trial[i])
    assert table([pd.DataFrame()]).columns.tolist() == ["session"]


def test_graphs_leave_the_records_as_they_are(trial):
    before = [df.copy() for df in trial]
    trial_graph(trial, "title", planned=4)
    session_graph(trial[0], "title")
    table(trial)
    for df, copy in zip(trial, before, strict=True):
        pd.testing.assert_frame_equal(df, copy)


def test_html_needs_nothing_from_elsewhere(trial, tmp_path):
    path = tmp_path / "trial.html"
    write_html(trial_graph(trial, "ppo_cartpole_t0", planned=4), path)
    page = path.read_text()
    assert "ppo_cartpole_t0" in page
    assert "Plotly.newPlot" in page
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", page)
    assert len(page) > 1_000_000  # plotly.js itself is inside


def test_the_same_figure_gives_the_same_html(trial, tmp_path):
    for name in ("a", "b"):
        write_html(trial_graph(trial, "title", planned=4), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def pixels(path) -> tuple[int, int, int]:
    """Width and height of a PNG, and how many different rows of pixels it has."""
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    position, compressed = 8, b""
    while position < len(data):
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        if kind == b"IDAT":
            compressed += data[position + 8 : position + 8 + length]
        position += length + 12
    lines = zlib.decompress(compressed)
    stride = len(lines) // height
    return width, height, len({lines[i : i + stride] for i in range(0, len(lines), stride)})


def test_png_of_both_graphs(trial, tmp_path):
    session, whole = session_graph(trial[0], "title"), trial_graph(trial, "title", planned=4)
    paths = {tmp_path / "session.png": session, tmp_path / "trial.png": whole}
    if not write_png(paths):
        if os.environ.get("CI") == "true":
            pytest.fail(NO_BROWSER)
        pytest.skip(NO_BROWSER)
    for path, fig in paths.items():
        width, height, rows = pixels(path)
        assert (width, height) == (1800, 2 * fig.layout.height)
        assert rows > 300  # something is drawn


def test_png_without_a_browser_is_refused_quietly(trial, tmp_path, monkeypatch):
    monkeypatch.setattr(Chromium, "find_browser", lambda **_: None)
    path = tmp_path / "trial.png"
    assert write_png({path: trial_graph(trial, "title", planned=4)}) is False
    assert not path.exists()
