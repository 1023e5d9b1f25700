"""Pictures of sessions and trials: plotly figures made from the recorded tables, and nothing else.

The palette is Okabe and Ito's, which colour-blind readers can tell apart (jfly.uni-koeln.de/color).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from slm_lightning.lab.analysis import ended_early, trial_curve
from slm_lightning.lab.stats import t_half_width

WIDTH, HEIGHT = 900, 500
MARGIN = {"l": 70, "r": 30, "t": 105, "b": 55}
TOP_PANEL, SMALL_PANEL, GAP = 300, 90, 52  # heights in pixels
COLUMNS = 3

BLUE, SKY, VERMILLION = "#0072B2", "#56B4E9", "#D55E00"
INK, MUTED, PALE, AXIS, GRID = "#2B2F36", "#6B7280", "#8B93A0", "#B8BEC8", "#ECEEF2"

RETURNS = {
    "total_reward": "training return",
    "total_reward_ma": "training return, moving average over 100 checkpoints",
    "eval/return": "evaluation return of the greedy policy",
}
RETURN_AXIS = {
    "exponentformat": "SI",
    "minexponent": 4,
    "automargin": True,
    "title_standoff": 8,
}
"""Of an axis of returns: 8000, 12,000 and 150k, where those of metrics have exponents; its title is
clear of them."""
METRICS = [
    *("loss", "policy_loss", "value_loss", "entropy", "kl", "clip_fraction", "explained_variance"),
    *("grad_norm", "lr", "entropy_coef", "clip_eps", "explore_var", "fps"),
]
"""The order of the small panels; any further metric follows by name."""
COUNTERS = {"frame", "time", "wall_t", "epi", "opt_step", "eval/std", "eval/episodes"}

TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "Inter, Helvetica, Arial, sans-serif", "size": 13, "color": INK},
        "title": {"x": 0, "xref": "paper", "yanchor": "top", "font": {"size": 18}},
        "margin": MARGIN,
        "plot_bgcolor": "white",
        "hovermode": "x unified",
        "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "font": {"size": 12}},
        "xaxis": {
            "tickformat": "~s",
            "hoverformat": ",d",
            "showgrid": False,
            "zeroline": False,
            "showline": True,
            "linecolor": AXIS,
            "ticks": "outside",
            "tickcolor": AXIS,
            "title": {"font": {"size": 13}, "standoff": 8},
        },
        "yaxis": {
            "gridcolor": GRID,
            "zeroline": False,
            "exponentformat": "e",
            "ticklabelstandoff": 6,
            "title": {"font": {"size": 13}},
        },
    }
)


def session_graph(df: pd.DataFrame, title: str) -> go.Figure:
    """A session's returns over frames and, below, a small panel for each metric of its algorithm.

    ``df`` is the session's record, a row per checkpoint; ``title`` says which run and environment.
    """
    metrics = _metrics(df)
    fig = _panels(metrics)
    styles: dict[str, dict[str, Any]] = {
        "total_reward": {"mode": "lines", "line": {"color": SKY, "width": 1.2}},
        "total_reward_ma": {"mode": "lines", "line": {"color": BLUE, "width": 2.5}},
        "eval/return": {
            "mode": "markers",
            "marker": {"color": VERMILLION, "size": 6},
            "cliponaxis": False,
        },
    }
    for column, style in styles.items():
        if column in df:
            fig.add_trace(_line(df, column, style), row=1, col=1)
    grey = {"mode": "lines", "line": {"color": MUTED, "width": 1}, "showlegend": False}
    for i, column in enumerate(metrics):
        row, col = _cell(i)
        fig.add_trace(_line(df, column, grey), row=row, col=col)
        fig.update_yaxes(range=_range_of_constant(df[column]), row=row, col=col)
    if len(df):
        fig.update_xaxes(range=[0, df["frame"].max()])
    return _titled(fig, title, "returns, and below them the metrics of the algorithm")


def trial_graph(
    dfs: Sequence[pd.DataFrame], title: str, planned: int, column: str = "total_reward"
) -> go.Figure:
    """Every session of a trial as a thin line, their mean, its deviation and its interval over frames.

    ``dfs`` holds the sessions' records by index, empty where one has none; ``title`` says which spec
    and environment. The number of sessions is added to it, as ``3/4 sessions`` where some of
    ``planned`` are missing; a session that ended before the others is counted there and marked where
    it ended. The mean is dotted where not all sessions have a value. The axis gives room to the
    sessions and their deviation; the interval of two or three sessions may reach beyond.
    """
    sessions = {i: df.dropna(subset=column) for i, df in enumerate(dfs) if column in df}
    sessions = {i: df for i, df in sessions.items() if len(df)}
    curve = trial_curve(dfs, column)
    fig = go.Figure(layout={"template": TEMPLATE, "height": HEIGHT})
    several = len(sessions) > 1
    if several:
        fig.add_traces(_bands(curve, len(sessions)))
    for i, df in sessions.items():
        fig.add_trace(_session_line(i, df, column, first=i == min(sessions), thin=several))
    if several:
        fig.add_traces(_mean_lines(curve, len(sessions)))
    early = [sessions[i] for i in ended_early(dfs) if i in sessions]
    if early:
        fig.add_trace(_ends(early, column))
    fig.update_xaxes(title="frames")
    fig.update_yaxes(title=column, **RETURN_AXIS)
    if sessions:
        fig.update_xaxes(range=[0, curve["frame"].max()])
        fig.update_yaxes(range=_range_of_trial(curve, sessions, column))
    text = f"{title} · {_count(len(sessions), planned, len(early))}"
    return _titled(fig, text, RETURNS.get(column, column))


def table(dfs: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The data behind the graphs: the records of all sessions one below the other, the index of the
    session in the first column, ``session``."""
    records = [df.assign(session=i) for i, df in enumerate(dfs) if len(df)]
    if not records:
        return pd.DataFrame(columns=["session"])
    rows = pd.concat(records, ignore_index=True)
    return rows[["session", *rows.columns.drop("session")]]


