"""The experiment graph: every metric of a search against every parameter, in small panels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from slm_lightning.lab.graphs import AXIS, VERMILLION
from slm_lightning.lab.report.axes import brief, plain, positions, x_axis
from slm_lightning.lab.report.experiment_graphs import POINTS, SCALE, dot_size, dots, span
from slm_lightning.lab.report.findings import Findings, TrialFinding
from slm_lightning.spec.space import Dimension

ACROSS = 4
"""Parameters side by side."""
PANEL, GAP, BETWEEN = 104, 12, 68  # heights in pixels: a panel, the room below it, and below a block
LEFT = 140
"""Pixels for the names of the metrics and the numbers of the axes."""


def experiment_graph(found: Findings, paths: Sequence[str]) -> go.Figure:
    """Every metric against every searched parameter, coloured by strength: a block of panels for each
    four of ``paths``, a row in it for each metric. Axes fit the trials that are done; what was pruned,
    or lies far from the others, may be outside."""
    by_path = {dimension.path: dimension for dimension in found.dimensions}
    dimensions = [by_path[path] for path in paths]
    blocks = [dimensions[i : i + ACROSS] for i in range(0, len(dimensions), ACROSS)]
    fig, panels = _panels(found, blocks)
    shown = [trial for trial in found.trials if trial.status in ("done", "pruned")]
    done = [trial for trial in shown if trial.status == "done"]
    for (row, col), dimension, metric in panels:
        fig.add_traces(_clouds(found, shown, dimension, metric), rows=row, cols=col)
        fig.update_xaxes(**x_axis(dimension), row=row, col=col)
        heights = [[found.value(t, metric) for t in trials] for trials in (done, found.winners)]
        fig.update_yaxes(range=span(*heights), row=row, col=col)
    bar = {"title": "strength", "thickness": 12, "outlinewidth": 0, "lenmode": "pixels", "len": 320}
    bar |= {"y": 1, "yanchor": "top"}
    known = any(math.isfinite(trial.metric("strength")) for trial in done)
    colours = {"colorscale": SCALE, "colorbar": bar, "showscale": known}
    return fig.update_layout(coloraxis=colours, showlegend=False)


def _panels(
    found: Findings, blocks: Sequence[Sequence[Dimension]]
) -> tuple[go.Figure, list[tuple[tuple[int, int], Dimension, str]]]:
    """A figure with all panels, empty, and what belongs into each: parameter and metric by row and
    column."""
    metrics = found.metrics
    across, deep = max(map(len, blocks)), len(metrics)
    area = len(blocks) * (deep * (PANEL + GAP) + BETWEEN) - BETWEEN
    fig = make_subplots(rows=len(blocks) * deep, cols=across, horizontal_spacing=0.025)
    fig.update_layout(template=POINTS, height=area + 70, margin={"l": LEFT, "r": 20, "t": 14, "b": 56})
    panels = []
    for b, block in enumerate(blocks):
        for m, metric in enumerate(metrics):
            row = 1 + b * deep + m
            top = 1 - (b * (deep * (PANEL + GAP) + BETWEEN) + m * (PANEL + GAP)) / area
            _row(fig, row, across, domain=[max(0.0, top - PANEL / area), top])
            _name(fig, metric, top - PANEL / area / 2)
            panels += [((row, col), dimension, metric) for col, dimension in enumerate(block, 1)]
            for col in range(len(block) + 1, across + 1):
                fig.update_xaxes(visible=False, row=row, col=col)
                fig.update_yaxes(visible=False, row=row, col=col)
        for col, dimension in enumerate(block, 1):
            label = f"<b>{plain(brief(found.labels[dimension.path], 28))}</b>"
            fig.update_xaxes(showticklabels=True, title=label, row=row, col=col)
    return fig, panels


def _row(fig: go.Figure, row: int, across: int, domain: list[float]) -> None:
    """The axes of a row of panels: all show the same metric, the first has its numbers."""
    for col in range(1, across + 1):
        at: dict[str, Any] = {"row": row, "col": col, "tickfont_size": 11}
        fig.update_xaxes(showticklabels=False, title_font_size=12, **at)
        fig.update_yaxes(domain=domain, showticklabels=col == 1, nticks=4, **at)


def _name(fig: go.Figure, metric: str, y: float) -> None:
    """The name of a metric at the left of its row, whose middle is at ``y``."""
    fig.add_annotation(
        text=plain(metric).replace("_", "<br>"),
        x=0,
        xref="paper",
        xanchor="left",
        xshift=5 - LEFT,
        y=y,
        yref="paper",
        yanchor="middle",
        align="left",
        showarrow=False,
        font_size=12,
    )


def _clouds(
    found: Findings, trials: Sequence[TrialFinding], dimension: Dimension, metric: str
) -> list[go.Scatter]:
    """A metric against a parameter: what was pruned below, what is done above it, the best on top."""
    spots = [
        (trial, x, found.value(trial, metric))
        for trial, x in zip(trials, positions(dimension, trials, spread=0.4))
        if x is not None
    ]
    pruned = [spot for spot in spots if spot[0].status == "pruned"]
    done = [spot for spot in spots if spot[0].status == "done"]
    best = [spot for spot in spots if spot[0] in found.winners]
    size = dot_size(found)
    strengths = np.array([trial.metric("strength") for trial, _, _ in done], dtype="float32")
    ring = {"color": VERMILLION, "size": 13, "symbol": "circle-open", "line": {"width": 2}}
    return [
        dots(pruned, "pruned", {"color": AXIS, "size": size, "symbol": "circle-open"}),
        dots(done, "done", {"color": strengths, "coloraxis": "coloraxis", "size": size}),
        dots(best, "best", ring),
    ]
