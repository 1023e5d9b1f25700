"""Pictures of a search: plotly figures made from its findings, and nothing else.

Trials that are done are dots. Pruned ones, which saw fewer frames, are hollow grey dots; those that
failed have no values and are only marked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from slm_lightning.lab.graphs import BLUE, MUTED, PALE, TEMPLATE, VERMILLION
from slm_lightning.lab.report.axes import brief, ends, plain, positions
from slm_lightning.lab.report.findings import Findings, TrialFinding
from slm_lightning.lab.wording import number
from slm_lightning.spec.space import Dimension

SCALE = "Viridis"
HEIGHT = 340
MARGIN = {"t": 40, "b": 50}
MANY = 200
"""Trials from which on dots are smaller."""
ENOUGH = 40
"""Trials from which on some can be told to lie far from the others."""

POINTS = go.layout.Template(TEMPLATE)
"""The style of graphs whose dots are trials."""
POINTS.layout.update(
    hovermode="closest",
    hoverlabel={"align": "left", "font": {"size": 12}},
    xaxis={"tickformat": "", "hoverformat": ""},
    yaxis={"automargin": True, "title": {"standoff": 10}},
)

Spot = tuple[TrialFinding, float, float]
"""A trial and where it is drawn."""


def importance_graph(importances: Mapping[str, float], labels: Mapping[str, str]) -> go.Figure:
    """The importance of every parameter, the largest on top."""
    paths = list(importances)[::-1]
    bars = go.Bar(
        x=[importances[path] for path in paths],
        y=[plain(labels[path]) for path in paths],
        orientation="h",
        marker={"color": BLUE},
        text=[f"{importances[path]:.0%}" if importances[path] >= 0.01 else "< 1%" for path in paths],
        textposition="outside",
        cliponaxis=False,
        customdata=[plain(path) for path in paths],
        hovertemplate="%{customdata}: %{x:.1%}<extra></extra>",
    )
    fig = go.Figure(bars, layout={"template": POINTS, "height": 60 + 28 * len(paths)})
    fig.update_layout(margin={"l": 10, "r": 60, "t": 10, "b": 10}, bargap=0.35)
    fig.update_xaxes(visible=False, range=[0, max(importances.values()) * 1.05])
    return fig.update_yaxes(automargin=True, showgrid=False)


def history_graph(found: Findings, objective: str) -> go.Figure:
    """An objective by the number of the trial, the best so far, and what the search is measured
    against, unless that is far off. Trials without a value are crosses on the lower edge."""
    ranked = [trial for trial in found.trials if trial.is_ranked]
    pruned = [trial for trial in found.trials if trial.status == "pruned"]
    fig = go.Figure(layout={"template": POINTS, "height": HEIGHT, "margin": MARGIN})
    best = _best_so_far(found, ranked, objective)
    fig.add_trace(best)
    size = dot_size(found)
    hollow = {"color": PALE, "size": size, "symbol": "circle-open"}
    for trials, name, marker in (
        (ranked, "done", {"color": BLUE, "size": size}),
        (pruned, "pruned", hollow),
    ):
        fig.add_trace(dots([(t, t.number, found.value(t, objective)) for t in trials], name, marker))
    failed = [trial for trial in found.trials if trial.status in ("failed", "diverged")]
    if failed:
        fig.add_trace(_crosses(failed))
        fig.update_layout(yaxis2={"overlaying": "y", "range": [0, 1], "visible": False})
    goals = sorted((g for g in found.goals if g.metric == objective), key=lambda goal: goal.value)
    for goal, side in zip(goals, ("bottom", "top")):
        _goal_line(fig, f"{goal.name} {number(goal.value)}", goal.value, side)
    heights = span([found.value(trial, objective) for trial in ranked], best.y[-1:])
    heights = heights and _stretched(heights, [goal.value for goal in goals])
    fig.update_layout(yaxis={"range": heights, "title": plain(objective)})
    last = max((trial.number for trial in found.trials), default=0)
    return fig.update_xaxes(title="trial", range=[-0.02 * last - 0.5, 1.02 * last + 0.5])


def pareto_graph(found: Findings) -> go.Figure:
    """The first two objectives against each other; the Pareto front is joined by a line."""
    (x, x_way), (y, y_way) = list(found.objectives.items())[:2]
    ranked = [trial for trial in found.trials if trial.is_ranked]
    rest = [trial for trial in ranked if trial not in found.best]
    front = sorted(found.best, key=lambda trial: trial.values)
    fig = go.Figure(layout={"template": POINTS, "height": 420, "margin": MARGIN})
    fig.add_trace(dots(_spots(rest), "done", {"color": PALE, "size": dot_size(found)}))
    line = {"color": BLUE, "width": 1.5, "shape": "hv" if x_way == "minimize" else "vh"}
    joined = dots(_spots(front), "Pareto front", {"color": BLUE, "size": dot_size(found) + 2})
    fig.add_trace(joined.update(mode="lines+markers", line=line))
    fig.update_xaxes(title=f"{plain(x)} ({x_way})")
    return fig.update_yaxes(title=f"{plain(y)} ({y_way})")


def parallel_graph(found: Findings, paths: Sequence[str]) -> go.Figure:
    """A line for each trial that is ranked, across the parameters ``paths`` and the objectives,
    coloured by the first objective. A parameter that was not drawn lies below its axis, at ``–``."""
    ranked = [trial for trial in found.trials if trial.is_ranked]
    by_path = {dimension.path: dimension for dimension in found.dimensions}
    axes = [_parallel_axis(by_path[path], found.labels[path], ranked) for path in paths]
    axes += [
        {"label": plain(brief(objective)), "values": [trial.values[i] for trial in ranked]}
        for i, objective in enumerate(found.objectives)
    ]
    line = {
        "color": [trial.values[0] for trial in ranked],
        "colorscale": SCALE,
        "reversescale": next(iter(found.objectives.values())) == "minimize",
    }
    crowded = len(axes) > 6
    fig = go.Figure(go.Parcoords(dimensions=axes, line=line, labelangle=-20 if crowded else 0))
    margin = {"l": 70, "r": 60, "t": 90 if crowded else 60, "b": 30}
    return fig.update_layout(template=POINTS, height=380, margin=margin)


def dots(spots: Sequence[Spot], name: str, marker: Mapping[str, Any]) -> go.Scatter:
    """A dot for each trial, with its number for the pointer. Single precision halves a large page."""
    return go.Scatter(
        x=np.array([x for _, x, _ in spots], dtype="float32"),
        y=np.array([y for _, _, y in spots], dtype="float32"),
        customdata=np.array([trial.number for trial, _, _ in spots], dtype="int32"),
        name=name,
        mode="markers",
        marker=dict(marker),
        hovertemplate="trial %{customdata}: %{y:.4g}<extra></extra>",
    )


def span(values: Sequence[float], more: Sequence[float] = ()) -> list[float] | None:
    """An axis that shows these values whole, and ``more``. Of many values those far from the others are
    left out: three times the interquartile range beyond the quartiles (Tukey, 1977). None leaves it to
    plotly."""
    known = np.array([value for value in values if math.isfinite(value)])
    if len(known) >= ENOUGH:
        low, high = np.quantile(known, [0.25, 0.75])
        far = 3 * (high - low)
        known = known[(known >= low - far) & (known <= high + far)]
    ends = [*known.tolist(), *(value for value in more if math.isfinite(value))]
    if not ends:
        return None
    room = 0.1 * (max(ends) - min(ends)) or 0.1 * abs(ends[0]) or 1.0
    return [min(ends) - room, max(ends) + room]


def _stretched(axis: Sequence[float], values: Sequence[float]) -> list[float]:
    """The axis with those of the values in it that are no further off than it is long."""
    low, high = axis
    length = high - low
    near = [value for value in values if low - length <= value <= high + length]
    ends = [low, high, *(end for value in near for end in (value - 0.1 * length, value + 0.1 * length))]
    return [min(ends), max(ends)]


def dot_size(found: Findings) -> int:
    """Pixels of a dot: fewer where there are many dots."""
    return 7 if len(found.trials) < MANY else 4


def _spots(trials: Sequence[TrialFinding]) -> list[Spot]:
    return [(trial, trial.values[0], trial.values[1]) for trial in trials]


def _best_so_far(found: Findings, trials: Sequence[TrialFinding], objective: str) -> go.Scatter:
    better = np.maximum if found.objectives[objective] == "maximize" else np.minimum
    values = np.array([found.value(trial, objective) for trial in trials], dtype=float)
    return go.Scatter(
        x=[trial.number for trial in trials],
        y=better.accumulate(values) if len(values) else values,
        name="best so far",
        mode="lines",
        line={"color": BLUE, "width": 2, "shape": "hv"},
        hoverinfo="skip",
    )


def _crosses(trials: Sequence[TrialFinding]) -> go.Scatter:
    """Crosses on the lower edge, on an axis of their own."""
    return go.Scatter(
        x=[trial.number for trial in trials],
        y=[0.02] * len(trials),
        yaxis="y2",
        name="failed",
        mode="markers",
        marker={"color": VERMILLION, "size": 8, "symbol": "x"},
        customdata=[[trial.number, trial.status] for trial in trials],
        hovertemplate="trial %{customdata[0]} %{customdata[1]}<extra></extra>",
    )


def _goal_line(fig: go.Figure, text: str, value: float, side: str) -> None:
    fig.add_hline(
        y=value,
        line={"color": MUTED, "width": 1, "dash": "dash"},
        annotation={"text": text, "font": {"size": 11, "color": MUTED}},
        annotation_position=f"{side} right",
    )


def _parallel_axis(dimension: Dimension, label: str, trials: Sequence[TrialFinding]) -> dict[str, Any]:
    low, high = ends(dimension)
    if dimension.kind == "choice":
        ticks = {float(i): brief(option) for i, option in enumerate(dimension.choices)}
    else:
        scale = (lambda x: 10**x) if dimension.log else float
        ticks = {x: number(scale(x), 3) for x in np.linspace(low, high, 5).tolist()}
    below = low - 0.15 * ((high - low) or 1.0)
    places = positions(dimension, trials)
    if None in places:
        ticks = {below: "–"} | ticks
    return {
        "label": plain(brief(label)),
        "values": [below if p is None else math.log10(p) if dimension.log else p for p in places],
        "tickvals": list(ticks),
        "ticktext": list(ticks.values()),
        "range": [min(ticks), max(max(ticks), min(ticks) + 1e-12)],
    }