def write_html(fig: go.Figure, path: Path) -> None:
    """Writes a page that needs nothing else, no network either (about 5 MB). The same figure gives the
    same bytes."""
    fig.write_html(path, include_plotlyjs=True, div_id="graph", config={"displaylogo": False})


def write_png(figs: Mapping[Path, go.Figure]) -> bool:
    """Writes each figure to its path, 900 pixels wide at double resolution, in one browser.

    Returns False where there is no Chrome or Chromium that works: kaleido takes the one on the PATH or
    in ``BROWSER_PATH``, and the command ``kaleido_get_chrome`` installs one.
    """
    import kaleido
    from choreographer.errors import BrowserDepsError
    from kaleido.errors import BrowserClosedError, BrowserFailedError, ChromeNotFoundError

    pictures = [
        {"fig": fig, "path": path, "opts": {"format": "png", "width": WIDTH, "scale": 2}}
        for path, fig in figs.items()
    ]
    no_browser = (ChromeNotFoundError, BrowserFailedError, BrowserClosedError, BrowserDepsError)
    try:
        kaleido.write_fig_from_object_sync(pictures, kopts={"mathjax": False}, cancel_on_error=True)
    except (TimeoutError, *no_browser):
        return False
    return True


def _metrics(df: pd.DataFrame) -> list[str]:
    """The columns that get a small panel: numbers, known at least once."""
    known = set(df.select_dtypes("number").dropna(axis=1, how="all").columns) - COUNTERS - set(RETURNS)
    return [m for m in METRICS if m in known] + sorted(known - set(METRICS))


def _cell(i: int) -> tuple[int, int]:
    """Row and column of the small panel i; plotly counts from 1, and row 1 is the wide panel."""
    return 2 + i // COLUMNS, 1 + i % COLUMNS


def _panels(metrics: list[str]) -> go.Figure:
    """An empty figure with a wide panel on top and a grid of small ones below."""
    rows = math.ceil(len(metrics) / COLUMNS)
    area = TOP_PANEL + rows * (GAP + SMALL_PANEL)
    specs: list[list[dict | None]] = [[{"colspan": COLUMNS}, *[None] * (COLUMNS - 1)]]
    specs += [
        [{} if cell < len(metrics) else None for cell in range(i, i + COLUMNS)]
        for i in range(0, rows * COLUMNS, COLUMNS)
    ]
    fig = make_subplots(
        rows=1 + rows,
        cols=COLUMNS,
        specs=specs,
        row_heights=[TOP_PANEL] + [SMALL_PANEL] * rows,
        vertical_spacing=GAP / area,
        horizontal_spacing=0.09,
        subplot_titles=["", *metrics],
    )
    fig.update_layout(template=TEMPLATE, height=area + MARGIN["t"] + MARGIN["b"])
    fig.update_annotations(font={"size": 12, "color": INK})
    fig.update_xaxes(matches="x")
    fig.update_yaxes(title="return", **RETURN_AXIS, row=1, col=1)
    for i in range(len(metrics)):
        row, col = _cell(i)
        fig.update_yaxes(nticks=4, tickfont={"size": 11}, row=row, col=col)
        lowest = i + COLUMNS >= len(metrics)
        fig.update_xaxes(showticklabels=lowest, tickfont={"size": 11}, row=row, col=col)
        fig.update_xaxes(title="frames" if lowest else None, title_font={"size": 11}, row=row, col=col)
    return fig


