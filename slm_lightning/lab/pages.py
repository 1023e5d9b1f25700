"""Pages: HTML files that need nothing else, no network either, made from the files in ``templates``.

Names, values and error messages of a record may come from anybody: every one of them is escaped. A page
runs where MLflow shows it, in a frame that may run scripts but neither leave nor ask for anything.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from slm_lightning.lab import graphs, wording

TEMPLATES = Path(__file__).with_name("templates")


def render(template: str, **context: Any) -> str:
    """The page that ``template`` makes of ``context``. The same context gives the same bytes.

    Templates extend ``base.html.j2``, which has the style, the scripts and plotly.js (4.8 MB), once.
    """
    return _environment().get_template(template).render(context)


def figure(fig: go.Figure) -> Markup:
    """A figure's place on a page, as wide as the text. It is drawn there by the script of the base
    template: at once, or when the ``<details>`` that hold it are opened."""
    place = '<div class="plot" style="height:{}px"><script type="application/json">{}</script></div>'
    return Markup(place).format(round(fig.layout.height or graphs.HEIGHT), Markup(fig.to_json()))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"figure": figure, "plotly": Markup(get_plotlyjs()), "palette": graphs}
    for words in (wording.number, wording.interval, wording.count, wording.duration):
        environment.filters[words.__name__] = words
    return environment
