"""The multi-trial graph of an environment: every algorithm's mean with its interval, over frames.

A picture says in its file which figure it shows, so that it is drawn anew only where that has changed,
and can be checked without a browser.
"""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from slm_lightning.files import atomically
from slm_lightning.lab import graphs
from slm_lightning.lab.analysis import total_reward_ma, trial_curve
from slm_lightning.lab.benchmark.results import RowResult
from slm_lightning.lab.compare.curves import COLOURS, DASHES, band
from slm_lightning.lab.report.axes import plain

HEADER = 33
"""Bytes of a PNG up to the end of its first chunk."""
STAMP = re.compile(rb"tEXtfigure\0([0-9a-f]{64})")


def multi_trial_graph(
    environment: str, results: Mapping[str, RowResult], target: float | None
) -> go.Figure:
    """``total_reward_ma`` over frames, by label: the mean over sessions and its pointwise 95 %
    t-interval, where all sessions have a value. The axis gives room to the means, and to the intervals
    at the end up to once more their width."""
    fig = go.Figure(layout={"template": graphs.TEMPLATE, "height": graphs.HEIGHT})
    curves = {label: _curve(result) for label, result in results.items()}
    lines = []
    for i, (label, curve) in enumerate(curves.items()):
        style = {"color": COLOURS[i % len(COLOURS)], "dash": DASHES[i // len(COLOURS) % len(DASHES)]}
        shared = {"name": plain(label), "legendgroup": label, "mode": "lines"}
        if curve["n"].max() > 1:
            fig.add_trace(band(curve, style["color"], shared))
        line = {**style, "width": 2.5}
        lines.append(go.Scatter(x=curve["frame"], y=curve["mean"], line=line, **shared))
    fig.add_traces(lines)  # means above all bands
    if target is not None:
        fig.add_hline(target, line={"color": graphs.MUTED, "width": 1, "dash": "dash"})
    means = [
        *(mean for curve in curves.values() for mean in curve["mean"]),
        *([] if target is None else [target]),
    ]
    ends = [curve[end].iloc[-1] for curve in curves.values() for end in ("ci_low", "ci_high")]
    width = float(np.ptp(means))
    low = max(np.nanmin([*means, *ends]), min(means) - width)
    high = min(np.nanmax([*means, *ends]), max(means) + width)
    room = 0.06 * float(high - low) or 1.0
    fig.update_yaxes(title="total_reward_ma", range=[low - room, high + room], **graphs.RETURN_AXIS)
    fig.update_xaxes(title="frames", rangemode="tozero")
    side = {"orientation": "v", "x": 1.01, "y": 1, "yanchor": "top"}
    fig.update_layout(legend=side, margin=graphs.MARGIN | {"r": 150, "t": 75})
    small = f"font-size:13px;color:{graphs.MUTED}"
    what = "mean of the sessions with its 95 % t-interval"
    what += "; dashed: the target" if target is not None else ""
    return fig.update_layout(
        title={"text": f'{plain(environment)}<br><span style="{small}">{what}</span>', "y": 0.96}
    )


def is_drawn(figure: go.Figure, path: Path) -> bool:
    """Whether the picture at ``path`` shows this figure."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        found = STAMP.search(file.read(HEADER + 100))
    return found is not None and found[1].decode() == _digest(figure)


def draw(figures: Mapping[Path, go.Figure]) -> bool:
    """Draws the pictures that do not show their figure yet. Returns False where there is no browser."""
    left = {path: figure for path, figure in figures.items() if not is_drawn(figure, path)}
    asides = {path.with_name(f".{path.name}"): path for path in left}
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if left and not graphs.write_png({aside: left[path] for aside, path in asides.items()}):
            return False
        for aside, path in asides.items():
            stamped = _stamped(aside.read_bytes(), _digest(left[path]))
            atomically(path, lambda file, stamped=stamped: file.write_bytes(stamped))  # type: ignore[misc]
    finally:
        for aside in asides:
            aside.unlink(missing_ok=True)
    return True


def _curve(result: RowResult) -> pd.DataFrame:
    tables = [
        pd.DataFrame({"frame": t["frame"], "mean": total_reward_ma(t["total_reward"])})
        for t in result.tables
    ]
    curve = trial_curve(tables, "mean")
    return curve[curve["n"] == curve["n"].max()]


def _digest(figure: go.Figure) -> str:
    return hashlib.sha256(str(figure.to_json()).encode()).hexdigest()


def _stamped(png: bytes, digest: str) -> bytes:
    """The picture with a chunk of text behind its header."""
    chunk = b"tEXtfigure\0" + digest.encode()
    framed = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return png[:HEADER] + framed + png[HEADER:]
