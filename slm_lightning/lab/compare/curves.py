"""Pictures of a comparison: learning curves, the score of every seed, performance profiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import ArrayLike
from plotly.subplots import make_subplots

from slm_lightning.lab import graphs
from slm_lightning.lab.analysis import trial_curve
from slm_lightning.lab.compare.comparison import Comparison
from slm_lightning.lab.compare.environments import Overall
from slm_lightning.lab.compare.inference import Description
from slm_lightning.lab.compare.runs import Contender

COLOURS = (graphs.BLUE, graphs.VERMILLION, "#009E73", "#E69F00", "#CC79A7", graphs.SKY, graphs.INK)
"""Okabe and Ito's, without their yellow, which is too pale for a line on white."""
DASHES = ("solid", "dash", "dot", "dashdot")
PANEL, GAP, ROW = 330, 100, 46  # heights in pixels
MARGIN = graphs.MARGIN | {"t": 75}
CURVES = {"score": "total_reward_ma", "eval_score": "eval/return"}
"""The column whose last value a metric is; any other metric of a session is shown by the returns."""


def learning_curves(comparison: Comparison) -> go.Figure:
    """Every session as a thin line, and each run's mean with its pointwise 95 % t-interval, over
    frames; a panel for each environment. The mean is drawn where all of its sessions have a value."""
    environments = comparison.environments
    rows = len(environments)
    area = rows * PANEL + (rows - 1) * GAP
    fig = make_subplots(
        rows=rows, cols=1, subplot_titles=list(environments), vertical_spacing=GAP / area
    )
    fig.update_layout(
        template=graphs.TEMPLATE,
        height=area + MARGIN["t"] + MARGIN["b"],
        margin=MARGIN,
        legend={"y": 1 + 30 / area},
    )
    styles, seen = line_styles(comparison), set[str]()
    for row, group in enumerate(environments.values(), start=1):
        column = _column(comparison.metric, group)
        layers: list[list[go.Scatter]] = [[], [], []]  # bands below sessions below means
        for contender in group:
            name = _name(comparison, contender)
            traces = _curves(contender, column, name, styles[name], name not in seen)
            for layer, drawn in zip(layers, traces):
                layer += drawn
            seen.add(name)
        for layer in layers:
            fig.add_traces(layer, rows=row, cols=1)
        axis = graphs.RETURN_AXIS if column in graphs.RETURNS else {}
        fig.update_yaxes(title=column, range=_range(group, column), **axis, row=row, col=1)
    return fig.update_xaxes(title="frames", rangemode="tozero")