def _titled(fig: go.Figure, title: str, subtitle: str) -> go.Figure:
    style = f"font-size:13px;color:{MUTED}"
    text = f'{title}<br><span style="{style}">{subtitle}</span>'
    top = 1 - 32 / fig.layout.height
    return fig.update_layout(title={"text": text, "y": top})


def _count(sessions: int, planned: int, early: int) -> str:
    text = f"{planned}" if sessions == planned else f"{sessions}/{planned}"
    text += " session" if planned == 1 else " sessions"
    return f"{text}, {early} ended early" if early else text


def _line(df: pd.DataFrame, column: str, style: Mapping[str, Any]) -> go.Scatter:
    known = df.dropna(subset=column)
    return go.Scatter(x=known["frame"], y=known[column], name=column, hovertemplate="%{y:.4g}", **style)


def _range_of_constant(values: pd.Series) -> list[float] | None:
    """An axis from 0 for a constant, which would else be drawn as if 1 were a small change."""
    low, high = values.min(), values.max()
    return sorted([0.0, 2 * low]) if low == high != 0 else None


def _range_of_trial(
    curve: pd.DataFrame, sessions: Mapping[int, pd.DataFrame], column: str
) -> list[float]:
    mean, std = curve["mean"], curve["std"]
    shown = pd.concat([mean - std, mean + std, *(df[column] for df in sessions.values())])
    room = 0.05 * (shown.max() - shown.min()) or 1.0
    return [shown.min() - room, shown.max() + room]


def _session_line(index: int, df: pd.DataFrame, column: str, first: bool, thin: bool) -> go.Scatter:
    return go.Scatter(
        x=df["frame"],
        y=df[column],
        name="session",
        legendgroup="session",
        showlegend=first,
        mode="lines",
        line={"color": PALE, "width": 0.8} if thin else {"color": BLUE, "width": 2},
        hovertemplate=f"session {index}: %{{y:.4g}}<extra></extra>",
    )


def _bands(curve: pd.DataFrame, sessions: int) -> list[go.Scatter]:
    """Deviation and interval; the wider one, which depends on the number of sessions, lies below."""
    curve = curve.dropna()
    mean, std = curve["mean"], curve["std"]
    interval = "95 % t-interval", curve["ci_low"], curve["ci_high"]
    deviation = "± standard deviation", mean - std, mean + std
    wide, narrow = (interval, deviation) if t_half_width(1, sessions) > 1 else (deviation, interval)
    return [_band(curve["frame"], *wide, opacity=0.08), _band(curve["frame"], *narrow, opacity=0.2)]


def _band(frame: pd.Series, name: str, low: pd.Series, high: pd.Series, opacity: float) -> go.Scatter:
    return go.Scatter(
        x=pd.concat([frame, frame[::-1]]),
        y=pd.concat([high, low[::-1]]),
        name=name,
        mode="lines",
        fill="toself",
        fillcolor=f"rgba(0, 114, 178, {opacity})",
        line={"width": 0},
        hoverinfo="skip",
    )


def _mean_lines(curve: pd.DataFrame, sessions: int) -> list[go.Scatter]:
    """The mean: solid where all sessions have a value, dotted where fewer have."""
    fewer = curve["n"] < sessions
    beside = fewer.shift(1, fill_value=False) | fewer.shift(-1, fill_value=False)
    lines = [_mean_line(curve, curve["mean"].mask(fewer), "mean", "solid")]
    if fewer.any():
        rest = curve["mean"].where(fewer | beside)
        lines.append(_mean_line(curve, rest, "mean of fewer", "dot"))
    return lines


def _mean_line(curve: pd.DataFrame, mean: pd.Series, name: str, dash: str) -> go.Scatter:
    return go.Scatter(
        x=curve["frame"],
        y=mean,
        name=name,
        mode="lines",
        line={"color": BLUE, "width": 2.5, "dash": dash},
        customdata=curve[["std", "ci_low", "ci_high", "n"]],
        hovertemplate="mean: %{y:.4g} ± %{customdata[0]:.3g}, 95 % interval "
        "[%{customdata[1]:.4g}, %{customdata[2]:.4g}], n = %{customdata[3]}<extra></extra>",
    )


def _ends(sessions: Sequence[pd.DataFrame], column: str) -> go.Scatter:
    """A mark on the last value of each of these sessions."""
    last = [df.iloc[-1] for df in sessions]
    return go.Scatter(
        x=[row["frame"] for row in last],
        y=[row[column] for row in last],
        name="ended early",
        mode="markers",
        marker={"color": VERMILLION, "size": 9, "symbol": "x"},
        hoverinfo="skip",
    )