def line_styles(comparison: Comparison) -> dict[str, dict[str, str]]:
    """Colour and dash by name in the legend."""
    names = dict.fromkeys(_name(comparison, c) for c in comparison.contenders)
    return {
        name: {
            "color": COLOURS[i % len(COLOURS)],
            "dash": DASHES[i // len(COLOURS) % len(DASHES)],
        }
        for i, name in enumerate(names)
    }


def seed_scores(
    group: Sequence[Contender], descriptions: Mapping[Contender, Description], metric: str
) -> go.Figure:
    """The score of every seed as a dot, and below the dots of a run its mean with its 95 % t-interval.
    The interval of two or three seeds may reach beyond the axis."""
    labels = [c.label for c in group]
    dots = go.Scatter(
        x=[value for c in group for value in c.values],
        y=[i for i, c in enumerate(group) for _ in c.values],
        name="one seed",
        mode="markers",
        marker={
            "color": graphs.SKY,
            "size": 10,
            "opacity": 0.75,
            "line": {"color": graphs.BLUE, "width": 1},
        },
        hovertemplate="%{x:.5g}<extra></extra>",
    )
    found = [descriptions[c] for c in group]
    half = [d.ci_high - d.mean if d.n > 1 else None for d in found]
    means = go.Scatter(
        x=[d.mean for d in found],
        y=[i + 0.25 for i in range(len(found))],
        name="mean and 95 % t-interval",
        mode="markers",
        marker={"color": graphs.INK, "size": 9, "symbol": "diamond"},
        error_x={"type": "data", "array": half, "color": graphs.INK, "thickness": 1.5},
        hovertemplate="mean %{x:.5g} ± %{error_x.array:.3g}<extra></extra>",
    )
    margin = graphs.MARGIN | {"t": 40, "l": 160}
    height = ROW * len(group) + margin["t"] + margin["b"]
    fig = go.Figure([dots, means], {"template": graphs.TEMPLATE, "height": height, "margin": margin})
    fig.update_layout(hovermode="closest")
    ends = {"range": [len(group) - 0.5, -0.5], "tickvals": list(range(len(group))), "ticktext": labels}
    fig.update_yaxes(showgrid=False, **ends)
    fig.update_xaxes(
        title=metric, tickformat="~g", hoverformat=".5g", range=_range_of_seeds(dots.x, found)
    )
    return fig


def profile(found: Overall, styles: Mapping[str, Mapping[str, str]]) -> go.Figure:
    """The share of seeds above each normalised score, for each method."""
    scores = np.concatenate([s for m in found.methods for s in m.scores.values()])
    thresholds = np.linspace(min(0.0, scores.min()), max(1.0, scores.max()), 201)
    margin = graphs.MARGIN | {"t": 40}
    fig = go.Figure(layout={"template": graphs.TEMPLATE, "height": 360, "margin": margin})
    for method in found.methods:
        fig.add_trace(
            go.Scatter(
                x=thresholds,
                y=method.profile(thresholds),
                name=method.name,
                mode="lines",
                line={"width": 2.5, "shape": "hv", **styles.get(method.name, {})},
                hovertemplate="%{y:.0%}",
            )
        )
    fig.update_xaxes(
        title="normalised score: 0 random policy, 1 best mean", tickformat="~g", hoverformat=".2f"
    )
    return fig.update_yaxes(title="share of seeds above", tickformat=".0%", range=[0, 1.02])


def write_png(comparison: Comparison, path: Path) -> bool:
    """Writes the learning curves; False where there is no browser to draw them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return graphs.write_png({path: learning_curves(comparison)})


def _name(comparison: Comparison, contender: Contender) -> str:
    """What a run is called in legends: its method where the environments are put together."""
    together = comparison.overall and comparison.overall.methods
    return contender.method if together else contender.label


def _column(metric: str, group: Sequence[Contender]) -> str:
    wanted = CURVES.get(metric, metric)
    known = {column for c in group for history in c.histories for column in history.columns}
    return wanted if wanted in known else "total_reward"


def _curves(
    contender: Contender, column: str, name: str, style: Mapping[str, str], first: bool
) -> tuple[list[go.Scatter], list[go.Scatter], list[go.Scatter]]:
    """Band, sessions and mean; only the session where there is one."""
    known = [history.dropna(subset=column) for history in contender.histories if column in history]
    known = [history for history in known if len(history)]
    alone = len(known) == 1
    shared = {"name": name, "legendgroup": name, "mode": "lines"}
    width, opacity = (2.5, 1.0) if alone else (0.8, 0.45)
    sessions = [
        go.Scatter(
            x=history["frame"],
            y=history[column],
            line={**style, "width": width},
            opacity=opacity,
            showlegend=alone and first,
            hoverinfo="all" if alone else "skip",
            **shared,
        )
        for history in known
    ]
    if len(known) < 2:
        return [], sessions, []
    curve = trial_curve(known, column)
    curve = curve[curve["n"] == len(known)]
    mean = go.Scatter(
        x=curve["frame"],
        y=curve["mean"],
        line={**style, "width": 2.5},
        showlegend=first,
        customdata=curve[["ci_low", "ci_high"]],
        hovertemplate="%{y:.4g} (%{customdata[0]:.4g} to %{customdata[1]:.4g})",
        **shared,
    )
    return [band(curve, style["color"], shared)], sessions, [mean]


def band(curve: pd.DataFrame, colour: str, shared: Mapping[str, str]) -> go.Scatter:
    """The interval of a mean, as :func:`trial_curve` gives both."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return go.Scatter(
        x=pd.concat([curve["frame"], curve["frame"][::-1]]),
        y=pd.concat([curve["ci_high"], curve["ci_low"][::-1]]),
        fill="toself",
        fillcolor=f"rgba({red}, {green}, {blue}, 0.13)",
        line={"width": 0},
        showlegend=False,
        hoverinfo="skip",
        **shared,
    )


def _range(group: Sequence[Contender], column: str) -> list[float] | None:
    """Room for every session."""
    histories = [history for c in group for history in c.histories if column in history]
    return _around(np.concatenate([history[column] for history in histories])) if histories else None


def _range_of_seeds(values: ArrayLike, found: Sequence[Description]) -> list[float] | None:
    """Room for every seed, and for their intervals up to once more the width of all seeds."""
    known = np.asarray(values, dtype=float)
    if not known.size:
        return None
    width = np.ptp(known)
    ends = [end for d in found if d.n > 1 for end in (d.ci_low, d.ci_high)]
    return _around([*known, *np.clip(ends, known.min() - width, known.max() + width)])


def _around(values: ArrayLike) -> list[float] | None:
    """From a little below the least to a little above the greatest."""
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    if not known.size:
        return None
    room = 0.06 * np.ptp(known) or 1.0
    return [float(known.min() - room), float(known.max() + room)]
